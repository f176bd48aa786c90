import { expect, test } from "bun:test";
import { HandshakeTurns, type HandshakeWaiter } from "./handshake-turns.ts";

const STEPS = 4;

/** Turns by hand, and who began in which. */
function world() {
  const clock = { now: 0 };
  const turns: (() => void)[] = [];
  const yields = { count: 0 };
  const loop = { nowMs: () => clock.now, yieldSoon: () => void yields.count++ };
  const queue = new HandshakeTurns(loop, STEPS, (call) => void turns.push(call));
  const told: string[] = [];
  const waiter = (name: string, steps: number, isThere = true): HandshakeWaiter => ({
    handshakeSteps: steps,
    beginHandshake() {
      if (isThere) told.push(name);
      return isThere;
    },
    refuseHandshake: () => void told.push(`${name} refused`),
  });
  return {
    ...{ clock, queue, yields, told },
    asks(name: string, steps: number, isThere = true): void {
      if (queue.ask(waiter(name, steps, isThere))) told.push(`${name} at once`);
    },
    /** What it told; undefined: it asked for no turn. */
    turn(): string[] | undefined {
      const call = turns.shift();
      expect(turns).toEqual([]); // never two at once
      told.length = 0;
      call?.();
      return call && [...told];
    },
  };
}

test("no more begin in a turn than it has steps, and in the order they asked in", () => {
  const { asks, told, turn } = world();
  for (const name of ["a", "b", "c", "d", "e"]) asks(name, 2);
  expect(told).toEqual(["a at once", "b at once"]);
  expect(turn()).toEqual(["c", "d"]);
  expect(turn()).toEqual(["e"]);
  expect(turn()).toBeUndefined();
});

test("who would fit does not overtake who waits", () => {
  const { asks, told, turn } = world();
  asks("a", 2);
  asks("b", 1);
  asks("c", 2); // one step is left
  asks("d", 1);
  expect(told).toEqual(["a at once", "b at once"]);
  expect(turn()).toEqual(["c", "d"]);
});

test("a turn gives all its steps anew, and none is asked for while nobody comes", () => {
  const { asks, told, turn, yields } = world();
  asks("a", 2);
  expect(turn()).toEqual([]);
  expect(turn()).toBeUndefined();
  told.length = 0;
  asks("b", 2);
  asks("c", 2);
  expect(told).toEqual(["b at once", "c at once"]);
  expect(yields.count).toBe(0);
  asks("d", 2);
  expect(yields.count).toBe(1); // or the thread would sleep with somebody waiting
});

test("who is gone takes no steps", () => {
  const { asks, turn } = world();
  asks("a", 2);
  asks("b", 2);
  for (const name of ["c", "d", "e", "f"]) asks(name, 2, false);
  asks("g", 2);
  asks("h", 2);
  expect(turn()).toEqual(["g", "h"]);
});

test("who waited longer than 2 s is refused, and those behind it have its turn", () => {
  const { asks, turn, clock } = world();
  asks("a", 2);
  asks("b", 2);
  asks("c", 2);
  clock.now = 1_000;
  asks("d", 2);
  clock.now = 2_001;
  expect(turn()).toEqual(["c refused", "d"]);
});

test("who cannot be refused waits for as long as it takes", () => {
  const { asks, queue, told, turn, clock } = world();
  asks("a", 2);
  asks("b", 2);
  const begins = (): boolean => told.push("dial") > 0;
  expect(queue.ask({ handshakeSteps: 1, beginHandshake: begins })).toBe(false);
  clock.now = 60_000;
  expect(turn()).toEqual(["dial"]);
});
