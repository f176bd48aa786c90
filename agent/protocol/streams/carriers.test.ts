// When connections between agents are made, replaced and given up.
import { expect, test } from "bun:test";
import {
  CONFIG,
  echo,
  quiet,
  streamWorld,
  TARGET,
  talk,
} from "../../../test/support/stream-world.ts";
import type { Stream } from "../../base/net.ts";

test("a draining server's peers open new streams elsewhere, and what is under way ends in order", () => {
  const w = streamWorld(7);
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
  const w = streamWorld(11);
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
  const w = streamWorld(12);
  w.serve(echo);
  const peer = w.network.dial({ ...TARGET, alpn: CONFIG.carrierAlpn }, quiet);
  w.clock.pass(20);
  w.accepting.drain();
  w.clock.pass(900);
  expect([peer.isOpen, w.accepting.isDrained]).toEqual([true, false]);
  w.clock.pass(200);
  expect(w.accepting.isDrained).toBe(true);
});

test("a renewed certificate ends no stream, and new ones use a new connection as soon as it is open", () => {
  const w = streamWorld(8);
  w.serve(echo);
  const before = talk(w, 1, 900_000);
  w.clock.pass(20);
  w.client.renewed(new Set(["spiffe://mesh/a"]));
  const meanwhile = talk(w, 2, 1_000);
  expect(w.opensAtOnce(meanwhile.stream)).toBe(true);
  w.clock.pass(20);
  expect([before, meanwhile].map(({ stream }) => stream.isRetiring)).toEqual([true, true]);
  const after = talk(w, 3, 1_000);
  w.clock.pass(20_000);
  const all = [before, meanwhile, after];
  expect(all.map(({ outcome }) => outcome.got)).toEqual([900_000, 1_000, 1_000]);
  expect(after.stream.isRetiring).toBe(false);
  expect(w.carriers.map((one) => one.isOpen)).toEqual([false, true]);
});

test("a connection that cannot be replaced is given up once that is known, and no later one with it", () => {
  const w = streamWorld(13);
  w.serve(echo);
  const before = talk(w, 1, 900_000);
  w.clock.pass(20);
  w.server.unlisten(15008);
  w.client.renewed(new Set(["spiffe://mesh/a"]));
  w.clock.pass(10);
  expect([before.stream.isRetiring, before.outcome.isOver]).toEqual([true, false]);
  w.listen();
  const held = w.client.dial(TARGET, quiet);
  w.clock.pass(20_000);
  expect([before.outcome.got, held.isOpen]).toEqual([900_000, true]);
  expect(w.carriers.map((one) => one.isOpen)).toEqual([false, true]);
  w.client.dial(TARGET, quiet);
  w.clock.pass(20);
  expect(w.carriers).toHaveLength(2);
});

test("a connection that is dialled ahead and never answered is given up after 5 s", () => {
  const w = streamWorld(16);
  w.serve(echo);
  const before = talk(w, 1, 900_000);
  w.clock.pass(20);
  w.fabric.silent.add("10.0.0.2:15008");
  w.client.renewed(new Set(["spiffe://mesh/a"]));
  w.clock.pass(4_990);
  expect(before.stream.isRetiring).toBe(false);
  w.clock.pass(20);
  expect(before.stream.isRetiring).toBe(true);
});

test("a crowded connection is joined by another, for which no stream waits while there is room", () => {
  const w = streamWorld(14);
  const streams: Stream[] = [];
  const dial = (): Stream => {
    const stream = w.client.dial(TARGET, quiet);
    streams.push(stream);
    return stream;
  };
  dial();
  w.clock.pass(20);
  for (let i = 1; i < 16; i++) expect(w.opensAtOnce(dial())).toBe(true);
  expect(w.opensAtOnce(dial())).toBe(false);
  w.clock.pass(20);
  expect(w.carriers).toHaveLength(2);
  for (const one of streams) one.reset();
  w.clock.pass(59_000);
  expect(w.carriers.map((one) => one.isOpen)).toEqual([true, true]);
  w.clock.pass(2_000);
  expect(w.carriers.map((one) => one.isOpen)).toEqual([false, false]);
});

test("a connection without streams is kept for the next for a minute, and then closed", () => {
  const w = streamWorld(9);
  w.serve(echo);
  talk(w, 1, 10);
  w.clock.pass(30_000);
  talk(w, 2, 10);
  w.clock.pass(30_000);
  expect(w.carriers.map((one) => one.isOpen)).toEqual([true]);
  w.clock.pass(61_000);
  expect(w.carriers.map((one) => one.isOpen)).toEqual([false]);
});

test("who dials again as its stream ends, just before it hears that the server drains, is answered", () => {
  for (let seed = 1; seed <= 20; seed++) {
    const w = streamWorld(seed);
    let isFirst = true;
    w.serve((stream) => {
      if (!isFirst) return echo(stream);
      isFirst = false;
      w.clock.after(50, () => {
        stream.endWrite();
        w.accepting.drain();
      });
    });
    let again: ReturnType<typeof talk> | undefined;
    const onEnd = (stream: Stream): void => {
      again = talk(w, 1, 1_000);
      stream.close();
    };
    w.client.dial(TARGET, { ...quiet, onEnd });
    w.clock.pass(5_000);
    expect(again?.outcome).toMatchObject({ got: 1_000, reason: undefined });
    expect([w.accepting.isDrained, w.carriers[0]?.isOpen]).toEqual([true, false]);
  }
});
