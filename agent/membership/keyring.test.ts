import { expect, test } from "bun:test";
import { KEY_BYTES, KEYS_MAX, Keyring, SEAL_BYTES } from "./keyring.ts";

const key = (fill: number): Uint8Array => new Uint8Array(KEY_BYTES).fill(fill);
let counter = 0;
const ring = (...fills: number[]): Keyring =>
  new Keyring(fills.map(key), (count) => new Uint8Array(count).fill(++counter));
const secret = new TextEncoder().encode("vm-1 is alive");

test("what one seals the other opens, and nothing of it shows", () => {
  const sealed = ring(1).seal(secret);
  expect(sealed?.length).toBe(secret.length + SEAL_BYTES);
  expect(Buffer.from(sealed ?? []).includes(Buffer.from(secret))).toBe(false);
  expect(ring(1).open(sealed ?? new Uint8Array())).toEqual(secret);
});

test("keys change without a gap: the new one opens before it seals, the old one opens after", () => {
  const [old, both, turned, newer] = [ring(1), ring(1, 2), ring(2, 1), ring(2)];
  const opens = (from: Keyring, to: Keyring): boolean =>
    to.open(from.seal(secret) ?? new Uint8Array()) !== undefined;
  for (const [from, to] of [
    [old, both],
    [both, old],
    [both, turned],
    [turned, both],
    [turned, newer],
    [newer, turned],
  ] as const)
    expect(opens(from, to)).toBe(true);
  expect(opens(old, newer)).toBe(false);
});

test("a changed byte anywhere, another version, or a cut message is not opened", () => {
  const sealed = ring(1).seal(secret) as Uint8Array;
  for (let at = 0; at < sealed.length; at++) {
    const forged = sealed.slice();
    forged[at] = (forged[at] as number) ^ 1;
    expect(ring(1).open(forged)).toBeUndefined();
    expect(ring(1).open(sealed.subarray(0, at))).toBeUndefined();
  }
});

test("without a key nothing is said and nothing is heard; wrong and surplus keys count for nothing", () => {
  const sealed = ring(1).seal(secret) as Uint8Array;
  expect(ring().seal(secret)).toBeUndefined();
  expect(ring().open(sealed)).toBeUndefined();
  const odd = new Keyring([new Uint8Array(31)], () => new Uint8Array(24));
  expect(odd.seal(secret)).toBeUndefined();
  const many = Array.from({ length: KEYS_MAX + 1 }, (_, i) => KEYS_MAX + 1 - i);
  expect(ring(...many).open(sealed)).toBeUndefined();
});
