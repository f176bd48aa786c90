// Bytes that were received and cannot be used yet: an unfinished head, or requests that wait for their turn. Events show bytes only
// while they run, so these are copies of our own, with the room behind them that editing in place needs.
import { EDIT_ROOM } from "../base/net.ts";
import { HEAD_LIMITS } from "../protocol/http1/head.ts";
import { isWorthReading } from "../protocol/http1/read-request.ts";

export class HeldBytes {
  #bytes: Uint8Array | undefined;
  #end = 0;

  get isEmpty(): boolean {
    return this.#bytes === undefined;
  }

  add(bytes: Uint8Array, start: number, end: number): void {
    const held = this.#withRoomFor(end - start);
    held.set(bytes.subarray(start, end), this.#end);
    this.#end += end - start;
  }

  /** Adds to an unfinished head. Returns whether it is worth reading again: one that comes byte by byte must not cost the square of
   *  its length. */
  addToHead(bytes: Uint8Array, start: number, end: number): boolean {
    const from = this.#end;
    this.add(bytes, start, end);
    return isWorthReading(this.#bytes ?? NOTHING, 0, from, this.#end, HEAD_LIMITS);
  }

  /** Everything held, and EDIT_ROOM bytes beyond it; nothing is held any more. */
  take(): Uint8Array {
    const taken = this.#withRoomFor(0).subarray(0, this.#end + EDIT_ROOM);
    this.clear();
    return taken;
  }

  clear(): void {
    this.#bytes = undefined;
    this.#end = 0;
  }

  /** Exactly as long as needed at first, since most heads come in two pieces at most; then doubled. */
  #withRoomFor(length: number): Uint8Array {
    const held = this.#bytes;
    const needed = this.#end + length + EDIT_ROOM;
    if (held !== undefined && held.length >= needed) return held;
    const grown = new Uint8Array(held === undefined ? needed : Math.max(needed, 2 * held.length));
    if (held !== undefined) grown.set(held.subarray(0, this.#end));
    this.#bytes = grown;
    return grown;
  }
}

const NOTHING = new Uint8Array(0);
