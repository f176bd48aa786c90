// Heads of requests that a client said before on its connection, by the bytes of their blocks: a client that asks for the same again says the same
// few indices. What a block means hangs on its bytes and on the table alone (RFC 7541 3), and what is made of it on that: a block that is the same, while the
// table is, need not be decoded, judged and written again. Only what was found well-formed is kept, and no block that changes the table.
//
// Bounds: PLACES heads of a connection, each of BLOCK_BYTES_MAX and TEXT_BYTES_MAX; a client that never says the same is soon hardly looked at.
import { copy } from "./copy.ts";
import type { Framing } from "./to-http1.ts";

const PLACES = 4;
const BLOCK_BYTES_MAX = 128;
const TEXT_BYTES_MAX = 512;
/** After so many in a row that were not known only every so manieth is kept. */
const MISSES_MAX = 16;

/** What HTTP/1.1 is shown of it. */
export class KnownHead {
  readonly text = new Uint8Array(TEXT_BYTES_MAX);
  textLength = 0;
  framing: Framing = "none";
  contentLength = -1;
  isHead = false;
  /** Of the block that says it. */
  readonly block = new Uint8Array(BLOCK_BYTES_MAX);
  blockLength = 0;
  tableRevision = -1;
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
    if (known === undefined || known.tableRevision !== tableRevision) return undefined;
    if (known.blockLength !== end - start || known.isLast !== isLast) return undefined;
    for (let i = start; i < end; i++) if (bytes[i] !== known.block[i - start]) return undefined;
    this.#misses = 0;
    return known;
  }

  /** Where to keep the head of a block that was not found, with `text` in [from, to); undefined: it is not kept. */
  place(
    bytes: Uint8Array,
    start: number,
    end: number,
    isLast: boolean,
    tableRevision: number,
    text: Uint8Array,
    from: number,
    to: number,
  ): KnownHead | undefined {
    if (++this.#misses > MISSES_MAX && this.#misses % MISSES_MAX !== 0) return undefined;
    if (end - start > BLOCK_BYTES_MAX || to - from > TEXT_BYTES_MAX) return undefined;
    const at = placeOf(bytes, start, end);
    const known = this.#places[at] ?? new KnownHead();
    this.#places[at] = known;
    copy(bytes, start, end, known.block, 0);
    known.blockLength = end - start;
    known.isLast = isLast;
    known.tableRevision = tableRevision;
    copy(text, from, to, known.text, 0);
    known.textLength = to - from;
    return known;
  }
}

/** Blocks of one client differ in what its path is, which comes early or late. */
function placeOf(bytes: Uint8Array, start: number, end: number): number {
  const middle = bytes[(start + end) >> 1] ?? 0;
  return ((end - start) ^ middle ^ (middle >> 2) ^ (bytes[end - 1] ?? 0)) & (PLACES - 1);
}
