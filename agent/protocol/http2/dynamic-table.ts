// The dynamic table of HPACK, RFC 7541 2.3.2 and 4: the newest entry has the lowest index, and the oldest leave when there is no room.
// Entries lie one behind the other and are moved to the front when the end is reached. Bounds: twice the table's size, and as many
// offsets as that many of the smallest entries have; a table that nothing was put into has neither.
import { copy } from "./copy.ts";
import { OFFSETS, type PackedFields } from "./packed-fields.ts";

const ENTRY_OVERHEAD = 32;
const BYTES_FIRST = 512;
const ENTRIES_FIRST = 8;

export class DynamicTable implements PackedFields {
  bytes: Uint8Array = NO_BYTES;
  at: Int32Array = NO_OFFSETS;
  /** Slots of the oldest entry, and of the next to come. */
  #oldest = 0;
  #next = 0;
  #size = 0;
  #sizeMax: number;
  /** Another with each change of what its indices mean. */
  revision = 0;

  constructor(sizeMax: number) {
    this.#sizeMax = sizeMax;
  }

  get count(): number {
    return (this.#next - this.#oldest) / OFFSETS;
  }

  /** As RFC 7541 4.1 counts. */
  get size(): number {
    return this.#size;
  }

  /** Of its offsets in `at`: 0 is the newest; negative: there is none. */
  slotOf(index: number): number {
    const slot = this.#next - (index + 1) * OFFSETS;
    return slot >= this.#oldest ? slot : -1;
  }

  resize(sizeMax: number): void {
    this.revision++;
    this.#sizeMax = sizeMax;
    this.#makeRoom(0);
  }

  /** An entry larger than the table empties it, RFC 7541 4.4. Keeps copies. */
  insert(bytes: Uint8Array, start: number, nameEnd: number, valueEnd: number): void {
    this.revision++;
    const length = valueEnd - start;
    const size = length + ENTRY_OVERHEAD;
    const fits = size <= this.#sizeMax;
    this.#makeRoom(fits ? size : this.#sizeMax);
    if (!fits) return;
    this.#size += size;
    if (this.#next + OFFSETS > this.at.length) this.#moveOffsets();
    if (this.#end + length > this.bytes.length) this.#moveBytes(length);
    const end = this.#end;
    const slot = this.#next;
    this.#next += OFFSETS;
    copy(bytes, start, valueEnd, this.bytes, end);
    this.at[slot] = end;
    this.at[slot + 1] = end + nameEnd - start;
    this.at[slot + 2] = end + length;
  }

  /** Behind the newest entry. */
  get #end(): number {
    return this.#next > this.#oldest ? (this.at[this.#next - 1] as number) : 0;
  }

  #makeRoom(bytes: number): void {
    while (this.#size + bytes > this.#sizeMax && this.#next > this.#oldest) {
      const length = (this.at[this.#oldest + 2] as number) - (this.at[this.#oldest] as number);
      this.#size -= length + ENTRY_OVERHEAD;
      this.#oldest += OFFSETS;
    }
  }

  /** To the front of an array at most half of which they fill. */
  #moveOffsets(): void {
    const used = this.#next - this.#oldest;
    const before = this.at;
    const needs = 2 * (used + OFFSETS);
    if (needs > before.length) {
      this.at = new Int32Array(Math.max(needs, ENTRIES_FIRST * OFFSETS));
      this.at.set(before.subarray(this.#oldest, this.#next));
    } else before.copyWithin(0, this.#oldest, this.#next);
    this.#oldest = 0;
    this.#next = used;
  }

  /** As #moveOffsets, with room for so many bytes more. */
  #moveBytes(more: number): void {
    const end = this.#end;
    const start = end === 0 ? 0 : (this.at[this.#oldest] as number);
    const before = this.bytes;
    const needs = 2 * (end - start + more);
    if (needs > before.length) {
      this.bytes = new Uint8Array(Math.max(needs, BYTES_FIRST));
      this.bytes.set(before.subarray(start, end));
    } else before.copyWithin(0, start, end);
    for (let i = this.#oldest; i < this.#next; i++) this.at[i] = (this.at[i] as number) - start;
  }
}

const NO_BYTES = new Uint8Array(0);
const NO_OFFSETS = new Int32Array(0);
