// Takes a connection's bytes apart into frames, however they were cut: RFC 9113 4.1. A frame that lies whole in what was received is shown
// where it lies; one that came in pieces is gathered, which is bounded by FRAME_BYTES_MAX.
import {
  FRAME,
  FRAME_BYTES_MAX,
  FRAME_HEADER_BYTES,
  type Frame,
  readFrameHeader,
} from "./frame.ts";

export interface FrameEvents {
  /** The payload lies in bytes[start..end), whose offset 0 says nothing. `isLast`: nothing that was received lies behind it, so
   *  [end, end + EDIT_ROOM) may be overwritten. */
  onFrame(
    frame: Readonly<Frame>,
    bytes: Uint8Array,
    start: number,
    end: number,
    isLast: boolean,
  ): void;
  /** Longer than we said we take. */
  onTooLong(frame: Readonly<Frame>): void;
}

export class FrameReader {
  readonly #events: FrameEvents;
  readonly #frame: Frame = { length: 0, kind: 0, flags: 0, stream: 0 };
  readonly #header = new Uint8Array(FRAME_HEADER_BYTES);
  #headerBytes = 0;
  /** A payload that came in pieces, as long as its frame said. */
  #payload: Uint8Array | undefined;
  #payloadBytes = 0;
  #isStopped = false;

  constructor(events: FrameEvents) {
    this.#events = events;
  }

  /** How many frames were whole so far. */
  frames = 0;

  /** Part of a frame has come, and the rest has not; content may come as slowly as it likes. */
  get isWithinFrame(): boolean {
    return (
      this.#headerBytes > 0 || (this.#payload !== undefined && this.#frame.kind !== FRAME.data)
    );
  }

  /** No more events, also within the read() at hand. */
  stop(): void {
    this.#isStopped = true;
    this.#payload = undefined;
  }

  read(bytes: Uint8Array, start: number, end: number): void {
    let at = start;
    while (at < end && !this.#isStopped) {
      at = this.#payload === undefined ? this.#take(bytes, at, end) : this.#gather(bytes, at, end);
    }
  }

  /** A header, and its payload if that is here too. Returns where to go on. */
  #take(bytes: Uint8Array, start: number, end: number): number {
    let at = start;
    if (this.#headerBytes === 0 && end - at >= FRAME_HEADER_BYTES) {
      readFrameHeader(bytes, at, this.#frame);
      at += FRAME_HEADER_BYTES;
    } else {
      while (at < end && this.#headerBytes < FRAME_HEADER_BYTES)
        this.#header[this.#headerBytes++] = bytes[at++] as number;
      if (this.#headerBytes < FRAME_HEADER_BYTES) return at;
      this.#headerBytes = 0;
      readFrameHeader(this.#header, 0, this.#frame);
    }
    const { length } = this.#frame;
    if (length > FRAME_BYTES_MAX) {
      this.#events.onTooLong(this.#frame);
      this.#isStopped = true;
    } else if (end - at >= length) {
      this.frames++;
      this.#events.onFrame(this.#frame, bytes, at, at + length, at + length === end);
      return at + length;
    } else this.#payload = new Uint8Array(length);
    return at;
  }

  #gather(bytes: Uint8Array, start: number, end: number): number {
    const payload = this.#payload as Uint8Array;
    const count = Math.min(end - start, payload.length - this.#payloadBytes);
    payload.set(bytes.subarray(start, start + count), this.#payloadBytes);
    this.#payloadBytes += count;
    if (this.#payloadBytes === payload.length) {
      this.#payload = undefined;
      this.#payloadBytes = 0;
      this.frames++;
      this.#events.onFrame(this.#frame, payload, 0, payload.length, false);
    }
    return start + count;
  }
}
