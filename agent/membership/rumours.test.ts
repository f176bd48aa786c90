import { expect, test } from "bun:test";
import { BroadcastQueue } from "./broadcast-queue.ts";
import { type Claim, overrides, type Status } from "./claim.ts";
import { claimBytes } from "./codec.ts";
import { Suspicion } from "./suspicion.ts";

const claim = (name: string, status: Status, incarnation = 0): Claim => ({
  name,
  status,
  incarnation,
  by: "vm-0",
});

test("only a higher incarnation takes an accusation back", () => {
  const suspect = claim("a", "suspect", 3);
  expect(overrides(claim("a", "alive", 3), suspect)).toBe(false);
  expect(overrides(claim("a", "alive", 4), suspect)).toBe(true);
  expect(overrides(claim("a", "dead", 3), suspect)).toBe(true);
  expect(overrides(suspect, claim("a", "dead", 3))).toBe(false);
  expect(overrides(claim("a", "dead", 2), suspect)).toBe(false);
  expect(overrides(suspect, suspect)).toBe(false);
  expect(overrides(claim("a", "alive", 0), undefined)).toBe(true);
});

test("a claim rides a number of times that grows with the pool, the least travelled first, within the room there is", () => {
  const queue = new BroadcastQueue();
  queue.add(claim("a", "suspect"));
  expect(queue.take(1_000, 9)).toHaveLength(1);
  queue.add(claim("b", "suspect"));
  const room = claimBytes(claim("b", "suspect"));
  expect(queue.take(room, 9).map(({ name }) => name)).toEqual(["b"]);
  let rides = 2;
  while (queue.size > 0) rides += queue.take(1_000, 9).length;
  expect(rides).toBe(8);
  expect(queue.take(1_000, 9)).toEqual([]);
});

test("newer news of a member replaces older, older does not replace newer, and nobody is told of himself", () => {
  const queue = new BroadcastQueue();
  queue.add(claim("a", "dead", 2));
  queue.add(claim("a", "alive", 1));
  expect(queue.take(1_000, 9)[0]).toMatchObject({ status: "dead", incarnation: 2 });
  queue.add(claim("a", "alive", 3));
  expect(queue.take(1_000, 9, "a")).toEqual([]);
  expect(queue.take(1_000, 9)[0]).toMatchObject({ status: "alive", incarnation: 3 });
});

test("each independent accuser shortens a suspicion, to the minimum; the same one twice does not", () => {
  const suspicion = new Suspicion({ minMs: 1_000, wanted: 3 }, "a", 500);
  expect(suspicion.dueMs).toBe(4_500);
  expect(suspicion.confirm("a")).toBe(false);
  expect(suspicion.confirm("b")).toBe(true);
  expect(suspicion.dueMs).toBeCloseTo(3_000);
  suspicion.confirm("c");
  suspicion.confirm("d");
  expect(suspicion.dueMs).toBe(1_500);
  expect(suspicion.confirm("e")).toBe(false);
});

test("where nobody can confirm, a suspicion takes the shortest time", () => {
  expect(new Suspicion({ minMs: 1_000, wanted: 0 }, "a", 0).dueMs).toBe(1_000);
});
