import { expect, test } from "bun:test";
import fc from "fast-check";
import { STATUSES } from "./claim.ts";
import {
  claimBytes,
  isMemberName,
  type Letter,
  letterBytes,
  type Message,
  NAME_BYTES_MAX,
  readLetter,
  writeLetter,
} from "./codec.ts";

const letters = "abcXYZ019._-";
const name = fc
  .array(fc.constantFrom(...letters), { minLength: 1, maxLength: NAME_BYTES_MAX })
  .map((all) => all.join(""));
const nonce = fc.integer({ min: 0, max: 2 ** 48 - 1 });
const claim = fc.record({
  name,
  status: fc.constantFrom(...STATUSES),
  incarnation: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  by: name,
});
const message: fc.Arbitrary<Message> = fc.oneof(
  fc.record({
    is: fc.constantFrom("ping" as const, "ping_for_me" as const, "relayed" as const),
    nonce,
    from: name,
    to: name,
  }),
  fc.record({ is: fc.constant("no_answer" as const), nonce, from: name, to: name }),
  fc.record({ is: fc.constant("ack" as const), nonce, from: name, isLeaving: fc.boolean() }),
  fc.record({ is: fc.constantFrom("gossip" as const, "exchange" as const), from: name }),
);
const letter: fc.Arbitrary<Letter> = fc.record({
  message,
  claims: fc.array(claim, { maxLength: 20 }),
});

test("what is written is read back, and takes as many bytes as was reckoned", () => {
  fc.assert(
    fc.property(letter, (given) => {
      const bytes = writeLetter(given);
      const sizes = given.claims.map(claimBytes);
      expect(bytes.length).toBe(sizes.reduce((a, b) => a + b, letterBytes(given.message)));
      expect(readLetter(bytes)).toEqual(given);
    }),
  );
});

test("a letter that is cut short anywhere, or goes on, is none", () => {
  fc.assert(
    fc.property(letter, (given) => {
      const bytes = writeLetter(given);
      for (let end = 0; end < bytes.length; end++)
        expect(readLetter(bytes.subarray(0, end))).toBeUndefined();
      expect(readLetter(Uint8Array.of(...bytes, 0))).toBeUndefined();
    }),
    { numRuns: 30 },
  );
});

test("garbage never throws, and what is read of it is a letter that is written the same way", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const read = readLetter(bytes);
      if (read !== undefined) expect(writeLetter(read)).toEqual(bytes);
    }),
    { numRuns: 2_000 },
  );
});

test("a flipped bit gives another letter or none, never an exception", () => {
  fc.assert(
    fc.property(letter, fc.nat(), (given, at) => {
      const bytes = writeLetter(given);
      const bit = at % (bytes.length * 8);
      bytes[bit >> 3] = (bytes[bit >> 3] as number) ^ (1 << (bit & 7));
      expect(readLetter(bytes)).not.toEqual(given);
    }),
  );
});

test("names are the server's: letters, digits, dot, dash, underscore, at most 128", () => {
  expect(isMemberName("vm-1.rack_2")).toBe(true);
  for (const bad of ["", "a b", "a/b", "ä", "a\n", "x".repeat(129)])
    expect(isMemberName(bad)).toBe(false);
});
