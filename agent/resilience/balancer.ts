// Picks one endpoint of a cluster. Round robin is smooth weighted (nginx), least request is the power of two choices
// (Mitzenmacher 2001) over counts that all threads of the agent share, consistent hash is rendezvous.ts. Endpoints whose host is down and ejected ones are passed over,
// and so are those a request has tried, as long as there are others. Where every host is down, all are used: to try costs less
// than to believe that wrongly (Envoy's panic mode, with a threshold just above 0).
import { unreachable } from "../base/assert.ts";
import type { Random } from "../base/clock.ts";
import { HEALTH_TURN_SLOT, type Slots } from "../base/slots.ts";
import type { Cluster, Endpoint } from "../policy/snapshot.ts";
import { isDown } from "./host-health.ts";
import { isEjected } from "./outlier.ts";
import { Rendezvous } from "./rendezvous.ts";

export interface BalancerConfig {
  readonly balancer: Cluster["balancer"];
  readonly endpoints: readonly Endpoint[];
  readonly outlier: Cluster["outlier"];
}
export interface BalancerDeps {
  readonly slots: Slots;
  readonly random: Random;
}

export const NONE = -1;
const NOTHING_TRIED: readonly number[] = [];

export class Balancer {
  readonly #kind: Cluster["balancer"];
  readonly #endpoints: readonly Endpoint[];
  readonly #outlier: Cluster["outlier"];
  readonly #slots: Slots;
  readonly #random: Random;
  /** Positions of endpoints on hosts that are up, or of all when none is; the first #upCount count. */
  readonly #up: Int32Array;
  #upCount = 0;
  #healthTurn: number;
  readonly #available: Int32Array;
  readonly #credit: Float64Array;
  readonly #weightsEqual: boolean;
  readonly #rendezvous: Rendezvous | undefined;
  #turn: number;

  constructor(config: BalancerConfig, deps: BalancerDeps) {
    const count = config.endpoints.length;
    this.#kind = config.balancer;
    this.#endpoints = config.endpoints;
    this.#outlier = config.outlier;
    this.#slots = deps.slots;
    this.#random = deps.random;
    this.#up = new Int32Array(count);
    this.#healthTurn = this.#slots.read(HEALTH_TURN_SLOT);
    if (config.balancer === "consistent_hash") this.#rendezvous = new Rendezvous(config.endpoints);
    this.#findUp();
    this.#available = new Int32Array(count);
    this.#credit = new Float64Array(count);
    this.#weightsEqual = config.endpoints.every((e) => e.weight === config.endpoints[0]?.weight);
    // Not all agents begin with the same endpoint.
    this.#turn = count === 0 ? 0 : Math.floor(deps.random.unit() * count);
  }

