// How long a suspect has to speak up: the more members accuse it independently, the shorter (Lifeguard, Dadgar, Phillips, Currey
// 2017, 3.2: local health aware suspicion).

/** Accusers beyond the first that bring the time down to its minimum. */
export const CONFIRMATIONS_WANTED = 3;
/** The longest time is this many times the shortest. */
const MAX_FACTOR = 4;

export class Suspicion {
  readonly sinceMs: number;
  readonly #minMs: number;
  readonly #wanted: number;
  readonly #accusers = new Set<string>();

  /** `wanted`: confirmations that are possible; a pool of three has nobody to confirm more than once. */
  constructor(
    config: { readonly minMs: number; readonly wanted: number },
    accuser: string,
    sinceMs: number,
  ) {
    this.#minMs = config.minMs;
    this.#wanted = config.wanted;
    this.sinceMs = sinceMs;
    this.#accusers.add(accuser);
  }

  /** True: a new voice, worth passing on. */
  confirm(accuser: string): boolean {
    if (this.#accusers.has(accuser) || this.#accusers.size > this.#wanted) return false;
    this.#accusers.add(accuser);
    return true;
  }

  /** When the suspect is taken for dead. */
  get dueMs(): number {
    const confirmations = this.#accusers.size - 1;
    if (confirmations >= this.#wanted) return this.sinceMs + this.#minMs;
    const maxMs = this.#minMs * MAX_FACTOR;
    const share = Math.log(confirmations + 1) / Math.log(this.#wanted + 1);
    return this.sinceMs + Math.max(this.#minMs, maxMs - share * (maxMs - this.#minMs));
  }
}
