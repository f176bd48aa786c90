// Which streams of a connection were: what tells a stream that never began from one that is over, and one that we reset, of which its peer
// may not know yet (RFC 9113 5.1, 5.1.1). Bounded: what is forgotten is judged as a stream that was.

/** Streams that we reset: frames for them are not their sender's mistake. Of older ones none is. */
const RESET_REMEMBERED_MAX = 256;
/** Gaps in the numbers that a peer used. Honest ones leave none. */
const GAPS_MAX = 32;

export class StreamHistory {
  /** The highest stream that began: the peer's, or ours. */
  last = 0;
  readonly #reset = new Set<number>();
  #forgottenResets = 0;
  readonly #gaps: { readonly above: number; readonly below: number }[] = [];

  began(id: number): void {
    const expected = this.last === 0 ? 1 : this.last + 2;
    if (id > expected) {
      this.#gaps.push({ above: this.last, below: id });
      if (this.#gaps.length > GAPS_MAX) this.#gaps.shift();
    }
    this.last = id;
  }

  /** It was passed over, and so closed without having been: RFC 9113 5.1.1. */
  wasSkipped(id: number): boolean {
    for (const { above, below } of this.#gaps) if (above < id && id < below) return true;
    return false;
  }

  wasReset(id: number): void {
    this.#reset.add(id);
    if (this.#reset.size <= RESET_REMEMBERED_MAX) return;
    for (const oldest of this.#reset) {
      this.#reset.delete(oldest);
      this.#forgottenResets = Math.max(this.#forgottenResets, oldest);
      break;
    }
  }

  /** Its peer could not know that it is over. */
  mayHearLate(id: number): boolean {
    return this.#reset.has(id) || id <= this.#forgottenResets;
  }
}
