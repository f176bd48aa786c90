import { describe, expect, test } from "bun:test";
import { ANSWERS_PER_EDGE_MAX, EDGES_PER_REPORT_MAX, HISTOGRAM_BOUNDS } from "../api/edges.ts";
import { EdgeSummary } from "./edges.ts";
import { ConnectionFamily, type Party, RequestFamily, type Traffic } from "./request-metrics.ts";
import { type SeriesAnnouncement, SeriesTable } from "./series.ts";

function thread(cells = 65_536) {
  const series: SeriesAnnouncement[] = [];
  const table = new SeriesTable({ cells }, (s) => series.push(s));
  return { table, view: { memory: table.memory, series } };
}

const party = (workload: string): Party => ({
  workload,
  namespace: "default",
  principal: `spiffe://mesh.test/ns/default/sa/${workload}`,
  app: workload,
  version: "v1",
});
const traffic = (parts: Partial<Traffic> = {}): Traffic => ({
  reporter: "source",
  source: party("web"),
  destination: party("shop"),
  service: { host: "shop.default.mesh", name: "shop", namespace: "default" },
  security: "mutual_tls",
  ...parts,
});

describe("edges", () => {
  test("what threads count of one edge is told once, as growth", () => {
    const [one, two] = [thread(), thread()];
    const summary = new EdgeSummary();
    const first = new RequestFamily(one.table, traffic());
    const second = new RequestFamily(two.table, traffic());
    first.record(200, "-", 3, 10, 20);
    second.record(200, "-", 30, 10, 20);
    second.record(503, "UF", 0.2, 10, 20);
    const { edges, omitted } = summary.take([one.view, two.view]);
    expect(omitted).toBe(0);
    expect(edges).toEqual([
      {
        reporter: "source",
        source: {
          workload: "web",
          namespace: "default",
          identity: "spiffe://mesh.test/ns/default/sa/web",
        },
        destination: {
          workload: "shop",
          namespace: "default",
          identity: "spiffe://mesh.test/ns/default/sa/shop",
        },
        service: "shop.default.mesh",
        protocol: "http",
        security: "mutual_tls",
        requests: 3,
        failed: 1,
        answers: [{ status: 503, flags: "UF", count: 1 }],
        latencies: [
          [0, 1],
          [HISTOGRAM_BOUNDS.indexOf(5), 1],
          [HISTOGRAM_BOUNDS.indexOf(50), 1],
        ],
        opened: 0,
        broken: 0,
        sentBytes: 0,
        receivedBytes: 0,
      },
    ]);
    expect(summary.take([one.view, two.view]).edges).toEqual([]);
    first.record(404, "-", 3, 10, 20);
    const [again] = summary.take([one.view, two.view]).edges;
    expect(again).toMatchObject({ requests: 1, failed: 0, answers: [{ status: 404, count: 1 }] });
  });

  test("a request nobody answered has failed, unless its client went away; latencies beyond all bounds are kept", () => {
    const { table, view } = thread();
    const family = new RequestFamily(table, traffic());
    family.record(0, "DC", 1e9, 1, 1);
    family.record(0, "UC", 1e9, 1, 1);
    const [edge] = new EdgeSummary().take([view]).edges;
    expect(edge).toMatchObject({
      requests: 2,
      failed: 1,
      latencies: [[HISTOGRAM_BOUNDS.length, 2]],
    });
  });

  test("an opaque connection tells bytes, and is broken unless an end wanted it to end", () => {
    const { table, view } = thread();
    const family = new ConnectionFamily(table, traffic({ security: "none" }));
    for (const flags of ["-", "DC", "UF"]) {
      family.opened();
      family.moved(100, 1);
      family.closed(flags);
    }
    const [edge] = new EdgeSummary().take([view]).edges;
    const bytes = { receivedBytes: 300, sentBytes: 3 };
    expect(edge).toMatchObject({
      protocol: "tcp",
      security: "none",
      opened: 3,
      broken: 1,
      ...bytes,
    });
  });

  test("more edges than a report holds are counted as omitted, the busiest are told", () => {
    const { table, view } = thread(2_000_000);
    const summary = new EdgeSummary();
    const count = EDGES_PER_REPORT_MAX + 3;
    for (let i = 0; i < count; i++) {
      const family = new ConnectionFamily(table, traffic({ source: party(`caller-${i}`) }));
      for (let n = 0; n < (i < 3 ? 1 : 2); n++) family.opened();
    }
    const { edges, omitted } = summary.take([view]);
    expect(edges).toHaveLength(EDGES_PER_REPORT_MAX);
    expect(edges.every(({ opened }) => opened === 2)).toBe(true);
    expect(omitted).toBe(3);
    expect(summary.take([view])).toEqual({ edges: [], omitted: 0 });
  });

  test("requests in the table's overflow series belong to no edge and are counted", () => {
    const { table, view } = thread(600);
    for (let i = 0; i < 5; i++) {
      new RequestFamily(table, traffic({ source: party(`caller-${i}`) })).record(200, "-", 1, 1, 1);
    }
    const { edges, omitted } = new EdgeSummary().take([view]);
    expect(edges.length + omitted).toBe(5);
    expect(omitted).toBeGreaterThan(0);
  });

  test("kinds of failed answers are bounded, the most frequent stay", () => {
    const { table, view } = thread();
    const family = new RequestFamily(table, traffic());
    for (let i = 0; i <= ANSWERS_PER_EDGE_MAX; i++) {
      for (let n = 0; n <= i; n++) family.record(400 + i, "-", 1, 1, 1);
    }
    const [edge] = new EdgeSummary().take([view]).edges;
    expect(edge?.answers).toHaveLength(ANSWERS_PER_EDGE_MAX);
    expect(edge?.answers[0]).toEqual({
      status: 400 + ANSWERS_PER_EDGE_MAX,
      flags: "-",
      count: ANSWERS_PER_EDGE_MAX + 1,
    });
  });
});
