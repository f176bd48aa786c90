// Full-jitter exponential back-off (AWS Architecture Blog 2015, "Exponential Backoff And Jitter").
import type { Random } from "./clock.ts";

export class Backoff {
  readonly #baseMs: number;
  readonly #maxMs: number;
  readonly #random: Random;
  #attempt = 0;

  constructor(bounds: { baseMs: number; maxMs: number }, random: Random) {
    this.#baseMs = bounds.baseMs;
    this.#maxMs = bounds.maxMs;
    this.#random = random;
  }

  /** The next wait: uniform between half and all of min(maxMs, baseMs * 2^attempt). */
  nextMs(): number {
    const ceiling = Math.min(this.#maxMs, this.#baseMs * 2 ** this.#attempt);
    if (ceiling < this.#maxMs) this.#attempt++;
    return ceiling / 2 + (this.#random.unit() * ceiling) / 2;
  }

  reset(): void {
    this.#attempt = 0;
  }
}
