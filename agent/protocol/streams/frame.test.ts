import { expect, test } from "bun:test";
import fc from "fast-check";
import {
  CREDIT_BYTES,
  FRAME,
  type Frame,
  PAYLOAD_BYTES_MAX,
  readFrameHeader,
  readWord,
  writeFrameHeader,
  writeWord,
} from "./frame.ts";
import { FrameReader } from "./frame-reader.ts";

const stream = fc.integer({ min: 1, max: 0xffff_ffff });
const bare = fc.record({
  length: fc.constant(0),
  kind: fc.constantFrom(FRAME.open, FRAME.end, FRAME.reset),
  stream,
});
const about = fc.record({
  length: fc.constant(0),
  kind: fc.constantFrom(FRAME.retire, FRAME.retired),
  stream: fc.constant(0),
});
const credit = fc.record({
  length: fc.constant(CREDIT_BYTES),
  kind: fc.constant(FRAME.credit),
  stream,
});
const data = fc.record({
  length: fc.integer({ min: 1, max: PAYLOAD_BYTES_MAX }),
  kind: fc.constant(FRAME.data),
  stream,
});
const anyFrame: fc.Arbitrary<Frame> = fc.oneof(bare, about, credit, data);

test("what is written is read again, and a word of any value too", () => {
  fc.assert(
    fc.property(anyFrame, fc.integer({ min: 0, max: 0xffff_ffff }), (frame, word) => {
      const bytes = new Uint8Array(20);
      writeFrameHeader(bytes, 3, frame);
      writeWord(bytes, 12, word);
      const got: Frame = { length: -1, kind: FRAME.data, stream: -1 };
      expect(readFrameHeader(bytes, 3, got)).toBe(true);
      expect([got, readWord(bytes, 12)]).toEqual([frame, word]);
    }),
  );
});

test("lengths and streams that a kind cannot have are refused, and kinds that are none", () => {
  const bad: Frame[] = [
    { length: 0, kind: FRAME.data, stream: 1 },
    { length: PAYLOAD_BYTES_MAX + 1, kind: FRAME.data, stream: 1 },
    { length: 1, kind: FRAME.data, stream: 0 },
    { length: 1, kind: FRAME.end, stream: 1 },
    { length: 0, kind: FRAME.open, stream: 0 },
    { length: 0, kind: FRAME.credit, stream: 1 },
    { length: 0, kind: FRAME.retire, stream: 1 },
    { length: 0, kind: 0 as Frame["kind"], stream: 1 },
    { length: 0, kind: 8 as Frame["kind"], stream: 0 },
  ];
  for (const frame of bad) {
    const bytes = new Uint8Array(8);
    writeFrameHeader(bytes, 0, frame);
    const got: Frame = { length: 0, kind: FRAME.data, stream: 0 };
    expect([frame, readFrameHeader(bytes, 0, got)]).toEqual([frame, false]);
  }
});

test("frames are the same however the bytes were cut", () => {
  fc.assert(
    fc.property(
      fc.array(anyFrame, { minLength: 1, maxLength: 8 }),
      fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 30 }),
      (frames, cuts) => {
        const parts = frames.flatMap((frame) => {
          const bytes = new Uint8Array(8 + frame.length).fill(frame.stream & 255);
          writeFrameHeader(bytes, 0, frame);
          return [...bytes];
        });
        const told: string[] = [];
        let payload = 0;
        const reader = new FrameReader({
          onDataFrame: (id, length) => told.push(`data ${id} ${length}`),
          onPayload: (_bytes, start, end) => {
            payload += end - start;
          },
          onFrame: ({ kind, stream: id }, given) => told.push(`${kind} ${id} ${given}`),
        });
        const bytes = Uint8Array.from(parts);
        for (let at = 0, i = 0; at < bytes.length; i++) {
          const until = Math.min(
            bytes.length,
            at + (cuts[i % cuts.length] ?? 1) * (i % 5 === 0 ? 400 : 1),
          );
          expect(reader.read(bytes, at, until)).toBe(true);
          at = until;
        }
        const expected = frames.map((frame) => {
          if (frame.kind === FRAME.data) return `data ${frame.stream} ${frame.length}`;
          const given = frame.kind === FRAME.credit ? (frame.stream & 255) * 0x0101_0101 : 0;
          return `${frame.kind} ${frame.stream} ${given}`;
        });
        expect(told).toEqual(expected);
        const sizes = frames.filter(({ kind }) => kind === FRAME.data).map(({ length }) => length);
        expect(payload).toBe(sizes.reduce((all, one) => all + one, 0));
      },
    ),
    { numRuns: 60 },
  );
});
