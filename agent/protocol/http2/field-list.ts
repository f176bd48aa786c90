// The fields of one header block, decoded: offsets into bytes of its own, in a record that is reused. Bounded as RFC 9113 6.5.2 counts
// (SETTINGS_MAX_HEADER_LIST_SIZE): what is too long is forgotten at once, while the block's rest is still decoded, since the tables of both ends
// must stay the same.

/** Names and values, with 32 for each field; what we announce. */
export const FIELD_BYTES_MAX = 60 * 1024;
/** Pseudo-header fields come on top of the fields that a head may have. */
const PSEUDO_FIELDS = 5;
const FIELD_OVERHEAD = 32;

export class FieldList {
  /** Long enough for one field of an unlimited list: what decodes to more fits in no table either. */
  readonly bytes = new Uint8Array(2 * FIELD_BYTES_MAX);
  /** Of field i: nameStart, nameEnd, valueStart, valueEnd at 4 * i. */
  readonly at: Int32Array;
  count = 0;
  isTooLong = false;
  /** Where the next name goes. */
  end = 0;
  #size = 0;
  readonly #fieldsMax: number;

  constructor(headersMax: number) {
    this.#fieldsMax = headersMax + PSEUDO_FIELDS;
    this.at = new Int32Array(4 * this.#fieldsMax);
  }

  clear(): void {
    this.count = 0;
    this.isTooLong = false;
    this.end = 0;
    this.#size = 0;
  }

  /** A name lies in [start, nameEnd), its value in [nameEnd, valueEnd). */
  add(start: number, nameEnd: number, valueEnd: number): void {
    this.#size += valueEnd - start + FIELD_OVERHEAD;
    if (this.#size > FIELD_BYTES_MAX || this.count === this.#fieldsMax) this.isTooLong = true;
    if (this.isTooLong) {
      this.count = 0;
      this.end = 0;
      return;
    }
    const i = 4 * this.count++;
    this.at[i] = start;
    this.at[i + 1] = nameEnd;
    this.at[i + 2] = nameEnd;
    this.at[i + 3] = valueEnd;
    this.end = valueEnd;
  }

  nameStart(index: number): number {
    return this.at[4 * index] as number;
  }
  nameEnd(index: number): number {
    return this.at[4 * index + 1] as number;
  }
  valueStart(index: number): number {
    return this.at[4 * index + 2] as number;
  }
  valueEnd(index: number): number {
    return this.at[4 * index + 3] as number;
  }

  isNamed(index: number, name: Uint8Array): boolean {
    return isSame(this.bytes, this.nameStart(index), this.nameEnd(index), name);
  }
  isValue(index: number, value: Uint8Array): boolean {
    return isSame(this.bytes, this.valueStart(index), this.valueEnd(index), value);
  }
}

export function isSame(bytes: Uint8Array, start: number, end: number, other: Uint8Array): boolean {
  if (end - start !== other.length) return false;
  for (let i = 0; i < other.length; i++) if (bytes[start + i] !== other[i]) return false;
  return true;
}
