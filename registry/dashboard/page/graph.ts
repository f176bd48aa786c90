// The drawing: services as cards, calls as lines with a label each. It is drawn anew only when nodes or edges come or go; figures
// change in place. Health is told by colour, by sign and by words, never by colour alone.
import type { EdgeView, Figures, GraphView, NodeView } from "../../../agent/api/edges.ts";
import { h, setAttribute, setText, svg } from "./dom.ts";
import {
  HEALTH_WORDS,
  LOCK_WORDS,
  msText,
  nameOf,
  rateText,
  shortened,
  successText,
} from "./format.ts";
import {
  LABELLED_EDGES_MAX,
  type Layout,
  layoutOf,
  NODE,
  PILL,
  type Point,
  pathThrough,
  shapeOf,
} from "./layout.ts";
import { lock } from "./lock.ts";
import { Viewport } from "./viewport.ts";

const NAME_CHARS_MAX = 20;
/** A crowded drawing is small: its names are larger. */
const CROWDED_NAME_CHARS_MAX = 13;

interface DrawnNode {
  readonly element: SVGGElement;
  update(node: NodeView, isCalling: boolean): void;
}

export interface GraphEvents {
  onSelect(node: NodeView): void;
}

export class GraphDrawing {
  readonly element: HTMLElement;
  readonly #viewport = new Viewport("Graph of services; the table beside it tells the same");
  readonly #quiet = h("div", { class: "quiet" });
  readonly #events: GraphEvents;
  #shape = "";
  #graph: GraphView | undefined;
  #nodes = new Map<string, DrawnNode>();
  #edges = new Map<string, DrawnEdge>();
  #selected: string | undefined;
  #search = "";
  #isCrowded = false;
  #layout: Layout | undefined;

  constructor(events: GraphEvents) {
    this.#events = events;
    this.element = h(
      "div",
      { class: "drawing" },
      this.#viewport.root,
      this.#viewport.controls,
      this.#quiet,
    );
    this.#viewport.root.addEventListener("keydown", (event) => this.#viewport.key(event));
  }

  show(graph: GraphView): void {
    this.#graph = graph;
    const shape = shapeOf(graph);
    if (shape !== this.#shape) {
      this.#shape = shape;
      this.#draw(graph);
    }
    const busy = graph.edges.filter(({ health }) => health !== "idle");
    const callers = new Set(busy.map(({ source }) => source));
    for (const node of graph.nodes) this.#nodes.get(node.id)?.update(node, callers.has(node.id));
    for (const edge of graph.edges) this.#edges.get(edge.id)?.update(edge);
    this.#emphasize();
  }

