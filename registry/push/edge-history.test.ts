// The history and its graph on virtual time: whose word counts, what is kept, and what it comes to.
import { beforeEach, describe, expect, test } from "bun:test";
import { EDGES_FORMAT, type EdgeSample, type GraphView, UNKNOWN } from "../../agent/api/edges.ts";
import type { CatalogEndpoint, ResourceDocument } from "../../agent/api/session.ts";
import { hostIdentity } from "../../agent/api/spiffe.ts";
import { SILENT_LOG } from "../../agent/base/log.ts";
import { sample } from "../../test/support/reporting-mesh.ts";
import { VirtualClock } from "../../test/support/virtual-clock.ts";
import { graphOf } from "./edge-graph.ts";
import { EDGES_MAX, EDGES_PER_HOST_MAX, EdgeHistory } from "./edge-history.ts";
import { MeshFacts } from "./mesh-facts.ts";

const WORKLOADS = ["web", "shop", "shop-v2", "visitor"];
const HOSTS = { web: "vm1", shop: "vm2", "shop-v2": "vm3", visitor: "vm4" } as Record<
  string,
  string
>;
const SERVICES = ["shop.default.mesh", "web.default.mesh"];
const accountOf = (name: string): string => name.replace("-v2", "");

const documents: ResourceDocument[] = WORKLOADS.map((name) => ({
  apiVersion: "ironmesh.dev/v1",
  kind: "Workload",
  metadata: { name, namespace: "default", labels: { version: name.endsWith("v2") ? "v2" : "v1" } },
  spec: {
    hosts: [HOSTS[name]],
    serviceAccount: accountOf(name),
    process: { user: "nobody" },
    ...(name === "visitor" ? {} : { services: [{ name: accountOf(name), ports: [{ port: 80 }] }] }),
  },
}));
const endpoint = (workload: string): CatalogEndpoint => ({
  address: "10.0.0.1",
  host: HOSTS[workload] ?? "",
  workload,
  namespace: "default",
  serviceAccount: accountOf(workload),
  labels: { version: workload.endsWith("v2") ? "v2" : "v1" },
  weight: 1,
  ports: [],
  hasAgent: true,
});
const facts = new MeshFacts(
  {
    resources: documents.map((document) => ({ document, revision: 1 })),
    hosts: Object.entries(HOSTS).map(([name, host]) => ({
      name: host,
      serviceAccounts: [`default/${accountOf(name)}`],
      addresses: [],
      areAddressesPinned: false,
      joinedAtMs: 0,
    })),
  },
  {
    services: SERVICES.map((host) => ({
      host,
      name: host.split(".")[0] ?? "",
      namespace: "default",
      vip4: "",
      vip6: "",
      ports: [],
    })),
    endpoints: new Map([
      ["shop.default.mesh", [endpoint("shop"), endpoint("shop-v2")]],
      ["web.default.mesh", [endpoint("web")]],
    ]),
  },
  "mesh.test",
);

const HOUR_MS = 3_600_000;
const shopV2 = {
  workload: "shop-v2",
  namespace: "default",
  identity: sample("shop", "web").source.identity,
};
let clock: VirtualClock;
let history: EdgeHistory;
beforeEach(() => {
  clock = new VirtualClock();
  clock.pass(HOUR_MS);
  history = new EdgeHistory({ clock, log: SILENT_LOG });
});

const tell = (host: string, edges: readonly EdgeSample[], overMs = 5_000, omitted = 0): void => {
  clock.pass(5_000);
  history.hear(host, { type: "edges", format: EDGES_FORMAT, overMs, edges, omitted }, facts);
};
const graph = (windowSeconds = 60, by: "service" | "workload" = "service"): GraphView =>
  graphOf(history, facts, { nowMs: clock.wallMs(), windowSeconds, by });

