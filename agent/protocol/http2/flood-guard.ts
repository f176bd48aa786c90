// What a peer may make us do for nothing. Each kind has an allowance that comes back with time; beyond it the connection ends with
// ENHANCE_YOUR_CALM (RFC 9113 10.5), and is counted.

/** Streams that end by a reset, the peer's (rapid reset, CVE-2023-44487) or ours for something it did ("made you reset",
 *  CVE-2025-8671): each costs us a request begun for nothing. As many at once, and again so many a second. */
const RESETS = { burst: 1_000, perSecond: 100 } as const;
/** Frames that move nothing: SETTINGS, PING, PRIORITY, WINDOW_UPDATE, empty DATA, frames for streams that are over, kinds nobody knows. Each
 *  request and each frame of content earns two. */
const IDLE_FRAMES = { burst: 10_000, perSecond: 1_000 } as const;
const EARNED = 2;

class Allowance {
  readonly #limit: { readonly burst: number; readonly perSecond: number };
  #left: number;
  #sinceMs: number;

  constructor(limit: { readonly burst: number; readonly perSecond: number }, nowMs: number) {
    this.#limit = limit;
    this.#left = limit.burst;
    this.#sinceMs = nowMs;
  }

  earn(count: number): void {
    if (this.#left < this.#limit.burst) this.#left += count;
  }

  /** The clock is asked only when all is used up. */
  spend(now: () => number): boolean {
    if (this.#left < 1) {
      const nowMs = now();
      this.#left += ((nowMs - this.#sinceMs) * this.#limit.perSecond) / 1_000;
      this.#left = Math.min(this.#left, this.#limit.burst);
      this.#sinceMs = nowMs;
    }
    this.#left--;
    return this.#left >= 0;
  }
}

export class FloodGuard {
  readonly #resets: Allowance;
  readonly #idleFrames: Allowance;
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
    this.#resets = new Allowance(RESETS, now());
    this.#idleFrames = new Allowance(IDLE_FRAMES, now());
  }

  /** False: too many. */
  allowsReset(): boolean {
    return this.#resets.spend(this.#now);
  }

  allowsIdleFrame(): boolean {
    return this.#idleFrames.spend(this.#now);
  }

  /** Something of use went one way or the other. */
  moved(): void {
    this.#idleFrames.earn(EARNED);
  }
}
