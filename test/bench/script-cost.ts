// What our own code costs a request, without the kernel: the real data path over streams that take everything at once.
// `bun test/bench/script-cost.ts`: nanoseconds a request, for the caller's agent in plaintext and for the server's agent.

import { MESH_ALPN_HTTP } from "../../agent/api/mesh-wire.ts";
import { SeededRandom } from "../../agent/base/clock.ts";
import { SILENT_LOG } from "../../agent/base/log.ts";
import type { DialTarget, MeshPeer, Network, Stream, StreamHandler } from "../../agent/base/net.ts";
import { SharedSlots } from "../../agent/base/slots.ts";
import { TimerWheel } from "../../agent/base/timer-wheel.ts";
import { AccessLog } from "../../agent/observe/access-log.ts";
import { DecisionBook } from "../../agent/observe/decision-book.ts";
import { SERIES_TABLE_DEFAULTS, SeriesTable } from "../../agent/observe/series.ts";
import { sharedByThread } from "../../agent/protocol/http2/shared-by-thread.ts";
import { DATA_PLANE_DEFAULTS } from "../../agent/proxy/config.ts";
import { DataPlane } from "../../agent/proxy/data-plane.ts";
import { bucketMemory, KeyedBuckets } from "../../agent/resilience/keyed-buckets.ts";
import {
  CLIENT_ID,
  endpoint,
  SERVER_NAME,
  serverWorkload,
  snapshot,
  VIP,
} from "../support/mesh-fixture.ts";

const CONNECTIONS = 64;
const RECEIVE_AT = 0;
const arena = new Uint8Array(1 << 20);
const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
const REQUEST = bytesOf(
  "GET /100 HTTP/1.1\r\nHost: 240.240.0.1:9000\r\naccept: */*\r\nuser-agent: bench/1\r\n\r\n",
);
const TRACED = bytesOf(
  `GET /100 HTTP/1.1\r\nHost: 240.240.0.1:9000\r\naccept: */*\r\nuser-agent: bench/1\r\nx-request-id: ${crypto.randomUUID()}\r\ntraceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\n`,
);
const RESPONSE = bytesOf(
  `HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Tue, 24 Nov 2026 15:15:21 GMT\r\nContent-Type: text/plain\r\nContent-Length: 100\r\nConnection: keep-alive\r\n\r\n${"x".repeat(100)}`,
);

class TakingStream implements Stream {
  handler: StreamHandler;
  readonly mesh: MeshPeer | undefined;
  readonly isOpen = true;
  readonly peerAddress = "10.0.0.9";
  readonly peerPort = 1;
  written = 0;
  constructor(handler: StreamHandler, mesh: MeshPeer | undefined) {
    this.handler = handler;
    this.mesh = mesh;
  }
  write(_bytes: Uint8Array, start: number, end: number): number {
    this.written += end - start;
    asked = this;
    return end - start;
  }
  pause(): void {}
  resume(): void {}
  endWrite(): void {}
  close(): void {}
  reset(): void {
    throw new Error("a connection was refused");
  }
  receive(bytes: Uint8Array): void {
    arena.set(bytes, RECEIVE_AT);
    this.handler.onData(this, arena, RECEIVE_AT, RECEIVE_AT + bytes.length);
  }
}
/** Who was written to last. */
let asked: TakingStream | undefined;

const SCRATCH_AT = 131_072;
const opening: TakingStream[] = [];
const network: Network = {
  scratch: { bytes: arena, start: SCRATCH_AT, end: SCRATCH_AT + 196_608 },
  dial: (_target: DialTarget, handler: StreamHandler): Stream => {
    const stream = new TakingStream(handler, undefined);
    opening.push(stream);
    return stream;
  },
};

const fail = (error: unknown): never => {
  throw error;
};
/** Nothing here speaks HTTP/2. */
const http2 = sharedByThread(DATA_PLANE_DEFAULTS.headersMax, {
  soon: fail,
  now: () => 1_000,
  timers: { after: fail },
  stage: { bytes: arena, start: 0, end: 0 },
  bug: fail,
  count: fail,
});

function planeOf(host: string, changes: Parameters<typeof snapshot>[1]): DataPlane {
  const clock = { nowMs: () => 1_000.5, wallMs: () => 1_000 };
  const plane = new DataPlane(DATA_PLANE_DEFAULTS, {
    network,
    http2,
    clock,
    wheel: new TimerWheel(clock.nowMs),
    random: new SeededRandom(7),
    slots: new SharedSlots(new SharedArrayBuffer(65_536)),
    buckets: new KeyedBuckets([1, 2], bucketMemory(64)),
    metrics: new SeriesTable(SERIES_TABLE_DEFAULTS, () => {}),
    accessLog: new AccessLog({ mode: "off", bytesMax: 1 << 16 } as never, { write: () => {} }),
    decisions: new DecisionBook(
      { nonce: 1, hashSeed: 2 },
      { wallMs: () => 1_000, log: SILENT_LOG },
    ),
    log: SILENT_LOG,
    isLocalAddress: () => false,
    bug: fail,
  });
  plane.swap(snapshot(host, changes));
  return plane;
}

const IGNORED: StreamHandler = {
  onOpen() {},
  onData() {},
  onWritable() {},
  onEnd() {},
  onClose() {},
};

function measure(
  name: string,
  request: Uint8Array,
  accept: (stream: TakingStream) => void,
  mesh?: MeshPeer,
): void {
  const streams = Array.from({ length: CONNECTIONS }, () => new TakingStream(IGNORED, mesh));
  streams.forEach(accept);
  const serveOne = (stream: TakingStream): void => {
    stream.receive(request);
    const dialled = opening.pop();
    if (dialled !== undefined) dialled.handler.onOpen(dialled);
    asked?.receive(RESPONSE);
  };
  const best: number[] = [];
  for (let round = 0; round < 12; round++) {
    const startMs = performance.now();
    for (let i = 0; i < 200_000; i++) serveOne(streams[i % CONNECTIONS] as TakingStream);
    best.push(((performance.now() - startMs) / 200_000) * 1e6);
  }
  const cost = (best.slice(4).sort((a, b) => a - b)[1] ?? 0).toFixed(0);
  console.log(`${name.padEnd(34)} ${cost} ns a request`);
}

const caller = planeOf("client", { endpoints: [endpoint(0, { mesh: undefined })] });
const original = { address: VIP, port: 80 };
measure("caller's agent, plaintext", REQUEST, (stream) =>
  caller.acceptOutbound(stream, original, undefined),
);
const server = planeOf("server", { workloads: [serverWorkload()] });
const peer = { identity: CLIENT_ID, serverName: SERVER_NAME, alpn: MESH_ALPN_HTTP };
measure("server's agent, behind mTLS", TRACED, (stream) => server.acceptMesh(stream), peer);
