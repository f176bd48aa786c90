import { describe, expect, test } from "bun:test";
import { SeededRandom } from "../base/clock.ts";
import { SharedSlots } from "../base/slots.ts";
import type { Cluster, Endpoint, OutlierPolicy, RetryPolicy } from "../policy/snapshot.ts";
import { Balancer, NONE } from "./balancer.ts";
import { type Ejection, isEjected, OutlierDetector, verdictOf } from "./outlier.ts";
import { retriesFailure, retriesStatus } from "./retry.ts";

const SLOTS_EACH = 5;
const endpoint = (i: number, weight = 1): Endpoint => ({
  id: `10.0.0.${i}:80`,
  address: `10.0.0.${i}`,
  port: 80,
  weight,
  mesh: undefined,
  workload: `w${i}`,
  namespace: "default",
  labels: {},
  slots: {
    active: i * SLOTS_EACH,
    consecutive5xx: i * SLOTS_EACH + 1,
    consecutiveGatewayErrors: i * SLOTS_EACH + 2,
    ejectedUntilMs: i * SLOTS_EACH + 3,
    ejections: i * SLOTS_EACH + 4,
  },
});

const OUTLIER: OutlierPolicy = {
  consecutive5xx: 5,
  consecutiveGatewayErrors: 0,
  intervalMs: 10_000,
  baseEjectionMs: 30_000,
  maxEjectionPercent: 10,
  minHealthPercent: 0,
};

function fixture(options: {
  balancer?: Cluster["balancer"];
  weights: readonly number[];
  outlier?: Partial<OutlierPolicy>;
}) {
  const slots = new SharedSlots(new ArrayBuffer(4096));
  const endpoints = options.weights.map((weight, i) => endpoint(i, weight));
  const policy = { ...OUTLIER, ...options.outlier };
  const outlier = options.outlier === undefined ? undefined : policy;
  const random = new SeededRandom(7);
  const balancer = new Balancer(
    { balancer: options.balancer ?? "round_robin", endpoints, outlier },
    { slots, random },
  );
  const ejections: Ejection[] = [];
  const detector = new OutlierDetector(
    { policy, endpoints },
    { slots, onEject: (e) => ejections.push(e) },
  );
  const eject = (i: number, untilMs: number) =>
    slots.write(endpoint(i).slots.ejectedUntilMs, untilMs);
  return { slots, balancer, detector, ejections, eject };
}

function share(balancer: Balancer, picks: number, tried: readonly number[] = []): number[] {
  const counts = [0, 0, 0, 0];
  for (let i = 0; i < picks; i++) {
    const at = balancer.pick(0, tried);
    counts[at] = (counts[at] ?? 0) + 1;
  }
  return counts.map((n) => n / picks);
}

const HASHES = [1, 77, 4_000_000_000, -5];

describe("balancer", () => {
  test("round robin visits equal endpoints in turn", () => {
    const { balancer } = fixture({ weights: [1, 1, 1] });
    const seen = [0, 1, 2, 3, 4, 5].map(() => balancer.pick(0));
    expect(seen.slice(0, 3).toSorted()).toEqual([0, 1, 2]);
    expect(seen.slice(3)).toEqual(seen.slice(0, 3));
  });

  test("round robin gives each endpoint exactly its weight", () => {
    const { balancer } = fixture({ weights: [5, 3, 2] });
    expect(share(balancer, 1000)).toEqual([0.5, 0.3, 0.2, 0]);
  });

  test("random and idle least request share by weight", () => {
    for (const kind of ["random", "least_request"] as const) {
      const { balancer } = fixture({ balancer: kind, weights: [3, 1] });
      expect(share(balancer, 20_000)[0]).toBeCloseTo(0.75, 1);
    }
  });

  test("least request avoids the busier of two", () => {
    const { balancer, slots } = fixture({ balancer: "least_request", weights: [1, 1] });
    slots.write(endpoint(0).slots.active, 10);
    const [busy = 1, idle = 0] = share(balancer, 10_000);
    expect(busy).toBeCloseTo(0.25, 1);
    expect(idle).toBeCloseTo(0.75, 1);
  });

  test("an endpoint that was tried is not tried again while there is another", () => {
    for (const kind of ["round_robin", "random", "least_request"] as const) {
      const { balancer } = fixture({ balancer: kind, weights: [1, 1, 1] });
      expect(share(balancer, 300, [1])[1]).toBe(0);
      expect(share(balancer, 30, [0, 1, 2]).reduce((a, b) => a + b)).toBeCloseTo(1);
    }
  });

  test("ejected endpoints are passed over, and none is left when all are ejected", () => {
    const { balancer, eject } = fixture({ weights: [1, 1, 1], outlier: {} });
    eject(0, 1000);
    expect(share(balancer, 300)[0]).toBe(0);
    eject(1, 1000);
    eject(2, 1000);
    expect(balancer.pick(0)).toBe(NONE);
    expect(balancer.pick(1001)).not.toBe(NONE);
  });

  for (const outlier of [undefined, {}])
    test(`by hash a key keeps its endpoint, and has the next best when that was tried, ${outlier === undefined ? "without" : "with"} ejections`, () => {
      const options = outlier === undefined ? {} : { outlier };
      const weights = [1, 1, 1];
      const { balancer } = fixture({ balancer: "consistent_hash", weights, ...options });
      for (const key of HASHES) {
        const own = balancer.pick(0, [], key);
        const next = balancer.pick(0, [own], key);
        expect(next).not.toBe(own);
        expect(balancer.pick(0, [own], key)).toBe(next);
        for (let i = 0; i < 20; i++) expect(balancer.pick(0, [], key)).toBe(own);
      }
    });

  test("by hash a key has the next best endpoint while its own is ejected, and then its own again", () => {
    const outlier = {};
    const { balancer, eject } = fixture({
      balancer: "consistent_hash",
      weights: [1, 1, 1],
      outlier,
    });
    for (const key of HASHES) {
      const own = balancer.pick(0, [], key);
      const next = balancer.pick(0, [own], key);
      eject(own, 1000);
      expect(balancer.pick(0, [], key)).toBe(next);
      eject(own, 0);
      expect(balancer.pick(0, [], key)).toBe(own);
    }
  });

  test("by hash, what has no key goes anywhere", () => {
    const { balancer } = fixture({ balancer: "consistent_hash", weights: [1, 1] });
    expect(share(balancer, 10_000)[0]).toBeCloseTo(0.5, 1);
  });

  test("below minHealthPercent the ejections are ignored", () => {
    const { balancer, eject } = fixture({ weights: [1, 1], outlier: { minHealthPercent: 60 } });
    eject(0, 1000);
    expect(share(balancer, 1000)[0]).toBeGreaterThan(0);
  });

  test("no endpoints at all is NONE", () => {
    expect(fixture({ weights: [] }).balancer.pick(0)).toBe(NONE);
  });
});

