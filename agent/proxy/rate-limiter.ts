// The rate limits of one local workload, asked by one thread of each request and datagram that policy admitted. Buckets are the agent's: a workload's
// own in slots, callers' in the shared table. A caller for whom the table has no place left shares the limit's own bucket with all
// others of that kind, so a flood of made-up callers costs them and itself, and no memory.
import type { Slots } from "../base/slots.ts";
import type { Counter, SeriesTable } from "../observe/series.ts";
import type { OperationMatch } from "../policy/authorization-rules.ts";
import { isOneOf } from "../policy/authorize.ts";
import type { ReachedPort } from "../policy/clauses.ts";
import type { Caller, RequestView } from "../policy/request-view.ts";
import type { RateLimit } from "../policy/snapshot.ts";
import type { KeyedBuckets } from "../resilience/keyed-buckets.ts";
import { type Rate, rateOf, returnToken, takeToken } from "../resilience/token-bucket.ts";
import { FAILURES } from "./failure.ts";
import { answerOf, type LocalAnswer } from "./traffic-plan.ts";

/** Of a header's value; what is behind does not tell callers apart. Hashing takes time by length. */
const HEADER_CHARS_MAX = 256;

export interface RateLimiterDeps {
  readonly slots: Slots;
  readonly buckets: KeyedBuckets;
  readonly metrics: SeriesTable;
}

class Limit {
  readonly #config: RateLimit;
  readonly #rate: Rate;
  /** The operations that a datagram can be: it has no method, path or host. */
  readonly #ofPorts: readonly OperationMatch[];
  readonly #deps: RateLimiterDeps;
  #refused: Counter | undefined;
  #shared: Counter | undefined;
  /** The bucket asked last: the table's, or -1 for the limit's own. */
  #bucket = -1;

  constructor(config: RateLimit, deps: RateLimiterDeps) {
    this.#config = config;
    this.#rate = rateOf(config.requests, config.perMs, config.burst);
    this.#ofPorts = config.to.filter(namesPortsOnly);
    this.#deps = deps;
  }

  get name(): string {
    return this.#config.name;
  }

  counts(caller: Caller, reached: ReachedPort, request: RequestView | undefined): boolean {
    const { to } = this.#config;
    if (request !== undefined || to.length === 0) return isOneOf(to, caller, reached, request);
    return this.#ofPorts.length > 0 && isOneOf(this.#ofPorts, caller, reached, undefined);
  }

  /** 0, or in how many milliseconds there may be room. */
  take(caller: Caller, request: RequestView | undefined, nowMs: number): number {
    const { slots, buckets } = this.#deps;
    this.#bucket = this.#find(caller, request, nowMs);
    return this.#bucket < 0
      ? takeToken(slots, this.#config.slot, this.#rate, nowMs)
      : buckets.take(this.#bucket, this.#rate, nowMs);
  }

  giveBack(): void {
    const { slots, buckets } = this.#deps;
    if (this.#bucket < 0) returnToken(slots, this.#config.slot, this.#rate);
    else returnToken(buckets.slots, this.#bucket, this.#rate);
  }

  #find(caller: Caller, request: RequestView | undefined, nowMs: number): number {
    const { byIdentity, byHeader, name, slot } = this.#config;
    if (!byIdentity && byHeader === undefined) return -1;
    const identity = byIdentity ? (caller.identity ?? "") : "";
    const value = byHeader === undefined ? undefined : request?.header(byHeader);
    const header = value === undefined ? "" : `=${value.slice(0, HEADER_CHARS_MAX)}`;
    // No part holds a line end. The slot stands for limit, workload and rate.
    const found = this.#deps.buckets.find(`${slot}\n${identity}\n${header}`, nowMs);
    if (found !== undefined) return found;
    const { metrics } = this.#deps;
    this.#shared ??= metrics.counter("ironmesh_rate_limit_shared_total", { limit: name });
    this.#shared.add();
    return -1;
  }

  countRefused(): void {
    const { metrics } = this.#deps;
    this.#refused ??= metrics.counter("ironmesh_rate_limited_total", { limit: this.name });
    this.#refused.add();
  }

  answer(waitMs: number): LocalAnswer {
    const { name, requests, perMs } = this.#config;
    const seconds = String(Math.max(1, Math.ceil(waitMs / 1_000)));
    const answer = answerOf(FAILURES.rate_limited, [
      ["retry-after", seconds],
      // As Envoy writes them, after draft-ietf-httpapi-ratelimit-headers-03: the window in whole seconds.
      ["x-ratelimit-limit", `${requests}, ${requests};w=${Math.max(1, Math.round(perMs / 1_000))}`],
      ["x-ratelimit-remaining", "0"],
      ["x-ratelimit-reset", seconds],
    ]);
    return { ...answer, body: `${answer.body} (${name})\n` };
  }
}

const namesPortsOnly = ({ ports: _, notPorts: __, ...rest }: OperationMatch): boolean =>
  Object.values(rest).every((clause) => clause === undefined);

export class RateLimiter {
  readonly #limits: readonly Limit[];
  readonly #taken: Limit[] = [];
  /** The limit that refused last, and in how many milliseconds it may have room. */
  refusedBy = "";
  #waitMs = 0;

  constructor(limits: readonly RateLimit[], deps: RateLimiterDeps) {
    this.#limits = limits.map((limit) => new Limit(limit, deps));
  }

  /** Counts the request against each limit that is about it. Undefined: all have room. Otherwise it counts against none. */
  refusalOf(
    caller: Caller,
    reached: ReachedPort,
    request: RequestView,
    nowMs: number,
  ): LocalAnswer | undefined {
    return this.#take(caller, reached, request, nowMs)?.answer(this.#waitMs);
  }

  /** The same for a datagram: limits by operation count it where they name nothing but ports. */
  refusesDatagram(caller: Caller, reached: ReachedPort, nowMs: number): boolean {
    return this.#take(caller, reached, undefined, nowMs) !== undefined;
  }

  #take(
    caller: Caller,
    reached: ReachedPort,
    request: RequestView | undefined,
    nowMs: number,
  ): Limit | undefined {
    const taken = this.#taken;
    taken.length = 0;
    for (const limit of this.#limits) {
      if (!limit.counts(caller, reached, request)) continue;
      const waitMs = limit.take(caller, request, nowMs);
      if (waitMs > 0) {
        for (const other of taken) other.giveBack();
        this.refusedBy = limit.name;
        this.#waitMs = waitMs;
        limit.countRefused();
        return limit;
      }
      taken.push(limit);
    }
    return undefined;
  }
}
