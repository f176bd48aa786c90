// Where nodes, edges and their labels stand: dagre decides. Callers stand above, or to the left of, what they call, whichever is
// drawn larger.
import { layout as arrange, Graph } from "@dagrejs/dagre";
import type { GraphView, NodeView } from "../../../agent/api/edges.ts";

export const NODE = { width: 190, height: 64 } as const;
export const PILL = { width: 170, height: 24 } as const;
/** Above this, labels of edges that are well are hidden until asked for, and get no room of their own. */
export const LABELLED_EDGES_MAX = 40;
const MARGIN = 24;

export interface Point {
  readonly x: number;
  readonly y: number;
}

export interface Layout {
  readonly width: number;
  readonly height: number;
  /** Centres. */
  readonly nodes: ReadonlyMap<string, Point>;
  readonly edges: ReadonlyMap<string, { readonly points: readonly Point[]; readonly label: Point }>;
  /** Services that no edge touches: listed, not drawn. */
  readonly quiet: readonly NodeView[];
}

/** The same nodes and edges have the same text: then nothing moves. */
export const shapeOf = ({ nodes, edges }: GraphView): string =>
  JSON.stringify([nodes.map(({ id }) => id), edges.map(({ id }) => id).sort()]);

/** Of both directions the one that fits the stage better; a crowd is laid out once and by the quicker ranking (half a second for a
 *  hundred services, of which a browser shows nothing else meanwhile). */
export function layoutOf(graph: GraphView, stage: { width: number; height: number }): Layout {
  const zoomOf = ({ width, height }: Layout): number =>
    Math.min(stage.width / width, stage.height / height);
  if (graph.edges.length > LABELLED_EDGES_MAX) return layoutTowards("LR", graph);
  const [across, down] = [layoutTowards("LR", graph), layoutTowards("TB", graph)];
  return zoomOf(across) >= zoomOf(down) ? across : down;
}

/** The same services stand in the same places, whatever is busiest or broken now. */
function layoutTowards(rankdir: "LR" | "TB", view: GraphView): Layout {
  const nodes = [...view.nodes].sort(byId);
  const edges = [...view.edges].sort(byId);
  const touched = new Set(edges.flatMap(({ source, destination }) => [source, destination]));
  const isCrowded = edges.length > LABELLED_EDGES_MAX;
  const graph = new Graph({ multigraph: true });
  graph.setGraph({
    rankdir,
    ranker: isCrowded ? "longest-path" : "network-simplex",
    nodesep: isCrowded ? 18 : 30,
    edgesep: isCrowded ? 8 : 22,
    ranksep: isCrowded ? 150 : 40,
    marginx: MARGIN,
    marginy: MARGIN,
  });
  for (const { id } of nodes) if (touched.has(id)) graph.setNode(id, { ...NODE });
  const label = isCrowded ? {} : { ...PILL, labelpos: "c" };
  for (const { id, source, destination } of edges) {
    graph.setEdge(source, destination, { ...label }, id);
  }
  arrange(graph);
  const { width = 0, height = 0 } = graph.graph() as { width?: number; height?: number };
  return {
    width,
    height,
    nodes: new Map(graph.nodes().map((id) => [id, pointOf(graph.node(id))])),
    edges: new Map(
      graph.edges().map((edge) => {
        const placed = graph.edge(edge) as { points: Point[]; x?: number; y?: number };
        const middle = placed.points[Math.floor(placed.points.length / 2)] ?? { x: 0, y: 0 };
        const at = placed.x === undefined ? middle : { x: placed.x, y: placed.y ?? 0 };
        return [edge.name ?? "", { points: placed.points, label: at }];
      }),
    ),
    quiet: nodes.filter(({ id }) => !touched.has(id)),
  };
}

const byId = (a: { readonly id: string }, b: { readonly id: string }): number =>
  a.id < b.id ? -1 : 1;

const pointOf = (node: unknown): Point => {
  const { x, y } = node as Point;
  return { x, y };
};

/** A smooth line through the points: a quadratic curve from middle to middle. */
export function pathThrough(points: readonly Point[]): string {
  const [first, ...rest] = points;
  if (first === undefined) return "";
  let path = `M${round(first)}`;
  for (const [i, point] of rest.entries()) {
    const next = rest[i + 1];
    if (next === undefined) path += `L${round(point)}`;
    else
      path += `Q${round(point)} ${round({ x: (point.x + next.x) / 2, y: (point.y + next.y) / 2 })}`;
  }
  return path;
}

const round = ({ x, y }: Point): string => `${x.toFixed(1)},${y.toFixed(1)}`;
