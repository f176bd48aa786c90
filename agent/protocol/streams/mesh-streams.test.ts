import { expect, test } from "bun:test";
import fc from "fast-check";
import { MemoryFabric, type MemoryNetwork } from "../../../test/support/memory-network.ts";
import { VirtualClock } from "../../../test/support/virtual-clock.ts";
import { SeededRandom } from "../../base/clock.ts";
import type { CloseReason, MeshTarget, Stream, StreamHandler } from "../../base/net.ts";
import { STAGE_BYTES } from "./carrier.ts";
import { WINDOW_BYTES } from "./frame.ts";
import { MeshStreams } from "./mesh-streams.ts";

const CONFIG = { alpn: "inner", carrierAlpn: "carrier" };
const TARGET: MeshTarget = {
  is: "mesh",
  address: "10.0.0.2",
  port: 15008,
  as: "spiffe://mesh/a",
  serverName: "9080.reviews",
  alpn: "inner",
  peers: ["spiffe://mesh/b"],
};
const quiet: StreamHandler = {
  onOpen() {},
  onData() {},
  onWritable() {},
  onEnd() {},
  onClose() {},
};

function world(seed: number, splits = true) {
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
  server.listenMesh(15008, {
    accept: (stream) => {
      carriers.push(stream);
      if (!accepting.accept(stream, (one) => onStream(one))) others.push(stream);
    },
    identityOf: () => "spiffe://mesh/b",
  });
  return {
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
  };
}

