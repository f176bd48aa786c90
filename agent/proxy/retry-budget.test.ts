// Retries must not multiply an outage: with an upstream that is dead, however many ask, it sees little more than it was asked.
import { describe, expect, test } from "bun:test";
import {
  cluster,
  forwardRoute,
  Host,
  MeshFixture,
  service,
  snapshot,
  VIP,
  workload,
} from "../../test/support/mesh-fixture.ts";
import { TextEnd } from "../../test/support/text-stream.ts";
import { SharedSlots } from "../base/slots.ts";
import type { ClusterLimits } from "../policy/snapshot.ts";
import { retriesMax } from "../resilience/retry.ts";

const GET = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const ATTEMPTS = 5;

/** Four threads of an agent whose upstream has nobody listening; every request may be tried five times more. */
function outage(limits: Partial<ClusterLimits> = {}) {
  const mesh = new MeshFixture();
  mesh.server.network.unlisten(15008);
  const slots = new SharedSlots(new SharedArrayBuffer(4096));
  const retry = {
    attempts: ATTEMPTS,
    perTryTimeoutMs: undefined,
    on: ["connect-failure"] as const,
    statusCodes: [],
    backoffBaseMs: 25,
  };
  const changes = {
    workloads: [workload("client")],
    services: [service({}, [forwardRoute({ retry })])],
    clusters: [cluster({ limits: { ...cluster().limits, ...limits } })],
  };
  const threads = [1, 2, 3, 4].map((seed) => {
    const thread = new Host(mesh.fabric, "10.0.0.1", { seed, slots }, mesh.bugs);
    thread.plane.swap(snapshot("10.0.0.1", changes));
    return thread;
  });
  const tries = (): number =>
    threads.reduce((sum, t) => sum + t.count("ironmesh_upstream_connect_failures_total"), 0);
  const ask = (nth: number): TextEnd => {
    const end = new TextEnd();
    end.attach((threads[nth % 4] as Host).dialOut({ address: VIP, port: 80 }, end));
    end.send(GET);
    return end;
  };
  return { mesh, slots, threads, tries, ask };
}

describe("with a dead upstream", () => {
  test("that 400 ask at once it sees a quarter more tries than requests at most", () => {
    const { mesh, slots, tries, ask } = outage();
    const clients = Array.from({ length: 400 }, (_, i) => ask(i));
    mesh.clock.pass(10_000);
    expect(clients.filter((c) => c.text.startsWith("HTTP/1.1 503"))).toHaveLength(400);
    console.log(`retry budget: 400 at once came to ${tries()} tries`);
    expect(tries()).toBeGreaterThan(400);
    expect(tries()).toBeLessThanOrEqual(500 + 3 * ATTEMPTS); // 0.2 + 0.04 + 0.008 + ..., and the minimum
    expect([slots.read(12), slots.read(13)]).toEqual([0, 0]); // nothing stays counted
    expect(mesh.bugs).toEqual([]);
  });

  test("under a steady load it sees a fifth more at most, beside the three that may always be tried again", () => {
    const { mesh, threads, tries, ask } = outage();
    const requests = 1_200;
    const everyMs = 2;
    for (let i = 0; i < requests; i++) {
      ask(i);
      mesh.clock.pass(everyMs);
    }
    mesh.clock.pass(10_000);
    // Three at a time, each no sooner than its back-off of 12.5 ms on average at first lets it.
    const minimum = (3 * requests * everyMs) / 12.5;
    const extra = tries() - requests;
    console.log(`retry budget: ${requests} in a row came to ${tries()} tries`);
    expect(extra).toBeLessThanOrEqual(0.2 * requests + minimum);
    const refused = threads.reduce((sum, t) => sum + t.count("ironmesh_retries_refused_total"), 0);
    expect(refused).toBeGreaterThan(requests / 2);
  });

  test("without the budget each request would be six", () => {
    const { mesh, tries, ask } = outage({ retryBudget: undefined });
    for (let i = 0; i < 50; i++) ask(i);
    mesh.clock.pass(60_000);
    expect(tries()).toBe(50 * (1 + ATTEMPTS));
  });

  test("maxRetries without a budget holds as before", () => {
    const { mesh, tries, ask } = outage({ retryBudget: undefined, maxRetries: 2 });
    for (let i = 0; i < 50; i++) ask(i);
    mesh.clock.pass(60_000);
    expect(tries()).toBeLessThan(50 * (1 + ATTEMPTS) - 100);
  });
});

test("a budget is a share of the requests under way, and never less than its minimum", () => {
  const limits = { maxRetries: 1, retryBudget: { percent: 20, minConcurrency: 3 } };
  expect([0, 10, 19, 20, 100, 999].map((active) => retriesMax(limits, active))).toEqual([
    3, 3, 3, 4, 20, 199,
  ]);
  expect(retriesMax({ maxRetries: 1 }, 1_000)).toBe(1);
  const none = { percent: 0, minConcurrency: 0 };
  expect(retriesMax({ maxRetries: 9, retryBudget: none }, 1_000)).toBe(0);
});