describe("outlier detection", () => {
  const fail = (f: ReturnType<typeof fixture>, i: number, times: number, nowMs: number) => {
    for (let n = 0; n < times; n++) f.detector.report(endpoint(i), verdictOf(500), nowMs);
  };

  test("the fifth 5xx in a row ejects, a success before it starts over", () => {
    const f = fixture({ weights: [1, 1], outlier: {} });
    fail(f, 0, 4, 0);
    f.detector.report(endpoint(0), "success", 0);
    fail(f, 0, 4, 0);
    expect(f.ejections).toEqual([]);
    fail(f, 0, 1, 0);
    expect(f.ejections.map((e) => e.forMs)).toEqual([30_000]);
    expect(share(f.balancer, 10)[0]).toBe(0);
  });

  test("ejections grow with each, and an interval in rotation forgives one", () => {
    const f = fixture({ weights: [1, 1], outlier: {} });
    fail(f, 0, 5, 0);
    fail(f, 0, 5, 30_001);
    expect(f.ejections.map((e) => e.forMs)).toEqual([30_000, 60_000]);
    fail(f, 0, 5, 30_001 + 60_000 + 10_001);
    expect(f.ejections.at(-1)?.forMs).toBe(60_000);
  });

  test("not more than maxEjectionPercent are out at once, but one always may be", () => {
    const f = fixture({ weights: [1, 1, 1, 1], outlier: { maxEjectionPercent: 50 } });
    for (const i of [0, 1, 2]) fail(f, i, 5, 0);
    expect(f.ejections.map((e) => e.endpoint.id)).toEqual([endpoint(0).id, endpoint(1).id]);
  });

  test("gateway errors have a count of their own when it is switched on", () => {
    const f = fixture({
      weights: [1, 1],
      outlier: { consecutiveGatewayErrors: 2, consecutive5xx: 0 },
    });
    fail(f, 0, 10, 0);
    expect(f.ejections).toEqual([]);
    f.detector.report(endpoint(0), verdictOf(503), 0);
    f.detector.report(endpoint(0), verdictOf(504), 0);
    expect(f.ejections).toHaveLength(1);
  });

  test("times survive the wrap of 32 bits", () => {
    const nowMs = 2 ** 31 - 10;
    const untilMs = (nowMs + 30_000) | 0;
    expect(isEjected(untilMs, nowMs)).toBe(true);
    expect(isEjected(untilMs, nowMs + 30_001)).toBe(false);
    expect(isEjected(untilMs, nowMs + 2 ** 31 + 1000)).toBe(false);
  });
});

describe("retry policy", () => {
  const on = (...conditions: RetryPolicy["on"]): RetryPolicy => ({
    attempts: 2,
    perTryTimeoutMs: undefined,
    on: conditions,
    statusCodes: [],
    backoffBaseMs: 25,
  });

  test("Istio's default retries what was never begun and nothing else", () => {
    const policy = on("connect-failure", "refused-stream", "unavailable", "cancelled");
    expect(retriesFailure(policy, "connect_failure")).toBe(true);
    expect(retriesFailure(policy, "refused")).toBe(true);
    expect(retriesFailure(on("connect-failure"), "refused")).toBe(false);
    expect(retriesFailure(policy, "reset")).toBe(false);
    expect(retriesStatus(policy, 503)).toBe(false);
  });

  test("5xx covers every 5xx and every lost response, gateway-error only 502 to 504", () => {
    expect(retriesStatus(on("5xx"), 500)).toBe(true);
    expect(retriesFailure(on("5xx"), "reset")).toBe(true);
    expect(retriesStatus(on("gateway-error"), 500)).toBe(false);
    expect(retriesStatus(on("gateway-error"), 503)).toBe(true);
    expect(retriesStatus(on("retriable-4xx"), 409)).toBe(true);
    expect(retriesStatus(on("reset"), 503)).toBe(false);
  });

  test("status codes named in retryOn are retried, whatever they are", () => {
    const policy = { ...on("retriable-status-codes"), statusCodes: [418] };
    expect(retriesStatus(policy, 418)).toBe(true);
    expect(retriesStatus(policy, 419)).toBe(false);
  });
});
