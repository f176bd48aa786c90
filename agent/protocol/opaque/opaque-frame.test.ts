import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Stream } from "../../base/net.ts";
import {
  FRAME_BYTES_MAX,
  HEADER_BYTES,
  OpaqueFrameReader,
  OpaqueFrameWriter,
  stageForOpaque,
} from "./opaque-frame.ts";

/** Takes as much of each write as the list says, then all. */
function wire(takes: readonly number[] = []): { stream: Stream; sent: number[] } {
  const sent: number[] = [];
  const left = [...takes];
  const write = (bytes: Uint8Array, start: number, end: number): number => {
    const taken = Math.min(left.shift() ?? end - start, end - start);
    for (let i = start; i < start + taken; i++) sent.push(bytes[i] as number);
    return taken;
  };
  return { stream: { write } as unknown as Stream, sent };
}

const stage = stageForOpaque();
const lend = (): Uint8Array => stage;

/** Offers bytes[start..end) until they are taken, as an owner does at each onWritable. */
function offerAll(
  writer: OpaqueFrameWriter,
  stream: Stream,
  bytes: Uint8Array,
  at: { start: number; end: number },
): void {
  let from = at.start;
  while (from < at.end) from += writer.write(stream, bytes, from, at.end, lend);
}

test("what is framed, taken in any pieces and received in any others, is the same bytes, then the end", () => {
  const pieces = fc.array(fc.uint8Array({ minLength: 1, maxLength: 300 }), { maxLength: 8 });
  const counts = fc.array(fc.nat(200), { maxLength: 60 });
  fc.assert(
    fc.property(pieces, counts, fc.nat(5), counts, (said, takes, lead, cuts) => {
      const { stream, sent } = wire(takes);
      const writer = new OpaqueFrameWriter();
      for (const piece of said) {
        const bytes = new Uint8Array(lead + piece.length).fill(0xee);
        bytes.set(piece, lead);
        offerAll(writer, stream, bytes, { start: lead, end: bytes.length });
        expect(bytes.subarray(0, lead).every((byte) => byte === 0xee)).toBe(true);
        expect(bytes.subarray(lead)).toEqual(piece);
      }
      while (!writer.writeEnd(stream, lend));
      const reader = new OpaqueFrameReader();
      const heard: number[] = [];
      const arrived = Uint8Array.from(sent);
      for (let at = 0; at < arrived.length; ) {
        const end = Math.min(arrived.length, at + 1 + (cuts.shift() ?? arrived.length));
        expect(reader.hasEnded).toBe(false);
        expect(reader.read(arrived, at, end)).toBe(true);
        heard.push(...arrived.subarray(reader.start, reader.end));
        at = end;
      }
      expect(reader.hasEnded).toBe(true);
      expect(heard).toEqual(said.flatMap((piece) => [...piece]));
    }),
  );
});

test("a header leaves in one write with what it heads", () => {
  const writes: number[] = [];
  const write = (_bytes: Uint8Array, start: number, end: number): number => {
    writes.push(end - start);
    return end - start;
  };
  const stream = { write } as unknown as Stream;
  const bytes = new Uint8Array(65_600);
  new OpaqueFrameWriter().write(stream, bytes, 64, 65_600, lend);
  new OpaqueFrameWriter().write(stream, bytes, 0, 100, lend);
  expect(writes).toEqual([HEADER_BYTES + 65_536, HEADER_BYTES + 100]);
});

test("a frame that was tried and not taken is offered again as it was, whatever has come to it", () => {
  const { stream, sent } = wire([0]);
  const writer = new OpaqueFrameWriter();
  const bytes = Uint8Array.from([1, 2, 3, 4]);
  expect(writer.write(stream, bytes, 0, 2, lend)).toBe(0);
  expect(writer.write(stream, bytes, 0, 4, lend)).toBe(4);
  expect(sent).toEqual([0, 0, 2, 1, 2, 0, 0, 2, 3, 4]);
});

test("a length beyond the bound, and anything after the end, is nonsense", () => {
  const refused = (...bytes: number[]): boolean =>
    !new OpaqueFrameReader().read(Uint8Array.from(bytes), 0, bytes.length);
  const header = (length: number) => [length >>> 16, (length >>> 8) & 255, length & 255];
  expect(refused(...header(FRAME_BYTES_MAX), 1)).toBe(false);
  expect(refused(...header(FRAME_BYTES_MAX + 1))).toBe(true);
  expect(refused(255, 255, 255)).toBe(true);
  expect(refused(0, 0, 0)).toBe(false);
  expect(refused(0, 0, 0, 0)).toBe(true);
  expect(refused(0, 0, 1, 7, 0, 0, 0, 0, 0, 1, 7)).toBe(true);
});

test("an end in the middle of what was offered is a bug of ours", () => {
  const { stream } = wire([4]);
  const writer = new OpaqueFrameWriter();
  writer.write(stream, new Uint8Array(20), 8, 20, lend);
  expect(() => writer.writeEnd(stream, lend)).toThrow("in the middle");
});
