// The downstream connections of one thread: an array in which each knows its place (a Set costs 100 bytes an entry), and one
// deadline that looks for idle ones. A deadline in each of 5,000 idle connections would weigh more than the connections.
import type { Deadline } from "../base/timer-wheel.ts";

/** An open downstream connection, as far as the data plane cares. */
export interface OpenConnection {
  /** Where OpenConnections keeps it; -1: it does not. */
  openAt: number;
  /** Ends now when idle, otherwise with what is under way. `isLastCall` false: one that never asked for anything stays, for its request
   *  may be on the way, and no client expects to repeat that; and so does one that another agent was asked to end (Stream.isRetiring),
   *  which alone knows whether a request is on its way. */
  drain(isLastCall: boolean): void;
  /** Ends now. */
  cut(): void;
  /** A snapshot replaced the one it began with: may it stay? */
  reconsider(): void;
  /** Some host went down or came back: what waits for one that is down looks for another. */
  hostsChanged?(): void;
  /** Ends if it was idle for too long; otherwise says when it will have been. Infinity: it has a deadline of its own. */
  endIdle(nowMs: number): number;
}

/** An idle connection may end later than it should by so much of its timeout: each look costs a walk over all. */
const LATENESS = 1 / 256;

export class OpenConnections {
  readonly #connections: OpenConnection[] = [];
  readonly #idleTimeoutMs: number;
  readonly #look: Deadline;
  readonly #now: () => number;

  constructor(
    config: { idleTimeoutMs: number },
    deps: { now(): number; deadline(run: () => void): Deadline },
  ) {
    this.#idleTimeoutMs = config.idleTimeoutMs;
    this.#now = deps.now;
    this.#look = deps.deadline(() => this.#endIdle());
  }

  get size(): number {
    return this.#connections.length;
  }

  add(connection: OpenConnection): void {
    connection.openAt = this.#connections.length;
    this.#connections.push(connection);
    if (this.#look.slot < 0) this.#look.set(this.#now() + this.#idleTimeoutMs);
  }

  /** False: it was not there. */
  delete(connection: OpenConnection): boolean {
    const at = connection.openAt;
    const last = this.#connections.at(-1);
    if (at < 0 || last === undefined) return false;
    this.#connections[at] = last;
    last.openAt = at;
    this.#connections.length--;
    connection.openAt = -1;
    return true;
  }

  /** The same connection in another stage of its life. */
  replace(connection: OpenConnection, by: OpenConnection): void {
    by.openAt = connection.openAt;
    connection.openAt = -1;
    if (by.openAt >= 0) this.#connections[by.openAt] = by;
  }

  /** As they are now: they may come and go meanwhile. */
  all(): readonly OpenConnection[] {
    return [...this.#connections];
  }

  #endIdle(): void {
    const nowMs = this.#now();
    let nextMs = Number.POSITIVE_INFINITY;
    // From the end: who ends gives its place to the last, which has been asked.
    for (let at = this.#connections.length - 1; at >= 0; at--) {
      const dueMs = this.#connections[at]?.endIdle(nowMs) ?? nextMs;
      if (dueMs < nextMs) nextMs = dueMs;
    }
    if (this.#connections.length === 0) return;
    const soonestMs = nowMs + this.#idleTimeoutMs * LATENESS;
    this.#look.set(Math.max(soonestMs, Math.min(nextMs, nowMs + this.#idleTimeoutMs)));
  }
}
