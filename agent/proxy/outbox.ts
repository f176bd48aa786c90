// Bytes on their way to one stream: what it has not taken yet and, for a request that may be tried again, also what it has.
import type { Stream } from "../base/net.ts";
import type { BufferPool } from "./buffer-pool.ts";

export class Outbox {
  readonly #pool: BufferPool;
  #buffer: Uint8Array | undefined;
  /** [0, sent) went out and is kept; [sent, end) waits. */
  #sent = 0;
  #end = 0;
  #keepsMax = 0;
  /** A stream took some of it. */
  #hasLeft = false;

  constructor(pool: BufferPool) {
    this.#pool = pool;
  }

  /** Begins to keep what is sent, up to so many bytes; past that nothing is kept any more. */
  keep(bytesMax: number): void {
    this.#keepsMax = bytesMax;
    this.#hasLeft = false;
  }

  get unsentBytes(): number {
    return this.#end - this.#sent;
  }

  /** Everything since keep() is still here. */
  get isReplayable(): boolean {
    return this.#keepsMax > 0 || !this.#hasLeft;
  }

  /** Sends at once what the stream takes, and holds the rest. Without a stream holds all. True: nothing is left unsent. */
  send(stream: Stream | undefined, bytes: Uint8Array, start: number, end: number): boolean {
    let taken = 0;
    if (stream !== undefined && this.#end === this.#sent) taken = stream.write(bytes, start, end);
    if (taken > 0) this.#hasLeft = true;
    if (this.#keepsMax > 0 && this.#end + end - start > this.#keepsMax) this.#stopKeeping();
    if (this.#keepsMax > 0) {
      this.#append(bytes, start, end);
      this.#sent += taken;
    } else if (start + taken < end) {
      this.#append(bytes, start + taken, end);
    }
    return this.#end === this.#sent;
  }

  /** True: nothing is left unsent. */
  flush(stream: Stream): boolean {
    const buffer = this.#buffer;
    if (buffer === undefined || this.#end === this.#sent) return true;
    const taken = stream.write(buffer, this.#sent, this.#end);
    this.#sent += taken;
    if (taken > 0) this.#hasLeft = true;
    if (this.#sent < this.#end) return false;
    if (this.#keepsMax === 0) this.clear();
    return true;
  }

  /** All of it goes out again. */
  rewind(): void {
    this.#sent = 0;
  }

  clear(): void {
    if (this.#buffer !== undefined) this.#pool.give(this.#buffer);
    this.#buffer = undefined;
    this.#sent = 0;
    this.#end = 0;
    this.#keepsMax = 0;
  }

  #stopKeeping(): void {
    this.#keepsMax = 0;
    const buffer = this.#buffer;
    if (this.#end === this.#sent) this.clear();
    else if (buffer !== undefined) {
      buffer.copyWithin(0, this.#sent, this.#end);
      this.#end -= this.#sent;
      this.#sent = 0;
    }
  }

  #append(bytes: Uint8Array, start: number, end: number): void {
    const room = this.#roomFor(end - start);
    if (end - start <= COPY_BY_HAND_MAX) {
      let at = this.#end;
      for (let i = start; i < end; i++) room[at++] = bytes[i] as number;
    } else {
      room.set(bytes.subarray(start, end), this.#end);
    }
    this.#end += end - start;
  }

  #roomFor(bytes: number): Uint8Array {
    const old = this.#buffer;
    if (old !== undefined && this.#end + bytes <= old.length) return old;
    // Sent bytes that nobody keeps make room first.
    if (old !== undefined && this.#keepsMax === 0 && this.#sent > 0) {
      old.copyWithin(0, this.#sent, this.#end);
      this.#end -= this.#sent;
      this.#sent = 0;
      if (this.#end + bytes <= old.length) return old;
    }
    const buffer = this.#pool.take(this.#end + bytes);
    if (old !== undefined) {
      buffer.set(old.subarray(0, this.#end));
      this.#pool.give(old);
    }
    this.#buffer = buffer;
    return buffer;
  }
}

/** Below this a loop is cheaper than making a view. */
const COPY_BY_HAND_MAX = 192;
