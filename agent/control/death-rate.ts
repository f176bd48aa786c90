// Whether data threads die too often to go on.

/** More deaths than this in DEATHS_WINDOW_MS are a bug that new threads do not mend: the process ends, systemd decides. */
const DEATHS_MAX = 5;
/** An agent lives for months: what happens once a week is worth a report, and no end. */
export const DEATHS_WINDOW_MS = 600_000;

export class DeathRate {
  /** When threads died, DEATHS_MAX of them at most. */
  readonly #atMs: number[] = [];

  /** Notes a death. True: it is one too many. */
  isTooOften(nowMs: number): boolean {
    const oldest = this.#atMs[0];
    const isFull = this.#atMs.length >= DEATHS_MAX;
    if (isFull && oldest !== undefined && nowMs - oldest < DEATHS_WINDOW_MS) return true;
    if (isFull) this.#atMs.shift();
    this.#atMs.push(nowMs);
    return false;
  }
}

export const tooManyDeaths = (reason: string): string =>
  `data threads died ${DEATHS_MAX + 1} times within ${DEATHS_WINDOW_MS / 60_000} minutes, so the agent ends; the last one by: ${reason.trim()}. That is a bug: report it with this log`;
