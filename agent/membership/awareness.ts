// How well this member itself is doing (Lifeguard 3.1, local health multiplier): one that fails to hear anybody, is accused, or
// finds its timers late is more patient with others.

/** Lifeguard's is 8, where a member does not know how long it was away; here that is counted out, and patience costs detection time. */
const SCORE_MAX = 2;

export class Awareness {
  #score = 0;

  get score(): number {
    return this.#score;
  }

  note(delta: number): void {
    this.#score = Math.min(SCORE_MAX, Math.max(0, this.#score + delta));
  }

  scale(ms: number): number {
    return ms * (this.#score + 1);
  }
}