  /** A position in the cluster's endpoints, or NONE when every one is ejected. `hash` (32 bits) is what consistent hash goes by. */
  pick(nowMs: number, tried: readonly number[] = NOTHING_TRIED, hash?: number): number {
    if (this.#slots.read(HEALTH_TURN_SLOT) !== this.#healthTurn) this.#findUp();
    const count = this.#upCount;
    if (count === 0) return NONE;
    if (this.#outlier === undefined && tried.length === 0)
      return this.#choose(this.#up, count, hash);
    return this.#pickAmongAvailable(nowMs, tried, hash);
  }

  #findUp(): void {
    // The turn first: what changes while we look is looked at again.
    this.#healthTurn = this.#slots.read(HEALTH_TURN_SLOT);
    let found = 0;
    this.#endpoints.forEach((endpoint, i) => {
      if (!isDown(this.#slots, endpoint)) this.#up[found++] = i;
    });
    if (found === 0) for (const i of this.#endpoints.keys()) this.#up[found++] = i;
    this.#upCount = found;
    this.#rendezvous?.forget();
  }

  #pickAmongAvailable(nowMs: number, tried: readonly number[], hash: number | undefined): number {
    const count = this.#upCount;
    let healthy = count;
    if (this.#outlier !== undefined) {
      for (let i = 0; i < count; i++) if (this.#isEjected(this.#up[i] as number, nowMs)) healthy--;
    }
    // Below minHealthPercent the outlier counts are believed to be wrong, and all are used (Envoy's panic mode).
    const panics =
      this.#outlier !== undefined && (healthy * 100) / count < this.#outlier.minHealthPercent;
    if (healthy === 0 && !panics) return NONE;
    const untried = this.#collect(nowMs, tried, panics);
    if (untried > 0) return this.#choose(this.#available, untried, hash);
    return this.#choose(this.#available, this.#collect(nowMs, NOTHING_TRIED, panics), hash);
  }

  #collect(nowMs: number, tried: readonly number[], panics: boolean): number {
    let found = 0;
    for (let at = 0; at < this.#upCount; at++) {
      const i = this.#up[at] as number;
      if (tried.includes(i)) continue;
      if (!panics && this.#outlier !== undefined && this.#isEjected(i, nowMs)) continue;
      this.#available[found++] = i;
    }
    return found;
  }

  #isEjected(position: number, nowMs: number): boolean {
    const endpoint = this.#endpoints[position] as Endpoint;
    return isEjected(this.#slots.read(endpoint.slots.ejectedUntilMs), nowMs);
  }

  #choose(from: Int32Array, count: number, hash: number | undefined): number {
    if (count === 1) return from[0] as number;
    switch (this.#kind) {
      case "round_robin":
        return this.#weightsEqual ? this.#nextInTurn(from, count) : this.#mostCredit(from, count);
      case "least_request":
        return this.#lessBusy(this.#sample(from, count), this.#sample(from, count));
      case "random":
        return this.#sample(from, count);
      case "consistent_hash":
        return this.#byHash(from, count, hash);
      default:
        return unreachable(this.#kind);
    }
  }

  #byHash(from: Int32Array, count: number, hash: number | undefined): number {
    if (hash === undefined || this.#rendezvous === undefined) return this.#sample(from, count);
    return count === this.#upCount
      ? this.#rendezvous.pick(hash, from, count)
      : this.#rendezvous.pickOnce(hash, from, count);
  }

  #nextInTurn(from: Int32Array, count: number): number {
    this.#turn = this.#turn + 1 >= count ? 0 : this.#turn + 1;
    return from[this.#turn] as number;
  }

  #mostCredit(from: Int32Array, count: number): number {
    let total = 0;
    let best = from[0] as number;
    for (let i = 0; i < count; i++) {
      const at = from[i] as number;
      const weight = this.#weightOf(at);
      total += weight;
      this.#credit[at] = (this.#credit[at] as number) + weight;
      if ((this.#credit[at] as number) > (this.#credit[best] as number)) best = at;
    }
    this.#credit[best] = (this.#credit[best] as number) - total;
    return best;
  }

  /** One at random, in proportion to its weight. */
  #sample(from: Int32Array, count: number): number {
    if (this.#weightsEqual) return from[Math.floor(this.#random.unit() * count)] as number;
    let total = 0;
    for (let i = 0; i < count; i++) total += this.#weightOf(from[i] as number);
    let left = this.#random.unit() * total;
    for (let i = 0; i < count; i++) {
      left -= this.#weightOf(from[i] as number);
      if (left < 0) return from[i] as number;
    }
    return from[count - 1] as number;
  }

  #lessBusy(a: number, b: number): number {
    if (a === b) return a;
    return this.#busyness(b) < this.#busyness(a) ? b : a;
  }

  /** Requests under way, relative to what the endpoint is meant to carry. */
  #busyness(position: number): number {
    const endpoint = this.#endpoints[position] as Endpoint;
    return this.#slots.read(endpoint.slots.active) / Math.max(1, endpoint.weight);
  }

  #weightOf(position: number): number {
    return (this.#endpoints[position] as Endpoint).weight;
  }
}
