// Traffic as tables: what `edges`, `stat` and `top` share.
import type { EdgeView, Figures, GraphView, Health, NodeView } from "../agent/api/edges.ts";
import { usage } from "./failure.ts";
import type { Table } from "./output.ts";

type Paint = (text: string) => string;
export interface HealthColours {
  readonly red: Paint;
  readonly yellow: Paint;
  readonly dim: Paint;
}

const WINDOW = /^(\d+)(s|m|h)?$/;
const SECONDS = { s: 1, m: 60, h: 3_600 } as const;

/** `90`, `90s`, `5m`, `1h`; the server says what it takes. */
export function parseWindow(text: string): number {
  const [, digits, unit] = WINDOW.exec(text) ?? [];
  if (digits === undefined)
    throw usage(`${JSON.stringify(text)} is no window; write 90s, 5m or 1h`);
  return Number(digits) * SECONDS[(unit ?? "s") as keyof typeof SECONDS];
}

/** Both ends' namespaces count; without a name: everything. */
export function ofNamespace(graph: GraphView, namespace: string | undefined): GraphView {
  if (namespace === undefined) return graph;
  const inside = new Set(graph.nodes.filter((n) => n.namespace === namespace).map(({ id }) => id));
  const edges = graph.edges.filter((e) => inside.has(e.source) || inside.has(e.destination));
  const touched = new Set([...inside, ...edges.flatMap((e) => [e.source, e.destination])]);
  return { ...graph, edges, nodes: graph.nodes.filter(({ id }) => touched.has(id)) };
}

export function edgesTable(graph: GraphView, colours?: HealthColours): Table {
  const names = new Map(graph.nodes.map((node) => [node.id, nameOf(node)]));
  return {
    columns: ["from", "to", "protocol", "rate", "success", "p50", "p95", "p99", "mtls", "problem"],
    rows: graph.edges.map((edge) => {
      const { figures } = edge;
      return [
        names.get(edge.source) ?? edge.source,
        names.get(edge.destination) ?? edge.destination,
        edge.protocol,
        rateText(figures, edge.protocol),
        successText(figures),
        ...latencies(figures),
        MTLS[edge.mtls],
        edge.problem ?? "",
      ];
    }),
    ...paintOf(
      colours,
      graph.edges.map(({ health }) => health),
    ),
    empty: NOTHING,
  };
}

export function statTable({ nodes, edges }: GraphView, colours?: HealthColours): Table {
  const callers = (id: string): number =>
    new Set(edges.filter((e) => e.destination === id).map(({ source }) => source)).size;
  const called = nodes.filter(
    (n) => n.kind === "service" || edges.some((e) => e.destination === n.id),
  );
  return {
    columns: [
      "service",
      "endpoints",
      "versions",
      "callers",
      "rate",
      "success",
      "p50",
      "p95",
      "p99",
      "bytes out",
    ],
    rows: called.map((node) => {
      const { figures } = node;
      const isTcp = figures.requestsPerSecond === 0;
      return [
        nameOf(node),
        node.kind === "service" ? String(node.endpoints) : "-",
        node.versions.join(", ") || "-",
        String(callers(node.id)),
        rateText(figures, isTcp ? "tcp" : "http"),
        successText(figures),
        ...latencies(figures),
        isTcp && figures.sentBytesPerSecond > 0
          ? `${bytesText(figures.sentBytesPerSecond)}/s`
          : "-",
      ];
    }),
    ...paintOf(
      colours,
      called.map(({ health }) => health),
    ),
    empty: "no service is declared yet: apply a Workload (docs/resources.md)",
  };
}

const NOTHING =
  "no traffic was reported yet: agents tell every 5 s of what goes through them; `meshctl status` shows who is connected";

const MTLS: Readonly<Record<EdgeView["mtls"], string>> = {
  all: "yes",
  some: "PARTLY",
  none: "NO",
  unknown: "-",
};

const KINDS: Readonly<Record<NodeView["kind"], string>> = {
  service: "",
  workload: "",
  host: "host ",
  outside: "",
};
const nameOf = ({ kind, name, namespace }: NodeView): string =>
  `${KINDS[kind]}${name}${namespace === "" || namespace === "default" || name.includes(".") ? "" : `.${namespace}`}`;

function paintOf(
  colours: HealthColours | undefined,
  healths: readonly Health[],
): Pick<Table, "paint"> {
  if (colours === undefined) return {};
  const { red, yellow, dim } = colours;
  const paints = { failing: red, degraded: yellow, ok: undefined, idle: dim } as const;
  return { paint: (row) => paints[healths[row] ?? "ok"] };
}

export function rateText(figures: Figures, protocol: EdgeView["protocol"]): string {
  const bytes = figures.sentBytesPerSecond + figures.receivedBytesPerSecond;
  if (figures.successRatio === undefined) return bytes === 0 ? "-" : `${bytesText(bytes)}/s`;
  if (protocol === "http") return `${decimal(figures.requestsPerSecond)}/s`;
  const opened = protocol === "udp" ? "flow/s" : "conn/s";
  return `${decimal(figures.connectionsPerSecond)} ${opened}, ${bytesText(bytes)}/s`;
}

/** Never rounded up to 100 %: a single failure shows. */
export function successText({ successRatio }: Figures): string {
  if (successRatio === undefined) return "-";
  if (successRatio === 1) return "100 %";
  // Sums are of 32 bits: what is 90 % must not show as 89.99.
  const percent = Math.floor(successRatio * 10_000 + 0.01) / 100;
  return `${Math.min(99.99, percent).toFixed(2)} %`;
}

const latencies = ({ p50Ms, p95Ms, p99Ms }: Figures): string[] => [p50Ms, p95Ms, p99Ms].map(msText);

export function msText(ms: number | undefined): string {
  if (ms === undefined) return "-";
  if (ms >= 1_000) return `${(ms / 1_000).toFixed(1)} s`;
  return `${ms >= 10 ? Math.round(ms) : ms.toFixed(1)} ms`;
}

const decimal = (value: number): string => (value > 0 && value < 0.05 ? "<0.1" : inDigits(value));

const inDigits = (value: number): string =>
  value >= 100 || value === 0 ? String(Math.round(value)) : value.toFixed(1);

function bytesText(bytes: number): string {
  if (bytes < 1_000) return `${Math.round(bytes)} B`;
  if (bytes < 1_000_000) return `${(bytes / 1_000).toFixed(1)} kB`;
  return `${(bytes / 1_000_000).toFixed(1)} MB`;
}

/** What the numbers leave out, one line each; none: they leave out nothing. */
export function notesOf({ notes }: GraphView): string[] {
  const { omitted, evicted, refused } = notes;
  const lines: string[] = [];
  if (omitted > 0)
    lines.push(`${omitted} requests and connections belong to edges that agents could not itemise`);
  if (evicted > 0) lines.push(`${evicted} edges were dropped: the server keeps 5,000`);
  for (const [reason, count] of Object.entries(refused))
    lines.push(
      `${count} samples were refused (${reason.replaceAll("_", " ")}): see the server's log`,
    );
  return lines;
}