describe("a host's word on traffic", () => {
  test("counts for its own workloads and for itself, at either end", () => {
    const byHost = sample(UNKNOWN, "shop");
    tell("vm1", [
      sample("web", "shop"),
      { ...byHost, source: { ...byHost.source, identity: hostIdentity("mesh.test", "vm1") } },
      sample(UNKNOWN, "web", { reporter: "destination", security: "none" }),
    ]);
    expect(history.refused).toEqual({});
    clock.pass(10_000);
    expect(
      graph()
        .edges.map(({ source, destination, mtls }) => [source, destination, mtls])
        .sort(),
    ).toEqual([
      ["host/vm1", "service/shop.default.mesh", "all"],
      ["outside/clients", "service/web.default.mesh", "none"],
      ["service/web.default.mesh", "service/shop.default.mesh", "all"],
    ]);
  });

  test.each<[string, Partial<EdgeSample>, string]>([
    [
      "for another host's workload",
      { source: sample("visitor", "web").source },
      "not_its_workload",
    ],
    [
      "as another host",
      {
        source: {
          workload: UNKNOWN,
          namespace: UNKNOWN,
          identity: hostIdentity("mesh.test", "vm2"),
        },
      },
      "not_its_workload",
    ],
    [
      "under another identity than its workload's",
      {
        source: {
          ...sample("web", "shop").source,
          identity: sample("shop", "web").source.identity,
        },
      },
      "not_its_workload",
    ],
    ["for another host's workload as destination", { reporter: "destination" }, "not_its_workload"],
    ["of a service nobody declared", { service: "bank.default.mesh" }, "unknown_service"],
    [
      "as one that serves a service it does not back",
      {
        reporter: "destination",
        destination: sample("shop", "web").destination,
      },
      "not_its_service",
    ],
    [
      "of a workload that does not back the service",
      { destination: sample("shop", "web").destination },
      "unknown_peer",
    ],
    [
      "of an endpoint under an identity it does not have",
      {
        destination: {
          ...sample("web", "shop").destination,
          identity: "spiffe://mesh.test/ns/default/sa/bank",
        },
      },
      "unknown_peer",
    ],
  ])("is refused and counted %s", (_what, parts, reason) => {
    tell("vm1", [sample("web", "shop", parts)]);
    expect(history.refused).toEqual({ [reason]: 1 });
    expect([...history.records]).toEqual([]);
  });

  test("is refused of a caller whose identity is nobody's", () => {
    const source = {
      workload: UNKNOWN,
      namespace: "default",
      identity: "spiffe://mesh.test/ns/default/sa/ghost",
    };
    tell("vm1", [sample(UNKNOWN, "web", { reporter: "destination", source })]);
    expect(history.refused).toEqual({ unknown_peer: 1 });
  });

  test("names a plaintext destination only as far as the mesh knows it", () => {
    const destination = { workload: "made-up", namespace: "default", identity: UNKNOWN };
    tell("vm1", [sample("web", "shop", { destination, security: "none" })]);
    expect([...history.records].map(({ facts: f }) => f.destination.workload)).toEqual([UNKNOWN]);
  });

  test("that comes too often is left out and counted", () => {
    tell("vm1", [sample("web", "shop")]);
    history.hear(
      "vm1",
      {
        type: "edges",
        format: EDGES_FORMAT,
        overMs: 1,
        edges: [sample("web", "shop")],
        omitted: 0,
      },
      facts,
    );
    expect(history.refused).toEqual({ too_often: 1 });
  });
});

