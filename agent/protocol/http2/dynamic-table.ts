// The dynamic table of HPACK, RFC 7541 2.3.2 and 4: the newest entry has the lowest index, and the oldest leave when there is no room.
import type { TableEntry } from "./static-table.ts";

const ENTRY_OVERHEAD = 32;

export class DynamicTable {
  /** Entries in order of their coming, from `#first` on; those before have left. */
  readonly #entries: (TableEntry | undefined)[] = [];
  #first = 0;
  #size = 0;
  #sizeMax: number;

  constructor(sizeMax: number) {
    this.#sizeMax = sizeMax;
  }

  get count(): number {
    return this.#entries.length - this.#first;
  }

  /** As RFC 7541 4.1 counts. */
  get size(): number {
    return this.#size;
  }

  /** 0 is the newest; undefined: there is none. */
  at(index: number): TableEntry | undefined {
    return index < this.count ? this.#entries[this.#entries.length - 1 - index] : undefined;
  }

  resize(sizeMax: number): void {
    this.#sizeMax = sizeMax;
    this.#makeRoom(0);
  }

  /** An entry larger than the table empties it, RFC 7541 4.4. Keeps copies. */
  insert(bytes: Uint8Array, start: number, nameEnd: number, valueEnd: number): void {
    const size = valueEnd - start + ENTRY_OVERHEAD;
    const fits = size <= this.#sizeMax;
    this.#makeRoom(fits ? size : this.#sizeMax);
    if (!fits) return;
    this.#size += size;
    const copy = bytes.slice(start, valueEnd);
    const split = nameEnd - start;
    this.#entries.push({ name: copy.subarray(0, split), value: copy.subarray(split) });
  }

  #makeRoom(bytes: number): void {
    while (this.#size + bytes > this.#sizeMax && this.count > 0) {
      const oldest = this.#entries[this.#first];
      this.#entries[this.#first++] = undefined;
      if (oldest !== undefined)
        this.#size -= oldest.name.length + oldest.value.length + ENTRY_OVERHEAD;
    }
    if (this.#first > 64 && this.#first * 2 > this.#entries.length) {
      this.#entries.splice(0, this.#first);
      this.#first = 0;
    }
  }
}
