// Two agents whose streams share connections, on virtual time in memory.

import { SeededRandom } from "../../agent/base/clock.ts";
import type { CloseReason, MeshTarget, Stream, StreamHandler } from "../../agent/base/net.ts";
import { STAGE_BYTES } from "../../agent/protocol/streams/carrier.ts";
import { MeshStreams } from "../../agent/protocol/streams/mesh-streams.ts";
import { MemoryFabric, type MemoryNetwork } from "./memory-network.ts";
import { VirtualClock } from "./virtual-clock.ts";

export const CONFIG = { alpn: "inner", carrierAlpn: "carrier" };
export const TARGET: MeshTarget = {
  is: "mesh",
  address: "10.0.0.2",
  port: 15008,
  as: "spiffe://mesh/a",
  serverName: "9080.reviews",
  alpn: "inner",
  peers: ["spiffe://mesh/b"],
};
export const quiet: StreamHandler = {
  onOpen() {},
  onData() {},
  onWritable() {},
  onEnd() {},
  onClose() {},
};

export function streamWorld(seed: number, splits = true) {
  const clock = new VirtualClock();
  const random = new SeededRandom(seed);
  const fabric = new MemoryFabric({ splits }, { clock, random });
  const told: string[] = [];
  const streamsOf = (network: MemoryNetwork): MeshStreams =>
    new MeshStreams(CONFIG, {
      network,
      timers: clock,
      soon: (task) => void clock.after(0, task),
      onRetiring: () => told.push("retiring"),
      bug: (error) => {
        throw error;
      },
      stage: { bytes: new Uint8Array(STAGE_BYTES), start: 0, end: STAGE_BYTES },
    });
  const server = fabric.host("10.0.0.2");
  const network = fabric.host("10.0.0.1");
  const client = streamsOf(network);
  const accepting = streamsOf(server);
  const carriers: Stream[] = [];
  const others: Stream[] = [];
  let onStream: (stream: Stream) => void = () => {};
  const listen = (): void =>
    server.listenMesh(15008, {
      accept: (stream) => {
        carriers.push(stream);
        if (!accepting.accept(stream, (one) => onStream(one))) others.push(stream);
      },
      identityOf: () => "spiffe://mesh/b",
    });
  listen();
  return {
    fabric,
    listen,
    clock,
    random,
    network,
    client,
    accepting,
    carriers,
    others,
    told,
    server,
    serve: (on: (stream: Stream) => void) => {
      onStream = on;
    },
    opensAtOnce: (stream: Stream): boolean => {
      clock.pass(0);
      return stream.isOpen;
    },
  };
}

/** Sends back what comes, with backpressure, and ends when the other does. */
export function echo(stream: Stream): void {
  let left = new Uint8Array(0);
  let hasEnded = false;
  const flush = (): void => {
    left = left.slice(stream.write(left, 0, left.length));
    if (left.length > 0) return;
    stream.resume();
    if (hasEnded) stream.close();
  };
  stream.handler = {
    ...quiet,
    onData(_s, bytes, start, end) {
      const taken = stream.write(bytes, start, end);
      if (taken === end - start) return;
      left = bytes.slice(start + taken, end);
      stream.pause();
    },
    onWritable: flush,
    onEnd() {
      hasEnded = true;
      flush();
    },
  };
}

/** Talks to an echo: how many bytes came back, and whether each was ours. */
export function talk(w: ReturnType<typeof streamWorld>, tag: number, bytes: number) {
  const outcome = {
    got: 0,
    foreign: 0,
    isOver: false,
    reason: undefined as CloseReason | undefined,
  };
  let sent = 0;
  const send = (stream: Stream): void => {
    while (sent < bytes) {
      const length = Math.min(bytes - sent, 1 + Math.floor(w.random.unit() * 40_000));
      const taken = stream.write(new Uint8Array(length).fill(tag), 0, length);
      sent += taken;
      if (taken < length) return;
    }
    stream.endWrite();
  };
  const stream = w.client.dial(TARGET, {
    onOpen: send,
    onWritable: send,
    onData(s, shown, start, end) {
      for (let i = start; i < end; i++) if (shown[i] !== tag) outcome.foreign++;
      outcome.got += end - start;
      shown.fill(0, start, end + 8_192); // as an edit in place may
      if (w.random.unit() < 0.1) {
        s.pause();
        w.clock.after(3, () => s.resume());
      }
    },
    onEnd(s) {
      outcome.isOver = true;
      s.close();
    },
    onClose: (_s, reason) => {
      outcome.reason = reason;
      outcome.isOver = true;
    },
  });
  return { outcome, stream };
}
