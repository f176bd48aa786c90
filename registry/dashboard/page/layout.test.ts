// The layout without a browser: places of services, whatever the order they are told in.
import { describe, expect, test } from "bun:test";
import type { EdgeView, GraphView, NodeView } from "../../../agent/api/edges.ts";
import { LABELLED_EDGES_MAX, layoutOf, NODE, PILL, shapeOf } from "./layout.ts";

const figures = {
  requests: 0,
  requestsPerSecond: 0,
  successRatio: undefined,
  p50Ms: undefined,
  p95Ms: undefined,
  p99Ms: undefined,
  connectionsPerSecond: 0,
  sentBytesPerSecond: 0,
  receivedBytesPerSecond: 0,
};
const node = (id: string): NodeView => ({
  id,
  name: id,
  namespace: "default",
  kind: "service",
  health: "ok",
  figures,
  endpoints: 1,
  versions: [],
});
const edge = (
  source: string,
  destination: string,
  protocol: "http" | "tcp" = "http",
): EdgeView => ({
  id: `${source}>${destination}>${protocol}`,
  source,
  destination,
  protocol,
  mtls: "all",
  health: "ok",
  figures,
  problem: undefined,
});
const graph = (ids: readonly string[], edges: readonly EdgeView[]): GraphView => ({
  atMs: 0,
  windowSeconds: 60,
  nodes: ids.map(node),
  edges,
  notes: { omitted: 0, evicted: 0, refused: {} },
});
const STAGE = { width: 1000, height: 700 };

describe("the layout", () => {
  test("is the same whatever the order in which services and edges are told", () => {
    const ids = ["a", "b", "c", "d"];
    const edges = [edge("a", "b"), edge("a", "c"), edge("c", "d")];
    const one = layoutOf(graph(ids, edges), STAGE);
    const other = layoutOf(graph([...ids].reverse(), [...edges].reverse()), STAGE);
    for (const id of ids) expect(other.nodes.get(id)).toEqual(one.nodes.get(id) as never);
  });

  test("takes the direction that is drawn larger on this stage", () => {
    const chain = graph(["a", "b", "c", "d"], [edge("a", "b"), edge("b", "c"), edge("c", "d")]);
    const flat = layoutOf(chain, { width: 2000, height: 200 });
    const tall = layoutOf(chain, { width: 300, height: 1000 });
    expect(flat.width).toBeGreaterThan(flat.height);
    expect(tall.height).toBeGreaterThan(tall.width);
  });

  test("keeps labels clear of services and of each other", () => {
    const ids = ["a", "b", "c", "d", "e"];
    const edges = [
      edge("a", "b"),
      edge("a", "c"),
      edge("a", "d"),
      edge("b", "e"),
      edge("a", "b", "tcp"),
    ];
    const { nodes, edges: placed } = layoutOf(graph(ids, edges), STAGE);
    const boxes = [
      ...[...nodes.values()].map((at) => ({ ...at, ...NODE })),
      ...[...placed.values()].map(({ label }) => ({ ...label, ...PILL })),
    ];
    expect(boxes).toHaveLength(10);
    for (const [i, a] of boxes.entries())
      for (const b of boxes.slice(i + 1)) {
        const isApart =
          Math.abs(a.x - b.x) >= (a.width + b.width) / 2 - 1 ||
          Math.abs(a.y - b.y) >= (a.height + b.height) / 2 - 1;
        expect(isApart).toBe(true);
      }
  });

  test("lists what no edge touches, and draws circles and calls to oneself", () => {
    const { nodes, edges, quiet } = layoutOf(
      graph(["a", "b", "alone"], [edge("a", "b"), edge("b", "a"), edge("a", "a")]),
      STAGE,
    );
    expect(quiet.map(({ id }) => id)).toEqual(["alone"]);
    expect([...nodes.keys()]).toEqual(["a", "b"]);
    for (const { points } of edges.values()) expect(points.length).toBeGreaterThan(1);
  });

  test("holds a hundred services with hundreds of edges", () => {
    const ids = Array.from({ length: 100 }, (_, i) => `s${i}`);
    const edges = ids.flatMap((id, i) =>
      [13, 29, 41].flatMap((step) => (i + step < 100 ? [edge(id, `s${i + step}`)] : [])),
    );
    expect(edges.length).toBeGreaterThan(LABELLED_EDGES_MAX);
    expect(layoutOf(graph(ids, edges), STAGE).nodes.size).toBe(100);
  }, 30_000);

  test("changes only when services or edges come or go", () => {
    const before = graph(["a", "b"], [edge("a", "b")]);
    const busier = { ...before, edges: [{ ...edge("a", "b"), health: "failing" as const }] };
    expect(shapeOf(busier)).toBe(shapeOf(before));
    expect(shapeOf(graph(["a", "b"], []))).not.toBe(shapeOf(before));
  });
});
