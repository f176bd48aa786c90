import { expect, test } from "bun:test";
import { PAYLOAD_BYTES_MAX } from "./frame.ts";
import { HeldBlocks } from "./held-blocks.ts";

const BYTES = new Uint8Array(PAYLOAD_BYTES_MAX + 100).map((_, i) => i);

test("a piece is a copy of its bytes, and a large one lies in a block that was given back", () => {
  const blocks = new HeldBlocks();
  const first = blocks.copy(BYTES, 10, 10 + 9_000);
  expect(first.bytes.subarray(first.start, first.end)).toEqual(BYTES.subarray(10, 9_010));
  blocks.give(first);
  const second = blocks.copy(BYTES, 3, 3 + PAYLOAD_BYTES_MAX);
  expect(second.bytes).toBe(first.bytes);
  expect(second.bytes).toEqual(BYTES.slice(3, 3 + PAYLOAD_BYTES_MAX));
  expect(blocks.copy(BYTES, 0, 9_000).bytes).not.toBe(second.bytes);
});

test("a small piece weighs no more than its bytes", () => {
  const blocks = new HeldBlocks();
  const piece = blocks.copy(BYTES, 7, 8);
  expect(piece.bytes).toEqual(BYTES.slice(7, 8));
  blocks.give(piece);
  expect(blocks.copy(BYTES, 0, PAYLOAD_BYTES_MAX / 2 - 1).bytes.length).toBe(8_191);
  expect(blocks.copy(BYTES, 0, 9_000).bytes.length).toBe(PAYLOAD_BYTES_MAX);
});

test("a thread on which nothing happens keeps none", () => {
  const blocks = new HeldBlocks();
  const piece = blocks.copy(BYTES, 0, 9_000);
  blocks.give(piece);
  blocks.release();
  expect(blocks.copy(BYTES, 0, 9_000).bytes).not.toBe(piece.bytes);
});
