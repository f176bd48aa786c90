import { expect, test } from "bun:test";
import { BroadcastQueue } from "./broadcast-queue.ts";
import type { Claim } from "./claim.ts";
import { claimBytes } from "./codec.ts";

const claim = (name: string, incarnation = 0): Claim => ({
  name,
  status: "suspect",
  incarnation,
  by: "vm-0",
});
const namesOf = (claims: readonly Claim[]): string => claims.map(({ name }) => name).join();
const ROOM = 10_000;

test("those that travelled least go first, among equals in the order they came", () => {
  const queue = new BroadcastQueue();
  for (const name of ["a", "b", "c"]) queue.add(claim(name));
  const one = claimBytes(claim("a"));
  expect(namesOf(queue.take(one, 9))).toBe("a");
  expect(namesOf(queue.take(2 * one, 9))).toBe("b,c");
  queue.add(claim("d"));
  expect(namesOf(queue.take(ROOM, 9))).toBe("d,a,b,c");
});

test("a claim rides four times for each decimal of the pool, and is then forgotten", () => {
  const queue = new BroadcastQueue();
  queue.add(claim("a"));
  queue.add(claim("b"));
  let rides = 0;
  while (queue.take(ROOM, 99).length > 0) rides++;
  expect([rides, queue.size]).toEqual([8, 0]);
});

test("a newer claim about the same member begins anew, an older one changes nothing, and whom a letter is about is left out", () => {
  const queue = new BroadcastQueue();
  queue.add(claim("a", 1));
  queue.add(claim("a", 0));
  expect(queue.take(ROOM, 9)).toEqual([claim("a", 1)]);
  queue.add(claim("a", 2));
  expect(queue.take(ROOM, 9)).toEqual([claim("a", 2)]);
  expect(queue.take(ROOM, 9, "a")).toEqual([]);
});
