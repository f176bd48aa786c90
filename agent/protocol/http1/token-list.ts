// Comma-separated lists of tokens, as fields hold them: RFC 9110 5.6.1.
import { BLANK, TOKEN } from "./grammar.ts";

const COMMA = 44;
const SLASH = 47;

/** Walks a comma-separated list of tokens; empty elements are skipped (RFC 9110 5.6.1.2). */
export class TokenList {
  start: number;
  end: number;
  isValid = true;
  /** Upgrade's elements may be `name/version`. */
  allowsSlash = false;
  readonly #bytes: Uint8Array;
  #at: number;
  readonly #stop: number;

  constructor(bytes: Uint8Array, start: number, stop: number) {
    this.#bytes = bytes;
    this.#at = start;
    this.#stop = stop;
    this.start = start;
    this.end = start;
  }

  /** False at the end, and at the first thing that is no token; then isValid tells. */
  next(): boolean {
    const bytes = this.#bytes;
    let p = this.#at;
    while (p < this.#stop && (bytes[p] === COMMA || BLANK[bytes[p] as number] === 1)) p++;
    this.start = p;
    while (p < this.#stop && this.#isIn(bytes[p] as number)) p++;
    this.end = p;
    while (p < this.#stop && BLANK[bytes[p] as number] === 1) p++;
    this.isValid = p === this.#stop || (bytes[p] === COMMA && p > this.start);
    this.#at = p;
    return this.isValid && this.end > this.start;
  }

  #isIn(byte: number): boolean {
    return TOKEN[byte] === 1 || (this.allowsSlash && byte === SLASH);
  }
}