/** Sends back what comes, with backpressure, and ends when the other does. */
function echo(stream: Stream): void {
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
function talk(w: ReturnType<typeof world>, tag: number, bytes: number) {
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

test("many conversations at once come back whole, each its own, over a few connections", () => {
  fc.assert(
    fc.property(fc.nat(), (seed) => {
      const w = world(seed);
      w.serve(echo);
      const talks = Array.from({ length: 60 }, (_, i) =>
        talk(w, i + 1, Math.floor(w.random.unit() * (i % 10 === 0 ? 900_000 : 5_000)) + 1),
      );
      const sizes = talks.map(({ outcome }) => outcome);
      w.clock.pass(60_000);
      expect(sizes.filter((one) => !one.isOver || one.foreign > 0 || one.reason)).toEqual([]);
      expect(sizes.every((one) => one.got > 0)).toBe(true);
      expect(w.carriers.length).toBeLessThanOrEqual(4);
    }),
    { numRuns: process.env["IRONMESH_TIER"] === "full" ? 60 : 6, examples: [[2147483645]] },
  );
});

test("a stream has its carrier's peer, proven for it, and says what flows in it", () => {
  const w = world(1);
  const seen: unknown[] = [];
  w.serve((stream) => seen.push(stream.mesh));
  const stream = w.client.dial(TARGET, quiet);
  w.clock.pass(100);
  expect(stream.mesh).toEqual({
    identity: "spiffe://mesh/b",
    serverName: "9080.reviews",
    alpn: "inner",
  });
  expect(seen).toEqual([
    { identity: "spiffe://mesh/a", serverName: "9080.reviews", alpn: "inner" },
  ]);
});

test("other dials, and callers that speak no streams, are left alone", () => {
  const w = world(1);
  const opened: string[] = [];
  const handler = { ...quiet, onOpen: (s: Stream) => opened.push(s.mesh?.alpn ?? "") };
  w.client.dial({ ...TARGET, alpn: "opaque" }, handler);
  w.clock.pass(100);
  expect(opened).toEqual(["opaque"]);
  expect(w.others).toHaveLength(1);
});

test("another identity, target or set of peers never shares a connection", () => {
  const w = world(1);
  w.client.dial(TARGET, quiet);
  w.client.dial({ ...TARGET, as: "spiffe://mesh/c" }, quiet);
  w.client.dial({ ...TARGET, serverName: "9080.ratings" }, quiet);
  w.client.dial({ ...TARGET, peers: ["spiffe://mesh/b", "spiffe://mesh/z"] }, quiet);
  w.client.dial(TARGET, quiet);
  w.clock.pass(100);
  expect(w.carriers).toHaveLength(4);
});

test("a stream that is not read stops its sender at the window, and delays no other", () => {
  const w = world(3);
  let isFirst = true;
  w.serve((stream) => {
    if (isFirst) stream.pause();
    else echo(stream);
    isFirst = false;
  });
  const slow = talk(w, 1, 2_000_000);
  w.clock.pass(500);
  const other = talk(w, 2, 300_000);
  w.clock.pass(5_000);
  expect([slow.outcome.got, slow.outcome.isOver]).toEqual([0, false]);
  expect([other.outcome.got, other.outcome.isOver]).toEqual([300_000, true]);
  expect(slow.stream.write(new Uint8Array(1), 0, 1)).toBe(0);
  expect(WINDOW_BYTES).toBeLessThan(2_000_000);
});

test("a reset is told at the other end, and a close in the middle of an answer stops who answers", () => {
  const w = world(4);
  const reasons: CloseReason[] = [];
  w.serve((stream) => {
    stream.handler = { ...quiet, onClose: (_s, reason) => reasons.push(reason) };
  });
  const first = w.client.dial(TARGET, quiet);
  w.clock.pass(100);
  first.reset();
  w.clock.pass(100);
  expect(reasons).toEqual([{ is: "failed", code: "ECONNRESET" }]);
  w.serve((stream) => {
    const go = (): void => {
      while (stream.write(new Uint8Array(5_000), 0, 5_000) === 5_000);
    };
    stream.handler = { ...quiet, onWritable: go, onClose: (_s, reason) => reasons.push(reason) };
    go();
  });
  const second = w.client.dial(TARGET, quiet);
  w.clock.pass(20);
  second.close();
  w.clock.pass(1_000);
  expect(reasons).toHaveLength(2);
});

test("when the connection fails every stream is told, those not open yet as a dial that failed", () => {
  const w = world(5);
  w.server.unlisten(15008);
  const { outcome } = talk(w, 1, 10);
  w.clock.pass(100);
  expect(outcome.reason).toEqual({ is: "connect_failed", code: "ECONNREFUSED" });
  const v = world(6);
  v.serve(() => {});
  const talks = [1, 2, 3].map((tag) => talk(v, tag, 10));
  v.clock.pass(100);
  v.carriers[0]?.reset();
  v.clock.pass(100);
  expect(talks.map((one) => one.outcome.reason?.is)).toEqual(["failed", "failed", "failed"]);
  expect(talks.map((one) => one.stream.isCarrierGone)).toEqual([true, true, true]);
});

test("a stream that its peer resets says that the connection under it is still there", () => {
  const w = world(13);
  w.serve((stream) => stream.reset());
  const { outcome, stream } = talk(w, 1, 10);
  w.clock.pass(100);
  expect(outcome.reason?.is).toBe("failed");
  expect(stream.isCarrierGone).toBe(false);
  expect(w.carriers.map((one) => one.isOpen)).toEqual([true]);
});

test("9112 9.8: a connection that ends has cut the streams that are open: they fail, however its end is told", () => {
  const ways: ((carrier: Stream) => void)[] = [
    (carrier) => carrier.endWrite(),
    (carrier) => carrier.close(),
    (carrier) => carrier.handler.onClose(carrier, { is: "ended" }),
  ];
  for (const end of ways) {
    const w = world(9);
    const told: string[] = [];
    w.serve((stream) => {
      stream.handler = { ...quiet, onClose: (_s, reason) => told.push(reason.is) };
    });
    const { outcome } = talk(w, 1, 10);
    w.clock.pass(100);
    for (const carrier of w.carriers) end(carrier);
    w.clock.pass(100);
    told.push(outcome.reason?.is ?? "nothing");
    expect(told).not.toContain("ended");
    expect(told).toContain("failed");
  }
});

test("who dials again while its stream dies gets another connection", () => {
  const { clock, client, carriers, serve } = world(41);
  serve(echo);
  let tries = 0;
  const answers: string[] = [];
  const talk = (): void => {
    tries++;
    client.dial(TARGET, {
      ...quiet,
      onOpen: (stream) => {
        const bytes = new TextEncoder().encode(`try ${tries}`);
        stream.write(bytes, 0, bytes.length);
      },
      onData: (_s, bytes, start, end) =>
        answers.push(new TextDecoder().decode(bytes.slice(start, end))),
      onClose: talk,
    });
  };
  talk();
  talk();
  clock.pass(100);
  answers.length = 0;
  carriers[0]?.reset();
  clock.pass(1_000);
  expect(tries).toBe(4);
  expect(answers.join("")).toBe("try 4try 4");
  expect(carriers.length).toBe(2);
});

test("a draining server's peers open new streams elsewhere, and what is under way ends in order", () => {
  const w = world(7);
  w.serve(echo);
  const before = talk(w, 1, 2_000_000);
  w.clock.pass(20);
  w.accepting.drain();
  expect(w.accepting.isDrained).toBe(false);
  w.clock.pass(30);
  const after = talk(w, 2, 1_000);
  w.clock.pass(20_000);
  expect([before.outcome.got, before.outcome.reason]).toEqual([2_000_000, undefined]);
  expect(after.outcome.got).toBe(1_000);
  expect(w.told).toContain("retiring");
  expect(before.stream.isRetiring).toBe(true);
  expect(w.accepting.isDrained).toBe(true);
  expect(w.carriers.length).toBeGreaterThan(1);
});

test("a draining server has drained when its peers have ended what they dialled", () => {
  const w = world(11);
  w.serve(echo);
  talk(w, 1, 1_000);
  w.clock.pass(20);
  w.accepting.drain();
  for (let ms = 0; ms < 50; ms++) {
    expect(w.accepting.isDrained).toBe(w.carriers.every((one) => !one.isOpen));
    w.clock.pass(1);
  }
  expect(w.accepting.isDrained).toBe(true);
});

test("a draining server waits a second for a peer that ends nothing", () => {
  const w = world(12);
  w.serve(echo);
  const peer = w.network.dial({ ...TARGET, alpn: CONFIG.carrierAlpn }, quiet);
  w.clock.pass(20);
  w.accepting.drain();
  w.clock.pass(900);
  expect([peer.isOpen, w.accepting.isDrained]).toEqual([true, false]);
  w.clock.pass(200);
  expect(w.accepting.isDrained).toBe(true);
});

test("a renewed certificate ends no stream, and new ones use a new connection", () => {
  const w = world(8);
  w.serve(echo);
  const before = talk(w, 1, 900_000);
  w.clock.pass(20);
  w.client.renewed(new Set(["spiffe://mesh/a"]));
  const after = talk(w, 2, 1_000);
  w.clock.pass(20_000);
  expect([before.outcome.got, after.outcome.got]).toEqual([900_000, 1_000]);
  expect(w.carriers).toHaveLength(2);
});

test("a connection without streams is kept for the next for a minute, and then closed", () => {
  const w = world(9);
  w.serve(echo);
  talk(w, 1, 10);
  w.clock.pass(30_000);
  talk(w, 2, 10);
  w.clock.pass(30_000);
  expect(w.carriers.map((one) => one.isOpen)).toEqual([true]);
  w.clock.pass(61_000);
  expect(w.carriers.map((one) => one.isOpen)).toEqual([false]);
});

test("nonsense, in whatever pieces, resets the connection and never throws", () => {
  const piece = fc.uint8Array({ minLength: 1, maxLength: 40 });
  fc.assert(
    fc.property(fc.nat(), fc.array(piece, { maxLength: 40 }), (seed, pieces) => {
      const w = world(seed);
      w.serve(echo);
      let told: CloseReason | undefined;
      const raw = w.server.dial(
        { ...TARGET, alpn: "carrier" },
        {
          ...quiet,
          onClose(_s, reason) {
            told = reason;
          },
        },
      );
      w.clock.pass(50);
      const opening = Uint8Array.of(0, 0, 0, 1, 0, 0, 0, 1);
      // Longer than any payload, so that it is read as a header whatever came before.
      const noFrame = new Uint8Array(40_000).fill(255);
      for (const bytes of [opening, ...pieces, noFrame]) {
        for (let at = 0; at < bytes.length && told === undefined; w.clock.pass(5))
          at += raw.write(bytes, at, bytes.length);
      }
      w.clock.pass(50);
      expect(told?.is).toBe("failed");
    }),
    { numRuns: 200 },
  );
});

test("a peer that provokes resets and reads none is cut before they pile up", () => {
  const w = world(11, false);
  w.serve((stream) => stream.close());
  let told: CloseReason | undefined;
  const raw = w.server.dial(
    { ...TARGET, alpn: "carrier" },
    {
      ...quiet,
      onClose(_s, reason) {
        told = reason;
      },
    },
  );
  w.clock.pass(50);
  raw.pause();
  const say = (bytes: Uint8Array): void => {
    for (let at = 0; at < bytes.length && told === undefined; w.clock.pass(5))
      at += raw.write(bytes, at, bytes.length);
  };
  say(Uint8Array.of(0, 0, 0, 1, 0, 0, 0, 1));
  const one = [0, 0, 1, 2, 0, 0, 0, 1, 7]; // a byte of data for a stream that is closed
  const many = Uint8Array.from({ length: 9_000 }, (_, i) => one[i % 9] ?? 0);
  for (let round = 0; round < 100 && told === undefined; round++) say(many);
  expect(told?.is).toBe("failed");
});
