// Frames of an opaque connection between two agents (docs/decisions/0024-ends-of-tls.md), so that its end is said inside TLS:
//
//   length (24 bits, big-endian) | that many bytes
//
// Length 0 is the end of this direction, and nothing follows it. A frame is never gathered: its bytes are shown as they come.
import { assert } from "../../base/assert.ts";
import type { Stream } from "../../base/net.ts";

export const HEADER_BYTES = 3;
/** Longer is nonsense, and what a later version may give a meaning to. */
export const FRAME_BYTES_MAX = 262_144;
/** Of a piece whose header cannot be put before it: a whole TLS record, since one that was tried must be offered again as it was. */
const STAGED_BYTES_MAX = 16_384;

/** A place for such pieces; what is in it does not survive a call. */
export const stageForOpaque = (): Uint8Array => new Uint8Array(HEADER_BYTES + STAGED_BYTES_MAX);

/** Takes the headers out of what comes. */
export class OpaqueFrameReader {
  /** Where in the bytes that the last read() was given their payload lies now; nothing when equal. */
  start = 0;
  end = 0;
  /** The peer has said that no more follows. */
  hasEnded = false;
  /** Of the frame at hand, still to come. */
  #left = 0;
  #length = 0;
  #headerBytes = 0;

  /** Moves the payload within bytes[start..end) together, behind its first piece. False: nonsense. */
  read(bytes: Uint8Array, start: number, end: number): boolean {
    let at = start;
    let from = -1;
    let to = start;
    while (at < end) {
      if (this.hasEnded) return false;
      if (this.#left === 0) {
        if (!this.#takeHeaderByte(bytes[at++] as number)) return false;
        continue;
      }
      const until = Math.min(end, at + this.#left);
      this.#left -= until - at;
      if (from < 0) {
        from = at;
        to = until;
      } else {
        bytes.copyWithin(to, at, until);
        to += until - at;
      }
      at = until;
    }
    this.start = from < 0 ? start : from;
    this.end = to;
    return true;
  }

  #takeHeaderByte(byte: number): boolean {
    this.#length = (this.#length << 8) | byte;
    if (++this.#headerBytes < HEADER_BYTES) return true;
    this.#left = this.#length;
    this.hasEnded = this.#length === 0;
    this.#length = 0;
    this.#headerBytes = 0;
    return this.#left <= FRAME_BYTES_MAX;
  }
}

/** Puts headers before what goes out, in the same write. A frame that was tried stays as it is: TLS may have sealed its beginning
 *  already, and wants the same bytes again. */
export class OpaqueFrameWriter {
  /** Payload of the frame at hand that was not taken yet; of its header, how much was not. */
  #left = 0;
  #headerLeft = 0;
  #length = 0;
  #isEnding = false;
  #isBlocked = false;

  /** What the stream took of the frame at hand is not all of it. */
  get isInFrame(): boolean {
    return this.#left > 0;
  }

  /** How many of bytes[start..end) the stream took. The bytes before `start` are borrowed for a header and given back. */
  write(
    stream: Stream,
    bytes: Uint8Array,
    start: number,
    end: number,
    stage: () => Uint8Array,
  ): number {
    let at = start;
    this.#isBlocked = false;
    while (at < end && !this.#isBlocked) {
      if (this.#left === 0) this.#begin(Math.min(end - at, FRAME_BYTES_MAX));
      const until = Math.min(end, at + this.#left);
      const taken = this.#writePart(stream, bytes, at, until, stage);
      this.#left -= taken;
      at += taken;
    }
    return at - start;
  }

  /** True: the end has been taken. Only between frames, and nothing may be written after it. */
  writeEnd(stream: Stream, stage: () => Uint8Array): boolean {
    assert(this.#left === 0, "an opaque stream is ended in the middle of what its owner offered");
    if (!this.#isEnding) this.#begin(0);
    this.#isEnding = true;
    if (this.#headerLeft > 0) this.#writeStaged(stream, NOTHING, 0, 0, stage());
    return this.#headerLeft === 0;
  }

  #begin(length: number): void {
    this.#left = length;
    this.#length = length;
    this.#headerLeft = HEADER_BYTES;
  }

  #writePart(
    stream: Stream,
    bytes: Uint8Array,
    start: number,
    end: number,
    stage: () => Uint8Array,
  ): number {
    if (this.#headerLeft === 0) {
      const taken = stream.write(bytes, start, end);
      this.#isBlocked = taken < end - start;
      return taken;
    }
    return start < HEADER_BYTES
      ? this.#writeStaged(stream, bytes, start, end, stage())
      : this.#writeBorrowed(stream, bytes, start, end);
  }

  #writeBorrowed(stream: Stream, bytes: Uint8Array, start: number, end: number): number {
    const from = start - HEADER_BYTES;
    const [a, b, c] = [bytes[from], bytes[from + 1], bytes[from + 2]] as [number, number, number];
    this.#putHeader(bytes, from);
    const taken = this.#count(
      stream.write(bytes, start - this.#headerLeft, end),
      this.#headerLeft + end - start,
    );
    bytes[from] = a;
    bytes[from + 1] = b;
    bytes[from + 2] = c;
    return taken;
  }

  #writeStaged(
    stream: Stream,
    bytes: Uint8Array,
    start: number,
    end: number,
    stage: Uint8Array,
  ): number {
    const length = Math.min(end - start, STAGED_BYTES_MAX);
    this.#putHeader(stage, 0);
    if (length > 0) stage.set(bytes.subarray(start, start + length), HEADER_BYTES);
    const from = HEADER_BYTES - this.#headerLeft;
    return this.#count(stream.write(stage, from, HEADER_BYTES + length), this.#headerLeft + length);
  }

  #putHeader(bytes: Uint8Array, at: number): void {
    bytes[at] = this.#length >>> 16;
    bytes[at + 1] = this.#length >>> 8;
    bytes[at + 2] = this.#length;
  }

  /** Of what was taken, what was payload. */
  #count(taken: number, offered: number): number {
    this.#isBlocked = taken < offered;
    const ofHeader = Math.min(taken, this.#headerLeft);
    this.#headerLeft -= ofHeader;
    return taken - ofHeader;
  }
}

const NOTHING = new Uint8Array(0);
