import { expect, test } from "bun:test";
import { readLatin1 } from "./bytes.ts";

test("every byte reads as the character of its number, in short and long runs", () => {
  const all = Uint8Array.from({ length: 256 }, (_, i) => i);
  const text = readLatin1(all, 0, 256);
  for (let i = 0; i < 256; i++) {
    expect(text.charCodeAt(i)).toBe(i);
    expect(readLatin1(all, i, i + 1).charCodeAt(0)).toBe(i);
  }
  const ascii = readLatin1(all, 32, 127);
  expect(ascii.length).toBe(95);
  expect(ascii.charCodeAt(94)).toBe(126);
});
