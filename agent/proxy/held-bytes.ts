// Bytes that were received and cannot be used yet: an unfinished head, or requests that wait for their turn. Events show bytes only
// while they run, so these are copies of our own, with the room behind them that editing in place needs.
import { EDIT_ROOM } from "../base/net.ts";

export class HeldBytes {
  #bytes: Uint8Array | undefined;

  get isEmpty(): boolean {
    return this.#bytes === undefined;
  }

  add(bytes: Uint8Array, start: number, end: number): void {
    this.#bytes = this.#joined(bytes, start, end);
  }

  /** Everything held, followed by bytes[start..end) when given; nothing is held any more. The array has EDIT_ROOM bytes beyond them. */
  take(bytes: Uint8Array = NOTHING, start = 0, end = 0): Uint8Array {
    const joined = this.#joined(bytes, start, end);
    this.#bytes = undefined;
    return joined;
  }

  clear(): void {
    this.#bytes = undefined;
  }

  #joined(bytes: Uint8Array, start: number, end: number): Uint8Array {
    const held = this.#bytes;
    const heldEnd = held === undefined ? 0 : held.length - EDIT_ROOM;
    const joined = new Uint8Array(heldEnd + end - start + EDIT_ROOM);
    if (held !== undefined) joined.set(held.subarray(0, heldEnd));
    joined.set(bytes.subarray(start, end), heldEnd);
    return joined;
  }
}

const NOTHING = new Uint8Array(0);
