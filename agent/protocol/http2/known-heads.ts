// Heads that a peer said before on its connection, by the bytes of their blocks: a client that asks for the same again says the same few indices,
// and an app answers the same until its clock has moved on. What a block means hangs on its bytes and on the table alone (RFC 7541 3), and what is
// made of it on that: a block that is the same need not be decoded, judged and written again while the table is, nor ever if it names nothing of
// the table; what it enters there is then entered again. Only what was found well-formed is kept.
//
// Bounds: PLACES heads of a connection, each of BLOCK_BYTES_MAX and TEXT_BYTES_MAX, and what known-entries.ts allows; a peer that never says the same
// is soon hardly looked at.
import { copy } from "./copy.ts";
import { KnownEntries } from "./known-entries.ts";
import type { Framing } from "./to-http1.ts";

const PLACES = 4;
const BLOCK_BYTES_MAX = 128;
const TEXT_BYTES_MAX = 512;
/** After so many in a row that were not known only every so manieth is kept. */
const MISSES_MAX = 16;
/** Of a block that names nothing of the table. No table has this revision. */
export const ANY_TABLE = -1;

/** Of a place that is being written: whatever fails meanwhile, it is not found. */
const NONE = -2;

/** What HTTP/1.1 is shown of it. */
export class KnownHead {
  readonly text = new Uint8Array(TEXT_BYTES_MAX);
  textLength = 0;
  framing: Framing = "none";
  contentLength = -1;
  /** Of a request: its method is HEAD; of an answer: that of the request was. */
  isHead = false;
  readonly entries = new KnownEntries();
  /** Of the block that says it. */
  readonly block = new Uint8Array(BLOCK_BYTES_MAX);
  blockLength = 0;
  tableRevision = NONE;
  isLast = false;
}

export class KnownHeads {
  readonly #places: (KnownHead | undefined)[] = [];
  #misses = 0;

  /** Said with this block, as the last of its stream or not, while the table was at that revision. */
  find(
    bytes: Uint8Array,
    start: number,
    end: number,
    isLast: boolean,
    tableRevision: number,
  ): KnownHead | undefined {
    const known = this.#places[placeOf(bytes, start, end)];
    if (known === undefined) return undefined;
    if (known.tableRevision !== tableRevision && known.tableRevision !== ANY_TABLE)
      return undefined;
    if (known.blockLength !== end - start || known.isLast !== isLast) return undefined;
    for (let i = start; i < end; i++) if (bytes[i] !== known.block[i - start]) return undefined;
    this.#misses = 0;
    return known;
  }

  /** Where to keep the head of a block that was not found, with `text` in [from, to); undefined: it is not kept. It is not found before
   *  `tableRevision` is set. */
  place(
    bytes: Uint8Array,
    start: number,
    end: number,
    isLast: boolean,
    text: Uint8Array,
    from: number,
    to: number,
  ): KnownHead | undefined {
    if (++this.#misses > MISSES_MAX && this.#misses % MISSES_MAX !== 0) return undefined;
    if (end - start > BLOCK_BYTES_MAX || to - from > TEXT_BYTES_MAX) return undefined;
    const at = placeOf(bytes, start, end);
    const known = this.#places[at] ?? new KnownHead();
    this.#places[at] = known;
    known.tableRevision = NONE;
    copy(bytes, start, end, known.block, 0);
    known.blockLength = end - start;
    known.isLast = isLast;
    copy(text, from, to, known.text, 0);
    known.textLength = to - from;
    return known;
  }
}

/** Blocks of one client differ in what its path is, which comes early or late; of one app in a length or a date. */
function placeOf(bytes: Uint8Array, start: number, end: number): number {
  const middle = bytes[(start + end) >> 1] ?? 0;
  return ((end - start) ^ middle ^ (middle >> 2) ^ (bytes[end - 1] ?? 0)) & (PLACES - 1);
}
