// How often one request was tried again, where, and when it may be tried next.
import { Backoff } from "../base/backoff.ts";
import type { Random } from "../base/clock.ts";
import type { ForwardPlan } from "./traffic-plan.ts";
import type { UpstreamCluster } from "./upstream-cluster.ts";

/** Envoy's: the wait between tries grows to ten times the first. */
const BACKOFF_GROWTH_MAX = 10;
const NOWHERE: readonly number[] = [];

export class Retries {
  count = 0;
  /** Positions of the cluster's targets that failed this request. */
  tried: readonly number[] = NOWHERE;
  readonly #random: Random;
  #backoff: Backoff | undefined;
  /** Counts against the cluster's retries until the next one, or until the request is over. */
  #claimed: UpstreamCluster | undefined;

  constructor(random: Random) {
    this.#random = random;
  }

  reset(): void {
    this.count = 0;
    this.tried = NOWHERE;
    this.#backoff = undefined;
  }

  /** Whether the plan and the cluster's budget leave one more. Each must find room anew: while an outage lasts there is less and less. */
  may(plan: ForwardPlan): boolean {
    const { retry, cluster } = plan;
    if (retry === undefined || cluster === undefined || this.count >= retry.attempts) return false;
    this.release();
    if (cluster.claimRetry()) this.#claimed = cluster;
    return this.#claimed !== undefined;
  }

  /** Notes that the try at `position` failed; says how long to wait before the next. */
  next(plan: ForwardPlan, position: number): number {
    const baseMs = plan.retry?.backoffBaseMs ?? 25;
    this.#backoff ??= new Backoff({ baseMs, maxMs: baseMs * BACKOFF_GROWTH_MAX }, this.#random);
    this.tried = [...this.tried, position];
    this.count++;
    return this.#backoff.nextMs();
  }

  /** All that the policy allowed were used. */
  areSpent(plan: ForwardPlan | undefined): boolean {
    return this.count > 0 && this.count >= (plan?.retry?.attempts ?? 0);
  }

  release(): void {
    this.#claimed?.releaseRetry();
    this.#claimed = undefined;
  }
}
