// Follows something in Consul by blocking queries, as its documentation asks: from index 0 at first, after every failure and when
// the index goes backwards (a query that waits beyond the server's own index would learn nothing for its whole wait).
// https://developer.hashicorp.com/consul/api-docs/features/blocking
import { Backoff } from "../../agent/base/backoff.ts";
import type { Clock, Random, Timer, Timers } from "../../agent/base/clock.ts";
import { type Blocking, Cancel, type ConsulFailure, type Indexed } from "./client.ts";

const RETRY_BASE_MS = 200;
/** A Consul that came back is noticed within this. */
const RETRY_MAX_MS = 2_000;
/** An answer without an index cannot be waited beyond: it is asked for again after this. */
const UNINDEXED_INTERVAL_MS = 1_000;

export interface WatchDeps {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
}

export interface Watched<T> {
  read(blocking: Blocking): Promise<Indexed<T>>;
  /** An answer with another index than the last. The next question waits for it; a rejection counts as a failed answer. */
  onValue(value: T): Promise<void> | void;
  /** Each failed answer; the watch goes on. */
  onFailure(cause: ConsulFailure | Error): void;
  /** Questions begin at least this far apart, so that what changes all the time costs a bounded number. */
  readonly intervalMinMs: number;
}

/** Runs until the returned function is called. */
export function watch<T>(watched: Watched<T>, deps: WatchDeps): () => void {
  const one = new Watch(watched, deps);
  void one.ask();
  return () => one.stop();
}

class Watch<T> {
  readonly #watched: Watched<T>;
  readonly #deps: WatchDeps;
  readonly #backoff: Backoff;
  #index = 0;
  #isStopped = false;
  #cancel = new Cancel();
  #timer: Timer | undefined;

  constructor(watched: Watched<T>, deps: WatchDeps) {
    this.#watched = watched;
    this.#deps = deps;
    this.#backoff = new Backoff({ baseMs: RETRY_BASE_MS, maxMs: RETRY_MAX_MS }, deps.random);
  }

  async ask(): Promise<void> {
    const waitMs = await this.#once().catch((cause: unknown) => {
      this.#index = 0;
      if (!this.#isStopped)
        this.#watched.onFailure(cause instanceof Error ? cause : new Error(String(cause)));
      return this.#backoff.nextMs();
    });
    if (this.#isStopped) return;
    this.#timer = this.#deps.timers.after(Math.max(0, waitMs), () => void this.ask());
  }

  stop(): void {
    this.#isStopped = true;
    this.#timer?.cancel();
    this.#cancel.cancel();
  }

  /** Resolves to how long to wait before the next question. */
  async #once(): Promise<number> {
    const { clock } = this.#deps;
    const startedMs = clock.nowMs();
    this.#cancel = new Cancel();
    const answer = await this.#watched.read({ index: this.#index, cancel: this.#cancel });
    if (this.#isStopped) return 0;
    const next = answer.index ?? 0;
    if (next !== this.#index || next === 0) await this.#watched.onValue(answer.value);
    this.#index = next < this.#index ? 0 : next;
    this.#backoff.reset();
    const intervalMs = next === 0 ? UNINDEXED_INTERVAL_MS : this.#watched.intervalMinMs;
    return startedMs + intervalMs - clock.nowMs();
  }
}