  /** A node's id; undefined: none. */
  select(id: string | undefined): void {
    this.#selected = id;
    this.#emphasize();
    if (this.#isCrowded) this.#frame(id);
  }

  /** What does not match steps back. */
  search(text: string): void {
    this.#search = text.trim().toLowerCase();
    this.#emphasize();
  }

  /** In a crowd: the chosen one and its neighbours, large enough to read. */
  #frame(id: string | undefined): void {
    if (id === undefined || this.#layout?.nodes.has(id) !== true) {
      this.#viewport.fit();
      return;
    }
    const near = (this.#graph?.edges ?? []).filter((e) => e.source === id || e.destination === id);
    const ids = new Set([id, ...near.flatMap((e) => [e.source, e.destination])]);
    const at = [...ids].flatMap((one) => this.#layout?.nodes.get(one) ?? []);
    const [xs, ys] = [at.map(({ x }) => x), at.map(({ y }) => y)];
    const [left, top] = [Math.min(...xs) - NODE.width, Math.min(...ys) - NODE.height];
    const [right, bottom] = [Math.max(...xs) + NODE.width, Math.max(...ys) + NODE.height];
    this.#viewport.frame(left, top, right - left, bottom - top);
  }

  #draw(graph: GraphView): void {
    this.#isCrowded = graph.edges.length > LABELLED_EDGES_MAX;
    const layout = layoutOf(graph, this.#viewport.size);
    this.#layout = layout;
    this.#nodes = new Map();
    this.#edges = new Map();
    const lines: SVGGElement[] = [];
    const labels: SVGGElement[] = [];
    for (const edge of graph.edges) {
      const drawn = drawEdge(edge, layout);
      if (drawn === undefined) continue;
      this.#edges.set(edge.id, drawn);
      lines.push(drawn.line);
      labels.push(drawn.element);
    }
    for (const node of graph.nodes) {
      const at = layout.nodes.get(node.id);
      if (at !== undefined) this.#nodes.set(node.id, this.#drawNode(node, at));
    }
    const cards = [...this.#nodes.values()].map(({ element }) => element);
    const { content, root } = this.#viewport;
    content.replaceChildren(
      svg("g", { class: "lines" }, ...lines),
      svg("g", { class: "cards" }, ...cards),
      svg("g", { class: "labels" }, ...labels),
    );
    root.classList.toggle("crowded", this.#isCrowded);
    this.#showQuiet(layout.quiet);
    this.#viewport.show(layout.width, layout.height);
  }

  #showQuiet(quiet: readonly NodeView[]): void {
    this.#quiet.hidden = quiet.length === 0;
    if (quiet.length === 0) return;
    this.#quiet.replaceChildren(
      h("span", {}, "Without traffic:"),
      ...quiet.map((node) => {
        const chip = h("button", { type: "button", class: "chip" }, node.name);
        chip.addEventListener("click", () => this.#events.onSelect(node));
        return chip;
      }),
    );
  }

  #drawNode(node: NodeView, { x, y }: Point): DrawnNode {
    const { width, height } = NODE;
    const sub = svg("text", { class: "sub", x: 18, y: 48 });
    const sign = svg("text", { class: "sign", x: width - 16, y: 28, "text-anchor": "end" });
    const charsMax = this.#isCrowded ? CROWDED_NAME_CHARS_MAX : NAME_CHARS_MAX;
    const middle = this.#isCrowded ? 41 : 27;
    const name = svg(
      "text",
      { class: "name", x: 18, y: middle },
      shortened(nameOf(node), charsMax),
    );
    const title = svg("title");
    const element = svg(
      "g",
      { transform: `translate(${x - width / 2} ${y - height / 2})`, tabindex: 0, role: "button" },
      title,
      svg("rect", { class: "card", width, height, rx: 12 }),
      svg("rect", { class: "stripe", x: 0, y: 14, width: 4, height: height - 28, rx: 2 }),
      name,
      sub,
      sign,
    );
    let current = node;
    const choose = (): void => this.#events.onSelect(current);
    element.addEventListener("click", choose);
    element.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      choose();
    });
    const update = (now: NodeView, isCalling: boolean): void => {
      current = now;
      const figures = figuresLine(now, isCalling);
      setAttribute(element, "data-health", now.health);
      setAttribute(element, "data-kind", now.kind);
      setText(sub, figures);
      setText(sign, SIGNS[now.health]);
      const words = `${now.name}: ${HEALTH_WORDS[now.health]}, ${figures}`;
      setAttribute(element, "aria-label", words);
      setText(title, `${now.name}${now.namespace === "" ? "" : `.${now.namespace}`}\n${figures}`);
    };
    return { element, update };
  }

