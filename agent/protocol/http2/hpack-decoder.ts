// Decodes header blocks, RFC 7541 3 and 6. One for each direction of a connection. Whatever a block says is decoded to its end or is an
// error of the connection (RFC 9113 4.3): a block that was skipped would leave the two ends with different tables.
import { copy } from "./copy.ts";
import { DynamicTable } from "./dynamic-table.ts";
import type { FieldList } from "./field-list.ts";
import { decodeHuffman } from "./huffman.ts";
import { ENTERED_MAX, type KnownEntries } from "./known-entries.ts";
import { OFFSETS, type PackedFields } from "./packed-fields.ts";
import { STATIC_FIELDS } from "./static-table.ts";

/** SETTINGS_HEADER_TABLE_SIZE as it is when nobody says otherwise; we do not. */
export const TABLE_BYTES_MAX = 4096;
/** Size updates that may begin a block: its sender's smallest and its last, RFC 7541 4.2. */
const SIZE_UPDATES_MAX = 2;
/** What one block may decode to, as RFC 9113 6.5.2 counts: four times the longest list that is taken. An indexed field of one byte can
 *  mean a whole table, so that a block which is not bounded so makes us copy a thousand times its bytes. */
export const DECODED_BYTES_MAX = 245_760;
const FIELD_OVERHEAD = 32;
const STATIC_COUNT = STATIC_FIELDS.at.length / OFFSETS;
/** No number in a block means more. */
const NUMBER_MAX = 1 << 24;

export class HpackDecoder {
  readonly #table: DynamicTable;
  readonly #sizeMax: number;
  /** Of the block at hand. */
  #bytes: Uint8Array = NO_BYTES;
  #at = 0;
  #end = 0;
  #decodedLeft = 0;
  /** The table of the entry found last. */
  #found: PackedFields = STATIC_FIELDS;
  /** The string read last did not fit in any list nor table. */
  #isHuge = false;
  /** Of the block decoded last: it named an entry of the table, or changed its size. */
  #usesTable = false;
  /** Which of its fields it entered into the table. */
  readonly #entered = new Int32Array(ENTERED_MAX);
  #enteredCount = 0;

  constructor(sizeMax = TABLE_BYTES_MAX) {
    this.#sizeMax = sizeMax;
    this.#table = new DynamicTable(sizeMax);
  }

  /** Bytes and entries that the peer keeps here. */
  get table(): { readonly size: number; readonly count: number; readonly revision: number } {
    return this.#table;
  }

  /** The last block was left in the middle: it meant more than DECODED_BYTES_MAX. */
  get isBomb(): boolean {
    return this.#decodedLeft < 0;
  }

