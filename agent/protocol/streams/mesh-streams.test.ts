import { expect, test } from "bun:test";
import fc from "fast-check";
import { echo, quiet, streamWorld, TARGET, talk } from "../../../test/support/stream-world.ts";
import type { CloseReason, Stream } from "../../base/net.ts";
import { WINDOW_BYTES } from "./frame.ts";

test("many conversations at once come back whole, each its own, over a few connections", () => {
  fc.assert(
    fc.property(fc.nat(), (seed) => {
      const w = streamWorld(seed);
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

test("streams that end while they hold something lend their memory to others, and no byte is mixed up", () => {
  const w = streamWorld(17);
  w.serve(echo);
  const talks = Array.from({ length: 40 }, (_, i) => talk(w, i + 1, 300_000));
  const isLeaving = (i: number): boolean => i % 3 === 0;
  talks.forEach(({ stream }, i) => {
    if (!isLeaving(i)) return;
    w.clock.after(5 + Math.floor(w.random.unit() * 200), () => stream.pause());
    w.clock.after(220 + Math.floor(w.random.unit() * 200), () => stream.reset());
  });
  w.clock.pass(60_000);
  const outcomes = talks.map(({ outcome }) => outcome);
  expect(outcomes.filter((one) => one.foreign > 0)).toEqual([]);
  const staying = outcomes.filter((_, i) => !isLeaving(i));
  expect(staying.filter((one) => one.got !== 300_000 || one.reason)).toEqual([]);
});

test("a stream has its carrier's peer, proven for it, and says what flows in it", () => {
  const w = streamWorld(1);
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
  const w = streamWorld(1);
  const opened: string[] = [];
  const handler = { ...quiet, onOpen: (s: Stream) => opened.push(s.mesh?.alpn ?? "") };
  w.client.dial({ ...TARGET, alpn: "opaque" }, handler);
  w.clock.pass(100);
  expect(opened).toEqual(["opaque"]);
  expect(w.others).toHaveLength(1);
});

test("another identity, target or set of peers never shares a connection", () => {
  const w = streamWorld(1);
  w.client.dial(TARGET, quiet);
  w.client.dial({ ...TARGET, as: "spiffe://mesh/c" }, quiet);
  w.client.dial({ ...TARGET, serverName: "9080.ratings" }, quiet);
  w.client.dial({ ...TARGET, peers: ["spiffe://mesh/b", "spiffe://mesh/z"] }, quiet);
  w.client.dial(TARGET, quiet);
  w.clock.pass(100);
  expect(w.carriers).toHaveLength(4);
});

test("a stream that is not read stops its sender at the window, and delays no other", () => {
  const w = streamWorld(3);
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
  const w = streamWorld(4);
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
  const w = streamWorld(5);
  w.server.unlisten(15008);
  const { outcome } = talk(w, 1, 10);
  w.clock.pass(100);
  expect(outcome.reason).toEqual({ is: "connect_failed", code: "ECONNREFUSED" });
  const v = streamWorld(6);
  v.serve(() => {});
  const talks = [1, 2, 3].map((tag) => talk(v, tag, 10));
  v.clock.pass(100);
  v.carriers[0]?.reset();
  v.clock.pass(100);
  expect(talks.map((one) => one.outcome.reason?.is)).toEqual(["failed", "failed", "failed"]);
  expect(talks.map((one) => one.stream.isCarrierGone)).toEqual([true, true, true]);
});

test("a stream that its peer resets says that the connection under it is still there", () => {
  const w = streamWorld(13);
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
    const w = streamWorld(9);
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
  const { clock, client, carriers, serve } = streamWorld(41);
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

test("nonsense, in whatever pieces, resets the connection and never throws", () => {
  const piece = fc.uint8Array({ minLength: 1, maxLength: 40 });
  fc.assert(
    fc.property(fc.nat(), fc.array(piece, { maxLength: 40 }), (seed, pieces) => {
      const w = streamWorld(seed);
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
  const w = streamWorld(11, false);
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
