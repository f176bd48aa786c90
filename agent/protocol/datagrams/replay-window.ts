// Which counters were seen, by the algorithm of RFC 6479: a ring of bits behind the highest one. Ask before the datagram is opened, note
// after: a forged one must not move the window.

/** How far behind the highest counter one may come and still be new. */
export const REPLAY_WINDOW = 1_024;
const BITS = 32;
/** One word more than the window, so that moving on clears whole words. */
const WORDS = REPLAY_WINDOW / BITS + 1;

export class ReplayWindow {
  readonly #words = new Uint32Array(WORDS);
  #highest = -1;

  /** False: it was seen, or is too old to tell. `counter` is a safe integer of 0 or more. */
  isNew(counter: number): boolean {
    if (counter > this.#highest) return true;
    if (this.#highest - counter >= REPLAY_WINDOW) return false;
    return ((this.#words[wordOf(counter)] as number) & bitOf(counter)) === 0;
  }

  note(counter: number): void {
    if (counter > this.#highest) {
      const from = Math.floor(this.#highest / BITS);
      const steps = Math.min(Math.floor(counter / BITS) - from, WORDS);
      for (let i = 1; i <= steps; i++) this.#words[(from + i + WORDS) % WORDS] = 0;
      this.#highest = counter;
    }
    const word = wordOf(counter);
    this.#words[word] = (this.#words[word] as number) | bitOf(counter);
  }
}

const wordOf = (counter: number): number => Math.floor(counter / BITS) % WORDS;
const bitOf = (counter: number): number => 1 << (counter % BITS);
