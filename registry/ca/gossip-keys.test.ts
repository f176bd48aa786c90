import { expect, test } from "bun:test";
import { gossipKeys, KEY_LIFETIME_MS } from "./gossip-keys.ts";

const SECRET = new Uint8Array(32).fill(7);
const DAY = 20_000;
const at = (days: number): readonly string[] => gossipKeys(SECRET, (DAY + days) * KEY_LIFETIME_MS);

test("keys are 32 bytes, differ from day to day, and are the same for whoever has the secret", () => {
  const keys = at(0.5);
  expect(keys.map((key) => Buffer.from(key, "base64").length)).toEqual([32, 32, 32]);
  expect(new Set(keys).size).toBe(3);
  expect(at(0.9)).toEqual(keys);
  expect(gossipKeys(new Uint8Array(32), DAY * KEY_LIFETIME_MS)).not.toContain(keys[0]);
});

test("at the turn of the day each side opens what the other seals, a day early or late", () => {
  for (const [one, other] of [
    [at(0.99), at(1)],
    [at(0), at(1.99)],
  ] as const) {
    expect(one).toContain(other[0] ?? "");
    expect(other).toContain(one[0] ?? "");
  }
  expect(at(2)).not.toContain(at(0)[0] ?? "");
});
