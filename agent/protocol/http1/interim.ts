// How many interim responses (1xx, RFC 9110 15.2) one request may get. They cost whoever sends them nothing, a client is to be passed each
// of them, and a client that does not read has them held for it; RFC 9110 names no limit.

/** A 102 every few seconds of a long operation, and a handful of 103. */
export const INTERIM_MAX = 100;
/** Of all their heads: of two that are as long as heads may be. */
export const INTERIM_BYTES_MAX = 131_072;

export class InterimAllowance {
  #count = 0;
  #bytes = 0;

  /** Of the next request. */
  begin(): void {
    this.#count = 0;
    this.#bytes = 0;
  }

  /** For one whose head is so long. False: it is one too many. */
  spend(headBytes: number): boolean {
    this.#count++;
    this.#bytes += headBytes;
    return this.#count <= INTERIM_MAX && this.#bytes <= INTERIM_BYTES_MAX;
  }
}
