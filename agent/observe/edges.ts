// Who calls whom, from the counters there are: the main thread reads the tables of all threads, and what they grew by since it
// looked last is told by edge. The data path counts nothing for it. Edges are as bounded as the series they are made of.
import {
  ANSWERS_PER_EDGE_MAX,
  EDGES_PER_REPORT_MAX,
  type EdgeEnd,
  type EdgeSample,
  type FailedAnswer,
  HISTOGRAM_BOUNDS,
  UNKNOWN,
} from "../api/edges.ts";
import type { TableView } from "./prometheus.ts";
import type { SeriesAnnouncement, SeriesLabels } from "./series.ts";

export interface EdgesTaken {
  readonly edges: readonly EdgeSample[];
  /** Requests and connections of no edge in the list. */
  readonly omitted: number;
}

/** Ways a connection ends that are nobody's fault: in order, and by the downstream's own will. */
const ENDED_WELL = ["-", "DC"];

/** What one series adds to its edge. `grown` holds the growth of each of its cells. */
type Adder = (edge: Tally, grown: Float64Array) => void;

interface Followed {
  readonly index: number;
  readonly seen: Float64Array;
  readonly edge: Tally;
  readonly add: Adder;
}

interface FollowedTable {
  readonly cells: Float64Array;
  readonly series: Followed[];
  announced: number;
}

export class EdgeSummary {
  readonly #tables = new Map<SharedArrayBuffer, FollowedTable>();
  readonly #edges = new Map<string, Tally>();
  /** Takes what series without an edge of their own grow by (see series.ts, overflow). */
  readonly #nobody = new Tally(undefined);

