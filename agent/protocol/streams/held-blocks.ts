// Where what a stream is not ready for is kept: blocks that go from hand to hand. Left to the collector they would live through a collection or
// two before they are shown, and only a full one would take them then.
import { PAYLOAD_BYTES_MAX } from "./frame.ts";

/** Smaller pieces are copies of just their size, so that what a peer makes us hold weighs at most twice its bytes. */
const BLOCK_FROM = PAYLOAD_BYTES_MAX / 2;
/** 4 MiB. What comes back beyond is left to the collector. */
const FREE_MAX = 256;

export interface HeldPiece {
  readonly bytes: Uint8Array;
  start: number;
  readonly end: number;
}

/** Of one thread. */
export class HeldBlocks {
  readonly #free: Uint8Array[] = [];

  /** A copy of at most PAYLOAD_BYTES_MAX bytes; give it back once it was shown or is to be forgotten. */
  copy(bytes: Uint8Array, start: number, end: number): HeldPiece {
    const length = end - start;
    if (length < BLOCK_FROM) return { bytes: bytes.slice(start, end), start: 0, end: length };
    const block = this.#free.pop() ?? new Uint8Array(PAYLOAD_BYTES_MAX);
    block.set(bytes.subarray(start, end));
    return { bytes: block, start: 0, end: length };
  }

  /** Nothing will come for a while: what is free is left to the collector. */
  release(): void {
    this.#free.length = 0;
  }

  /** Once for each piece: another stream may hold its bytes the next moment. */
  give({ bytes }: HeldPiece): void {
    if (bytes.length === PAYLOAD_BYTES_MAX && this.#free.length < FREE_MAX) this.#free.push(bytes);
  }
}
