import { expect, test } from "bun:test";
import fc from "fast-check";
import { FRAME_BYTES_MAX, writeFrameHeader } from "./frame.ts";
import { FrameReader } from "./frame-reader.ts";

const frame = fc.record({
  kind: fc.integer({ min: 0, max: 255 }),
  flags: fc.integer({ min: 0, max: 255 }),
  stream: fc.integer({ min: 0, max: 0x7fff_ffff }),
  length: fc.oneof(fc.integer({ min: 0, max: 40 }), fc.constant(FRAME_BYTES_MAX)),
});

function readerOf(told: unknown[]): FrameReader {
  return new FrameReader({
    onFrame: ({ kind, flags, stream, length }, bytes, start, end, isLast) => {
      expect(end - start).toBe(length);
      for (let i = start; i < end; i++)
        if (bytes[i] !== (i - start) % 251) throw new Error("moved");
      if (isLast && end !== bytes.length) throw new Error("something lies behind it");
      told.push({ kind, flags, stream, length });
    },
    onTooLong: ({ length }) => told.push(`too long: ${length}`),
  });
}

test("frames are the same however the bytes were cut", () => {
  fc.assert(
    fc.property(
      fc.array(frame, { minLength: 1, maxLength: 6 }),
      fc.array(fc.integer({ min: 1, max: 3_000 }), { minLength: 1, maxLength: 12 }),
      (frames, cuts) => {
        const parts = frames.map(({ length, kind, flags, stream }) => {
          const bytes = Uint8Array.from({ length: 9 + length }, (_, i) => (i - 9) % 251);
          writeFrameHeader(bytes, 0, length, kind, flags, stream);
          return bytes;
        });
        const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
        let at = 0;
        for (const part of parts) {
          all.set(part, at);
          at += part.length;
        }
        const told: unknown[] = [];
        const reader = readerOf(told);
        for (let start = 0, i = 0; start < all.length; i++) {
          const end = Math.min(all.length, start + (cuts[i % cuts.length] ?? 1));
          reader.read(all.slice(start, end), 0, end - start);
          start = end;
        }
        expect(told).toEqual(frames);
        expect([reader.isWithinFrame, reader.frames]).toEqual([false, frames.length]);
      },
    ),
    { numRuns: 60, seed: 1 },
  );
});

test("a frame longer than we take is told by its header, and nothing behind it is read", () => {
  const told: unknown[] = [];
  const bytes = new Uint8Array(40);
  writeFrameHeader(bytes, 0, FRAME_BYTES_MAX + 1, 0, 0, 1);
  readerOf(told).read(bytes, 0, bytes.length);
  expect(told).toEqual([`too long: ${FRAME_BYTES_MAX + 1}`]);
});

test("the reserved bit before a stream's number is ignored", () => {
  const told: { stream: number }[] = [];
  const bytes = new Uint8Array(9);
  writeFrameHeader(bytes, 0, 0, 6, 0, 5);
  bytes[5] = 0x80;
  readerOf(told).read(bytes, 0, 9);
  expect(told[0]?.stream).toBe(5);
});
