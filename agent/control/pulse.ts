// Whether a data thread still turns: its heart beats once a turn of its loop, in a cell of shared memory.

/** The main thread looks this often. A process that was frozen as a whole finds all beats old when it wakes: what counts is how often
 *  it looked and saw nothing move, not how late it is. */
export const LOOK_EVERY_MS = 500;
/** Looks without a beat until a thread counts as stalled: 2 s, in which a healthy loop turns four times at least, and one with anything
 *  to do twenty times. */
export const STILL_MAX = 4;
/** The same for one that loads its code and has not turned yet: 15 s. */
const STILL_AT_START_MAX = 30;
export class Pulse {
  readonly #cell: Int32Array;
  #last = 0;
  #still = 0;

  constructor(beat: SharedArrayBuffer) {
    this.#cell = new Int32Array(beat);
    this.#last = Atomics.load(this.#cell, 0);
  }

  /** To be called every LOOK_EVERY_MS. */
  hasStalled(): boolean {
    const now = Atomics.load(this.#cell, 0);
    this.#still = now === this.#last ? this.#still + 1 : 0;
    this.#last = now;
    return this.#still >= (now === 0 ? STILL_AT_START_MAX : STILL_MAX);
  }
}
