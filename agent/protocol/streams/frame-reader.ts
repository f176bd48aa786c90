// Takes a carrier's bytes apart into frames, however they were cut. Payloads of data are shown as they come, never gathered.
import { FRAME, FRAME_HEADER_BYTES, type Frame, readFrameHeader, readWord } from "./frame.ts";

export interface FrameEvents {
  /** A frame of data begins: whether its payload is wanted. */
  onDataFrame(stream: number, length: number): void;
  /** bytes[start..end) of the frame at hand. `isLast`: nothing that was received lies behind it. */
  onPayload(bytes: Uint8Array, start: number, end: number, isLast: boolean): void;
  /** `credit`: 0 for frames without. */
  onFrame(frame: Readonly<Frame>, credit: number): void;
}

export class FrameReader {
  readonly #events: FrameEvents;
  readonly #frame: Frame = { length: 0, kind: FRAME.data, stream: 0 };
  /** A header, or a credit behind it, that came in pieces. */
  readonly #partial = new Uint8Array(FRAME_HEADER_BYTES);
  #partialBytes = 0;
  /** Of the frame at hand, still to come. */
  #payloadLeft = 0;
  #isStopped = false;

  constructor(events: FrameEvents) {
    this.#events = events;
  }

  /** No more events, also within the read() at hand. */
  stop(): void {
    this.#isStopped = true;
  }

  /** False: nonsense. */
  read(bytes: Uint8Array, start: number, end: number): boolean {
    let at = start;
    while (at < end && !this.#isStopped) {
      const next = this.#isInData ? this.#pass(bytes, at, end) : this.#take(bytes, at, end);
      if (next < 0) return false;
      at = next;
    }
    return true;
  }

  get #isInData(): boolean {
    return this.#payloadLeft > 0 && this.#frame.kind === FRAME.data;
  }

  /** Payload of data. */
  #pass(bytes: Uint8Array, at: number, end: number): number {
    const until = Math.min(end, at + this.#payloadLeft);
    this.#payloadLeft -= until - at;
    this.#events.onPayload(bytes, at, until, until === end);
    return until;
  }

  /** A header, or a credit; whole where it lies, or piece by piece. Negative: nonsense. */
  #take(bytes: Uint8Array, at: number, end: number): number {
    const wanted = this.#payloadLeft > 0 ? this.#payloadLeft : FRAME_HEADER_BYTES;
    if (this.#partialBytes === 0 && end - at >= wanted)
      return this.#whole(bytes, at) ? at + wanted : -1;
    const taken = this.#gather(bytes, at, end, wanted);
    if (this.#partialBytes === wanted) {
      this.#partialBytes = 0;
      if (!this.#whole(this.#partial, 0)) return -1;
    }
    return at + taken;
  }

  #gather(bytes: Uint8Array, at: number, end: number, wanted: number): number {
    const count = Math.min(end - at, wanted - this.#partialBytes);
    for (let i = 0; i < count; i++) this.#partial[this.#partialBytes + i] = bytes[at + i] as number;
    this.#partialBytes += count;
    return count;
  }

  #whole(bytes: Uint8Array, at: number): boolean {
    const frame = this.#frame;
    if (this.#payloadLeft > 0) {
      this.#payloadLeft = 0;
      this.#events.onFrame(frame, readWord(bytes, at));
      return true;
    }
    if (!readFrameHeader(bytes, at, frame)) return false;
    this.#payloadLeft = frame.length;
    if (frame.kind === FRAME.data) this.#events.onDataFrame(frame.stream, frame.length);
    else if (frame.length === 0) this.#events.onFrame(frame, 0);
    return true;
  }
}
