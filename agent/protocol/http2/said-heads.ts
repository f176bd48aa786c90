// Heads of answers as a thread wrote them last, by their text: an app that answers the same, and is asked the same, has the same said of it, and
// the blocks that we write name nothing of a table, so that they say the same on every connection. The text is compared byte for byte and is
// then neither read nor written again.
//
// Bounds: PLACES heads of a thread, each of TEXT_BYTES_MAX and BLOCK_BYTES_MAX.
import type { BodyKind, ResponseHead } from "../http1/head.ts";
import { copy } from "./copy.ts";

const PLACES = 2;
const TEXT_BYTES_MAX = 512;
const BLOCK_BYTES_MAX = 384;

export class SaidHead {
  readonly text = new Uint8Array(TEXT_BYTES_MAX);
  textLength = 0;
  /** The request's method was HEAD. */
  isHead = false;
  bodyKind: BodyKind = "none";
  contentLength = -1;
  readonly block = new Uint8Array(BLOCK_BYTES_MAX);
  blockLength = 0;
}

export class SaidHeads {
  readonly #places: SaidHead[] = [];
  #next = 0;

  /** The one that bytes[start..end) begin with. */
  find(bytes: Uint8Array, start: number, end: number, isHead: boolean): SaidHead | undefined {
    for (let i = 0; i < this.#places.length; i++) {
      const said = this.#places[i] as SaidHead;
      if (said.isHead === isHead && beginWith(bytes, start, end, said)) return said;
    }
    return undefined;
  }

  /** Keeps what was said of `head`, no interim one, as block[from..to), in place of the one that was kept before the last. */
  keep(head: ResponseHead, isHead: boolean, block: Uint8Array, from: number, to: number): void {
    const length = head.headEnd - head.start;
    if (length > TEXT_BYTES_MAX || to - from > BLOCK_BYTES_MAX) return;
    const said = this.#places[this.#next] ?? new SaidHead();
    this.#places[this.#next] = said;
    this.#next = (this.#next + 1) % PLACES;
    copy(head.bytes, head.start, head.headEnd, said.text, 0);
    said.textLength = length;
    said.isHead = isHead;
    said.bodyKind = head.bodyKind;
    said.contentLength = head.contentLength;
    copy(block, from, to, said.block, 0);
    said.blockLength = to - from;
  }
}

function beginWith(bytes: Uint8Array, start: number, end: number, said: SaidHead): boolean {
  const { text, textLength } = said;
  if (end - start < textLength) return false;
  // From its end: what differs (a length, a date, an id) comes behind a status line that does not.
  for (let i = textLength - 1; i >= 0; i--) if (bytes[start + i] !== text[i]) return false;
  return true;
}
