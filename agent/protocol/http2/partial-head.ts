// A head that was written in pieces, as far as it has come.
import type { HeadLimits } from "../http1/head.ts";
import { isWorthReading } from "../http1/read-request.ts";

const BYTES_FIRST = 1_024;

export class PartialHead {
  #bytes: Uint8Array = NO_BYTES;
  #end = 0;

  get length(): number {
    return this.#end;
  }
  /** At most what it is: the rest comes again. */
  set length(length: number) {
    this.#end = Math.min(length, this.#end);
  }

  get bytes(): Uint8Array {
    return this.#bytes;
  }

  /** True: reading it again may say more than before. At most a head's longest is taken, and one byte more. */
  add(bytes: Uint8Array, start: number, end: number, limits: HeadLimits): boolean {
    const from = this.#end;
    const count = Math.min(end - start, limits.headBytesMax + 1 - from);
    if (from + count > this.#bytes.length) {
      let size = Math.max(BYTES_FIRST, this.#bytes.length);
      while (size < from + count) size *= 2;
      const larger = new Uint8Array(size);
      larger.set(this.#bytes.subarray(0, from));
      this.#bytes = larger;
    }
    this.#bytes.set(bytes.subarray(start, start + count), from);
    this.#end += count;
    return isWorthReading(this.#bytes, 0, from, this.#end, limits);
  }

  clear(): void {
    this.#bytes = NO_BYTES;
    this.#end = 0;
  }
}

const NO_BYTES = new Uint8Array(0);