  /** Decodes a whole block to `list`. False: it is none (COMPRESSION_ERROR), or see isBomb. */
  decode(bytes: Uint8Array, start: number, end: number, list: FieldList): boolean {
    this.#decodedLeft = DECODED_BYTES_MAX;
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
    list.clear();
    this.#usesTable = false;
    this.#enteredCount = 0;
    let updates = 0;
    while (this.#at < this.#end) {
      const first = bytes[this.#at] as number;
      let isFine: boolean;
      if (first >= 0x80) isFine = this.#indexed(list);
      else if (first >= 0x40) isFine = this.#literal(list, 6, true);
      else if (first >= 0x20) {
        const isFirst = list.count === 0 && !list.isTooLong;
        isFine = isFirst && ++updates <= SIZE_UPDATES_MAX && this.#resize();
      } else isFine = this.#literal(list, 4, false);
      if (!isFine) return false;
    }
    return true;
  }

  #indexed(list: FieldList): boolean {
    const slot = this.#find(this.#number(7));
    if (slot < 0) return false;
    const { bytes, at } = this.#found;
    const start = at[slot] as number;
    const valueEnd = at[slot + 2] as number;
    if (!this.#counts(valueEnd - start)) return false;
    if (list.isTooLong) return true; // counting it on would be work for nothing
    const { end } = list;
    if (end + valueEnd - start > list.bytes.length) return true;
    copy(bytes, start, valueEnd, list.bytes, end);
    list.add(end, end + (at[slot + 1] as number) - start, end + valueEnd - start);
    return true;
  }

  #literal(list: FieldList, prefixBits: number, isIndexed: boolean): boolean {
    const index = this.#number(prefixBits);
    if (index < 0) return false;
    const { bytes, end } = list;
    const nameEnd = this.#name(index, bytes, end);
    if (nameEnd < 0) return false;
    const valueEnd = this.#string(bytes, this.#isHuge ? end : nameEnd);
    if (valueEnd < 0) return false;
    if (!this.#counts(this.#isHuge ? 0 : valueEnd - end)) return false;
    if (this.#isHuge) {
      list.isTooLong = true;
      list.count = 0;
      list.end = 0;
      if (isIndexed) this.#table.insert(NO_BYTES, 0, 0, TABLE_BYTES_MAX + 1);
      return true;
    }
    if (isIndexed) this.#table.insert(bytes, end, nameEnd, valueEnd);
    if (isIndexed && this.#enteredCount < ENTERED_MAX)
      this.#entered[this.#enteredCount] = list.count;
    if (isIndexed) this.#enteredCount++;
    list.add(end, nameEnd, valueEnd);
    return true;
  }

  /** Keeps what the block decoded last, to `list`, did to the table. False: what it means hangs on the table, or it entered too much. */
  keepEntered(list: FieldList, entries: KnownEntries): boolean {
    if (this.#usesTable || this.#enteredCount > ENTERED_MAX) return false;
    entries.clear();
    for (let i = 0; i < this.#enteredCount; i++) {
      const field = this.#entered[i] as number;
      const start = list.nameStart(field);
      if (!entries.add(list.bytes, start, list.nameEnd(field), list.valueEnd(field))) return false;
    }
    return true;
  }

  /** Does to the table what keepEntered() kept. */
  enter(entries: KnownEntries): void {
    const { bytes, at, count } = entries;
    for (let i = 0; i < count * OFFSETS; i += OFFSETS)
      this.#table.insert(bytes, at[i] as number, at[i + 1] as number, at[i + 2] as number);
  }

  /** By its index, or 0: a string. Returns where it ended in `out`; negative: none. */
  #name(index: number, out: Uint8Array, to: number): number {
    this.#isHuge = false;
    if (index === 0) return this.#string(out, to);
    const slot = this.#find(index);
    if (slot < 0) return -1;
    const { bytes, at } = this.#found;
    const start = at[slot] as number;
    const end = at[slot + 1] as number;
    if (to + end - start > out.length) this.#isHuge = true;
    else copy(bytes, start, end, out, to);
    return to + end - start;
  }

  /** One more field of so many bytes; false: see isBomb. */
  #counts(bytes: number): boolean {
    this.#decodedLeft -= bytes + FIELD_OVERHEAD;
    return this.#decodedLeft >= 0;
  }

  #resize(): boolean {
    const size = this.#number(5);
    if (size < 0 || size > this.#sizeMax) return false;
    this.#usesTable = true;
    this.#table.resize(size);
    return true;
  }

  /** Where an entry's offsets are in `#found`; negative: there is none. */
  #find(index: number): number {
    const isStatic = index <= STATIC_COUNT;
    this.#found = isStatic ? STATIC_FIELDS : this.#table;
    if (index < 1) return -1;
    if (!isStatic) this.#usesTable = true;
    return isStatic ? (index - 1) * OFFSETS : this.#table.slotOf(index - STATIC_COUNT - 1);
  }

  /** RFC 7541 5.1; negative: cut short, or beyond anything that is meant. */
  #number(prefixBits: number): number {
    const mask = (1 << prefixBits) - 1;
    let value = (this.#bytes[this.#at++] as number) & mask;
    if (value < mask) return value;
    for (let shift = 0; this.#at < this.#end && shift <= 28; shift += 7) {
      const byte = this.#bytes[this.#at++] as number;
      value += (byte & 0x7f) * 2 ** shift;
      if (value > NUMBER_MAX) return -1;
      if (byte < 0x80) return value;
    }
    return -1;
  }

  /** RFC 7541 5.2, to out from `to` on. Returns where it ended; negative: none. */
  #string(out: Uint8Array, to: number): number {
    if (this.#at >= this.#end) return -1;
    const isHuffman = (this.#bytes[this.#at] as number) >= 0x80;
    const length = this.#number(7);
    if (length < 0 || length > this.#end - this.#at) return -1;
    const start = this.#at;
    this.#at += length;
    if (isHuffman) {
      const end = decodeHuffman(this.#bytes, start, this.#at, out, to);
      if (end !== -2) return end;
    } else if (to + length <= out.length) {
      copy(this.#bytes, start, this.#at, out, to);
      return to + length;
    }
    this.#isHuge = true;
    return to;
  }
}

const NO_BYTES = new Uint8Array(0);
