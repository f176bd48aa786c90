// Names and values of a table of HPACK (RFC 7541 2.3), all in one array: an entry is no object, so one that comes and goes is nothing for
// the collector, and a field is copied out of it in one piece.

/** Where an entry's name begins and ends, and where its value, which begins there, ends. */
export const OFFSETS = 3;

export interface PackedFields {
  readonly bytes: Uint8Array;
  /** Of the entry whose offsets begin at `slot`: nameStart, nameEnd, valueEnd at slot, slot + 1, slot + 2. */
  readonly at: Int32Array;
}