  /** The selected node and its neighbours, or what is searched for, stand out. */
  #emphasize(): void {
    const { nodes = [], edges = [] } = this.#graph ?? {};
    const matches = (id: string): boolean => {
      const node = nodes.find((one) => one.id === id);
      return `${node?.name}.${node?.namespace}`.toLowerCase().includes(this.#search);
    };
    const isNear = ({ source, destination }: EdgeView): boolean =>
      this.#selected === undefined || source === this.#selected || destination === this.#selected;
    const bright = new Set<string>();
    if (this.#selected !== undefined) bright.add(this.#selected);
    for (const edge of edges) {
      const isBright = isNear(edge) && (matches(edge.source) || matches(edge.destination));
      if (isBright) for (const id of [edge.source, edge.destination]) bright.add(id);
      const drawn = this.#edges.get(edge.id);
      drawn?.element.classList.toggle("dim", !isBright);
      drawn?.element.classList.toggle("near", isBright && this.#selected !== undefined);
      drawn?.line.classList.toggle("dim", !isBright);
    }
    for (const [id, { element }] of this.#nodes) {
      const isBright =
        this.#selected === undefined ? matches(id) || bright.has(id) : bright.has(id);
      element.classList.toggle("dim", !isBright);
      element.classList.toggle("selected", id === this.#selected);
      setAttribute(element, "aria-pressed", String(id === this.#selected));
    }
  }
}

const SIGNS = { ok: "", degraded: "!", failing: "✕", idle: "" } as const;

const figuresLine = (node: NodeView, isCalling: boolean): string => {
  const { figures, health, versions } = node;
  const shown = versions.length > 1 ? ` · ${versions.length} versions` : "";
  if (health === "idle")
    return node.kind === "host" || node.kind === "outside"
      ? KIND_WORDS[node.kind]
      : `${isCalling ? "only calls others" : "no traffic"}${shown}`;
  return `${figuresText(figures)}${shown}`;
};
const KIND_WORDS = { host: "processes of no workload", outside: "not of this mesh" } as const;

interface DrawnEdge {
  update(edge: EdgeView): void;
  readonly element: SVGGElement;
  readonly line: SVGGElement;
}

function drawEdge(edge: EdgeView, layout: Layout): DrawnEdge | undefined {
  const placed = layout.edges.get(edge.id);
  if (placed === undefined) return undefined;
  const path = pathThrough(placed.points);
  const stroke = svg("path", { class: "stroke", d: path });
  const title = svg("title");
  const line = svg(
    "g",
    { class: "line" },
    stroke,
    svg("path", { class: "head", d: headAt(placed.points) }),
  );
  const words = svg("text", { x: 12, y: 4, "text-anchor": "middle" });
  const { width, height } = PILL;
  const key = lock();
  key.element.setAttribute("transform", `translate(${-width / 2 + 8} -7)`);
  const element = svg(
    "g",
    { class: "label", transform: `translate(${placed.label.x} ${placed.label.y})` },
    title,
    svg("rect", { x: -width / 2, y: -height / 2, width, height, rx: height / 2 }),
    key.element,
    words,
  );
  const update = (now: EdgeView): void => {
    for (const one of [line, element]) setAttribute(one, "data-health", now.health);
    setAttribute(stroke, "stroke-width", thickness(now).toFixed(1));
    key.show(now.mtls);
    setText(words, labelOf(now));
    setText(title, toldOf(now));
  };
  return { element, line, update };
}

const labelOf = ({ health, figures, problem }: EdgeView): string => {
  if (health === "idle") return "no traffic";
  if (problem !== undefined && health === "failing")
    return `✕ ${shortened(problem.split(",")[0] ?? "", 20)}`;
  const latency = figures.p95Ms === undefined ? "" : ` · ${msText(figures.p95Ms)}`;
  return `${figuresText(figures)}${latency}`;
};

/** An open connection moves bytes; until one begins or breaks there is no success to tell. */
const figuresText = (figures: Figures): string =>
  figures.successRatio === undefined
    ? rateText(figures)
    : `${rateText(figures)} · ${successText(figures)}`;

const toldOf = ({ figures, mtls, problem, protocol }: EdgeView): string => {
  const { p50Ms, p95Ms, p99Ms } = figures;
  const lines = [
    problem,
    `${protocol.toUpperCase()}, ${LOCK_WORDS[mtls]}`,
    `${rateText(figures)}, success ${successText(figures)}`,
    p50Ms === undefined
      ? undefined
      : `p50 ${msText(p50Ms)}, p95 ${msText(p95Ms)}, p99 ${msText(p99Ms)}`,
  ];
  return lines.filter((text) => text !== undefined).join("\n");
};

/** Ten times the rate, one and a half pixels more. */
const thickness = ({ figures }: EdgeView): number => {
  const weight = figures.requestsPerSecond + figures.connectionsPerSecond;
  return Math.min(6, 1.6 + 1.2 * Math.log10(1 + weight));
};

/** An arrow's head where the line ends. */
function headAt(points: readonly Point[]): string {
  const end = points.at(-1);
  const before = points.at(-2);
  if (end === undefined || before === undefined) return "";
  const angle = Math.atan2(end.y - before.y, end.x - before.x);
  const corner = (turn: number): string =>
    `${(end.x - 9 * Math.cos(angle + turn)).toFixed(1)},${(end.y - 9 * Math.sin(angle + turn)).toFixed(1)}`;
  return `M${end.x.toFixed(1)},${end.y.toFixed(1)}L${corner(0.45)}L${corner(-0.45)}Z`;
}