  /** What came since the last call, busiest edges first; each table's first call tells all it ever counted.
   *  A table that is missing once must not come back. */
  take(tables: readonly TableView[]): EdgesTaken {
    for (const table of tables) this.#read(table);
    const current = new Set(tables.map(({ memory }) => memory));
    for (const memory of this.#tables.keys()) if (!current.has(memory)) this.#tables.delete(memory);
    const busy = [...this.#edges.values()].filter((edge) => edge.isBusy);
    busy.sort((a, b) => b.weight - a.weight);
    const told = busy.slice(0, EDGES_PER_REPORT_MAX);
    const edges = told.flatMap((edge) => edge.sample() ?? []);
    const left = busy.slice(EDGES_PER_REPORT_MAX);
    const omitted = left.reduce((sum, edge) => sum + edge.weight, this.#nobody.weight);
    for (const edge of busy) edge.clear();
    this.#nobody.clear();
    return { edges, omitted };
  }

  #read({ memory, series }: TableView): void {
    let table = this.#tables.get(memory);
    if (table === undefined) {
      table = { cells: new Float64Array(memory), series: [], announced: 0 };
      this.#tables.set(memory, table);
    }
    for (; table.announced < series.length; table.announced++) {
      const announced = series[table.announced];
      if (announced !== undefined) this.#follow(table, announced);
    }
    for (const one of table.series) grow(one, table.cells);
  }

  #follow(table: FollowedTable, { name, labels, index, buckets }: SeriesAnnouncement): void {
    const add = adderOf(name, labels);
    if (add === undefined) return;
    const seen = new Float64Array(buckets === undefined ? 1 : buckets.length + 2);
    table.series.push({ index, seen, edge: this.#edgeOf(labels), add });
  }

  #edgeOf(labels: SeriesLabels): Tally {
    const facts = factsOf(labels);
    if (facts === undefined) return this.#nobody;
    const key = JSON.stringify(facts);
    const known = this.#edges.get(key);
    if (known !== undefined) return known;
    const made = new Tally(facts);
    this.#edges.set(key, made);
    return made;
  }
}

/** The threads write meanwhile: each cell is read once, so that nothing is told twice or lost. */
function grow({ index, seen, edge, add }: Followed, cells: Float64Array): void {
  let grown: Float64Array | undefined;
  for (let i = 0; i < seen.length; i++) {
    const now = cells[index + i] as number;
    const before = seen[i] as number;
    if (now === before) continue;
    grown ??= new Float64Array(seen.length);
    grown[i] = now - before;
    seen[i] = now;
  }
  if (grown !== undefined) add(edge, grown);
}

type EdgeFacts = Pick<
  EdgeSample,
  "reporter" | "source" | "destination" | "service" | "protocol" | "security"
>;

/** Undefined: an overflow series, which is of no edge. */
function factsOf(labels: SeriesLabels): EdgeFacts | undefined {
  const { reporter, request_protocol, connection_security_policy: security } = labels;
  if (reporter !== "source" && reporter !== "destination") return undefined;
  return {
    reporter,
    source: endOf(labels, "source"),
    destination: endOf(labels, "destination"),
    service: labels["destination_service"] ?? UNKNOWN,
    protocol: request_protocol === "tcp" || request_protocol === "udp" ? request_protocol : "http",
    security: security === "mutual_tls" || security === "none" ? security : UNKNOWN,
  };
}

const endOf = (labels: SeriesLabels, side: "source" | "destination"): EdgeEnd => ({
  workload: labels[`${side}_workload`] ?? UNKNOWN,
  namespace: labels[`${side}_workload_namespace`] ?? UNKNOWN,
  identity: labels[`${side}_principal`] ?? UNKNOWN,
});

/** Undefined: a series that says nothing of edges. */
function adderOf(name: string, labels: SeriesLabels): Adder | undefined {
  switch (name) {
    case "istio_requests_total": {
      const status = Number(labels["response_code"] ?? 0);
      const flags = labels["response_flags"] ?? "-";
      return (edge, grown) => edge.answered(status, flags, grown[0] ?? 0);
    }
    case "istio_request_duration_milliseconds":
      return (edge, grown) => edge.took(grown);
    case "istio_tcp_connections_opened_total":
    case "ironmesh_udp_flows_opened_total":
      return (edge, [count = 0]) => {
        edge.opened += count;
      };
    case "istio_tcp_connections_closed_total":
    case "ironmesh_udp_flows_closed_total":
      return ENDED_WELL.includes(labels["response_flags"] ?? "-")
        ? undefined
        : (edge, [count = 0]) => {
            edge.broken += count;
          };
    case "istio_tcp_sent_bytes_total":
    case "ironmesh_udp_sent_bytes_total":
      return (edge, [count = 0]) => {
        edge.sentBytes += count;
      };
    case "istio_tcp_received_bytes_total":
    case "ironmesh_udp_received_bytes_total":
      return (edge, [count = 0]) => {
        edge.receivedBytes += count;
      };
    default:
      return undefined;
  }
}

/** What one edge grew by since it was cleared. */
class Tally {
  readonly #facts: EdgeFacts | undefined;
  readonly #latencies = new Float64Array(HISTOGRAM_BOUNDS.length + 1);
  readonly #answers = new Map<string, FailedAnswer>();
  #requests = 0;
  #failed = 0;
  opened = 0;
  broken = 0;
  sentBytes = 0;
  receivedBytes = 0;

  constructor(facts: EdgeFacts | undefined) {
    this.#facts = facts;
  }

  /** Requests and connections. */
  get weight(): number {
    return this.#requests + this.opened + this.broken;
  }
  get isBusy(): boolean {
    return this.weight > 0 || this.sentBytes > 0 || this.receivedBytes > 0;
  }

  answered(status: number, flags: string, count: number): void {
    this.#requests += count;
    const isUnanswered = status === 0 && !ENDED_WELL.includes(flags);
    if (status >= 500 || isUnanswered) this.#failed += count;
    if (status >= 400 || status === 0) {
      const key = `${status} ${flags}`;
      const before = this.#answers.get(key)?.count ?? 0;
      this.#answers.set(key, { status, flags, count: before + count });
    }
  }

  took(grown: Float64Array): void {
    const latencies = this.#latencies;
    for (let i = 0; i < latencies.length; i++) {
      latencies[i] = (latencies[i] as number) + (grown[i] as number);
    }
  }

  sample(): EdgeSample | undefined {
    if (this.#facts === undefined) return undefined;
    const { opened, broken, sentBytes, receivedBytes } = this;
    const latencies: [number, number][] = [];
    for (const [bucket, count] of this.#latencies.entries()) {
      if (count > 0) latencies.push([bucket, count]);
    }
    const answers = [...this.#answers.values()]
      .sort((a, b) => b.count - a.count)
      .slice(0, ANSWERS_PER_EDGE_MAX);
    const requests = this.#requests;
    const failed = this.#failed;
    const counts = { requests, failed, answers, latencies, opened, broken };
    return { ...this.#facts, ...counts, sentBytes, receivedBytes };
  }

  clear(): void {
    this.#requests = 0;
    this.#failed = 0;
    this.#latencies.fill(0);
    this.#answers.clear();
    this.opened = 0;
    this.broken = 0;
    this.sentBytes = 0;
    this.receivedBytes = 0;
  }
}