describe("the graph", () => {
  test("shows a steady rate as steady, however reports and slots fall", () => {
    const rates = new Set<string>();
    for (let i = 0; i < 40; i++) {
      clock.pass(137);
      tell("vm1", [sample("web", "shop", { requests: 51.37 })], 5_137);
      if (i > 13) rates.add(graph().edges[0]?.figures.requestsPerSecond.toFixed(3) ?? "none");
    }
    expect([...rates]).toEqual(["10.000"]);
  });

  test("takes the source's word where both ends told, and the destination's where only it did", () => {
    const heard = { reporter: "destination", failed: 0 } as const;
    tell("vm1", [
      sample("web", "shop", { failed: 300, answers: [{ status: 503, flags: "UF", count: 300 }] }),
    ]);
    tell("vm2", [sample("web", "shop", heard), sample("visitor", "shop", heard)]);
    clock.pass(10_000);
    const [failing, ok] = graph().edges;
    expect(failing).toMatchObject({ health: "failing", source: "service/web.default.mesh" });
    expect(failing?.figures.requests).toBe(600);
    expect(failing?.problem).toBe(
      "50 % failed, most by 503 UF (the endpoint could not be reached)",
    );
    expect(ok).toMatchObject({
      health: "ok",
      source: "workload/default/visitor",
      problem: undefined,
    });
  });

  test("adds up versions by service, and tells them apart by workload", () => {
    tell("vm1", [
      sample("web", "shop"),
      sample("web", "shop", {
        requests: 300,
        latencies: [[7, 300]],
        destination: shopV2,
        security: "none",
      }),
    ]);
    clock.pass(10_000);
    const [edge, ...more] = graph().edges;
    expect(more).toEqual([]);
    expect(edge).toMatchObject({ mtls: "some", figures: { requests: 900 } });
    // 600 between 5 and 10 ms, 300 between 100 and 250 ms.
    expect(edge?.figures.p50Ms).toBeCloseTo(8.75, 3);
    expect(edge?.figures.p99Ms).toBeCloseTo(245.5, 3);
    expect(graph(60, "workload").edges.map(({ destination }) => destination)).toEqual([
      "workload/default/shop",
      "workload/default/shop-v2",
    ]);
    expect(graph().nodes.find(({ name }) => name === "shop")).toMatchObject({
      endpoints: 2,
      versions: ["v1", "v2"],
    });
  });

  test("shows every service, idle ones too, and an edge of the last hour as idle", () => {
    expect(graph().nodes.map(({ id, health }) => [id, health])).toEqual([
      ["service/shop.default.mesh", "idle"],
      ["service/web.default.mesh", "idle"],
    ]);
    tell("vm1", [sample("web", "shop")]);
    clock.pass(120_000);
    expect(graph().edges).toMatchObject([
      { health: "idle", figures: { requests: 0, p50Ms: undefined } },
    ]);
    expect(graph(3_600).edges).toMatchObject([{ health: "ok", figures: { requests: 600 } }]);
    clock.pass(2 * HOUR_MS);
    tell("vm1", []);
    expect(graph().edges).toEqual([]);
  });

  test("calls refusals by policy degraded, and connections that break failing", () => {
    const refused = { answers: [{ status: 403, flags: "-", count: 600 }] };
    const broken = { protocol: "tcp", requests: 0, opened: 10, broken: 4, latencies: [] } as const;
    tell("vm1", [sample("web", "shop", refused), sample("web", "shop", broken)]);
    clock.pass(10_000);
    expect(graph().edges.map(({ health, problem }) => [health, problem])).toEqual([
      ["failing", "40 % of connections were not opened or broke off"],
      ["degraded", "100 % refused, most by 403 (a policy, or the app)"],
    ]);
  });
});

describe("bounds", () => {
  const many = (count: number, offset = 0) =>
    Array.from({ length: count }, (_, i) =>
      sample("web", "shop", {
        protocol: i % 2 === 0 ? "http" : "tcp",
        destination: { ...shopV2, namespace: `n${i + offset}` },
      }),
    );
  /** Knows every workload that is asked for. */
  const anybody = Object.assign(Object.create(facts) as MeshFacts, {
    workload: () => ({
      identity: shopV2.identity,
      hosts: { has: () => true },
      services: SERVICES,
      labels: {},
    }),
  });
  const flood = (host: string, edges: readonly EdgeSample[]): void => {
    clock.pass(5_000);
    const own = edges.map((edge) => ({
      ...edge,
      source: { ...edge.source, identity: shopV2.identity },
    }));
    history.hear(
      host,
      { type: "edges", format: EDGES_FORMAT, overMs: 5_000, edges: own, omitted: 0 },
      anybody,
    );
  };

  test("one host's edges are bounded, what is more is counted", () => {
    flood("vm1", many(EDGES_PER_HOST_MAX));
    flood("vm1", many(5, EDGES_PER_HOST_MAX));
    expect([...history.records]).toHaveLength(EDGES_PER_HOST_MAX);
    expect(history.refused).toEqual({ too_many_edges: 5 });
  });

  test("a full history drops the edge that was silent for longest, and says so", () => {
    const hosts = EDGES_MAX / EDGES_PER_HOST_MAX;
    for (let i = 0; i < hosts; i++) flood(`h${i}`, many(EDGES_PER_HOST_MAX));
    flood("h0", many(1));
    flood("late", many(1));
    expect([...history.records]).toHaveLength(EDGES_MAX);
    expect(history.evicted).toBe(1);
    expect([...history.records].filter(({ host }) => host === "h0")).toHaveLength(
      EDGES_PER_HOST_MAX - 1,
    );
    expect(graph().notes).toMatchObject({ evicted: 1 });
  });

  test("what agents could not itemise is added up", () => {
    tell("vm1", [], 5_000, 7);
    tell("vm1", [], 5_000, 3);
    expect(graph().notes).toEqual({ omitted: 10, evicted: 0, refused: {} });
  });
});
