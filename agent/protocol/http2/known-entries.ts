// What a header block entered into the dynamic table, kept to be done again without the block (known-heads.ts).
import { copy } from "./copy.ts";
import { OFFSETS, type PackedFields } from "./packed-fields.ts";

/** Of one block. */
export const ENTERED_MAX = 8;
const BYTES_MAX = 384;

export class KnownEntries implements PackedFields {
  /** Of a block that enters nothing, as most: none. */
  bytes: Uint8Array = NO_BYTES;
  at: Int32Array = NO_OFFSETS;
  count = 0;
  #end = 0;

  clear(): void {
    this.count = 0;
    this.#end = 0;
  }

  /** False: there is no room. */
  add(bytes: Uint8Array, start: number, nameEnd: number, valueEnd: number): boolean {
    const from = this.#end;
    const end = from + valueEnd - start;
    if (this.count === ENTERED_MAX || end > BYTES_MAX) return false;
    if (this.bytes.length === 0) {
      this.bytes = new Uint8Array(BYTES_MAX);
      this.at = new Int32Array(ENTERED_MAX * OFFSETS);
    }
    copy(bytes, start, valueEnd, this.bytes, from);
    const slot = this.count++ * OFFSETS;
    this.at[slot] = from;
    this.at[slot + 1] = from + nameEnd - start;
    this.at[slot + 2] = end;
    this.#end = end;
    return true;
  }
}

const NO_BYTES = new Uint8Array(0);
const NO_OFFSETS = new Int32Array(0);
