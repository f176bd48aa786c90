// Passive health: endpoints that fail several times in a row leave the rotation for a while, longer each time (Envoy's outlier
// detection with Istio's fields). All counts live in slots, so the threads of an agent see one truth.
import type { Slots } from "../base/slots.ts";
import type { Endpoint, OutlierPolicy } from "../policy/snapshot.ts";

/** Envoy's max_ejection_time. A longer baseEjectionTime is its own bound. */
const EJECTION_MS_MAX = 300_000;

/** What a try came to, as far as health goes. `gateway_error`: 502, 503, 504 and failures on the way; they count as 5xx too. */
export type Verdict = "success" | "server_error" | "gateway_error";

export function verdictOf(status: number): Verdict {
  if (status < 500) return "success";
  return status === 502 || status === 503 || status === 504 ? "gateway_error" : "server_error";
}

/** Times in slots are the low 32 bits of the monotonic clock: the difference decides, and a difference that no ejection can
 *  have is left over from before the clock wrapped. */
export function isEjected(untilMs: number, nowMs: number): boolean {
  if (untilMs === 0) return false;
  const leftMs = (untilMs - nowMs) | 0;
  return leftMs > 0 && leftMs < LEFT_MS_MAX;
}
const LEFT_MS_MAX = 2 ** 30;

export interface Ejection {
  readonly endpoint: Endpoint;
  readonly forMs: number;
}

export class OutlierDetector {
  readonly #policy: OutlierPolicy;
  readonly #endpoints: readonly Endpoint[];
  readonly #slots: Slots;
  readonly #onEject: (ejection: Ejection) => void;

  constructor(
    config: { policy: OutlierPolicy; endpoints: readonly Endpoint[] },
    deps: { slots: Slots; onEject(ejection: Ejection): void },
  ) {
    this.#policy = config.policy;
    this.#endpoints = config.endpoints;
    this.#slots = deps.slots;
    this.#onEject = deps.onEject;
  }

  report(endpoint: Endpoint, verdict: Verdict, nowMs: number): void {
    const { consecutive5xx, consecutiveGatewayErrors } = endpoint.slots;
    if (verdict !== "gateway_error") this.#clear(consecutiveGatewayErrors);
    if (verdict === "success") {
      this.#clear(consecutive5xx);
      return;
    }
    const failures = this.#slots.add(consecutive5xx, 1);
    let isOver = this.#policy.consecutive5xx > 0 && failures >= this.#policy.consecutive5xx;
    if (verdict === "gateway_error") {
      const bound = this.#policy.consecutiveGatewayErrors;
      const gateway = this.#slots.add(consecutiveGatewayErrors, 1);
      isOver ||= bound > 0 && gateway >= bound;
    }
    if (isOver) this.#eject(endpoint, nowMs);
  }

  #clear(slot: number): void {
    if (this.#slots.read(slot) !== 0) this.#slots.write(slot, 0);
  }

  #eject(endpoint: Endpoint, nowMs: number): void {
    const slots = this.#slots;
    const before = slots.read(endpoint.slots.ejectedUntilMs);
    if (isEjected(before, nowMs) || !this.#mayEjectAnother(nowMs)) return;
    const ejections = this.#ejectionsNow(endpoint, before, nowMs) + 1;
    const boundMs = Math.max(EJECTION_MS_MAX, this.#policy.baseEjectionMs);
    const forMs = Math.min(this.#policy.baseEjectionMs * ejections, boundMs);
    const untilMs = (nowMs + forMs) | 0 || 1; // 0 means: never ejected
    // Whoever writes first ejects; the other threads saw the same failures.
    if (slots.exchange(endpoint.slots.ejectedUntilMs, before, untilMs) !== before) return;
    slots.write(endpoint.slots.ejections, ejections);
    slots.write(endpoint.slots.consecutive5xx, 0);
    slots.write(endpoint.slots.consecutiveGatewayErrors, 0);
    this.#onEject({ endpoint, forMs });
  }

  /** One may always be ejected, more only up to maxEjectionPercent. */
  #mayEjectAnother(nowMs: number): boolean {
    let ejected = 0;
    for (const endpoint of this.#endpoints) {
      if (isEjected(this.#slots.read(endpoint.slots.ejectedUntilMs), nowMs)) ejected++;
    }
    if (ejected === 0) return this.#policy.maxEjectionPercent > 0;
    return ((ejected + 1) * 100) / this.#endpoints.length <= this.#policy.maxEjectionPercent;
  }

  /** Each interval in rotation forgives one ejection; worked out when it is asked for, so nothing has to tick. */
  #ejectionsNow(endpoint: Endpoint, untilMs: number, nowMs: number): number {
    const ejections = this.#slots.read(endpoint.slots.ejections);
    if (ejections === 0 || untilMs === 0) return 0;
    const healthyMs = Math.max(0, (nowMs - untilMs) | 0);
    return Math.max(0, ejections - Math.floor(healthyMs / this.#policy.intervalMs));
  }
}
