// A window of the history as a graph of services (or of workloads). Pure: history, facts and a moment in, nodes and edges out.
//
// Both ends of an edge may have told of it. The source knows more (what never arrived), so its word is taken; the destination's
// where the source has no agent. A caller is drawn as the first service that it backs, so that chains hang together.
import {
  EDGE_REPORT_INTERVAL_MS,
  type EdgeEnd,
  type EdgeView,
  type FailedAnswer,
  type GraphView,
  type NodeView,
  UNKNOWN,
} from "../../agent/api/edges.ts";
import { figuresOf, healthOf, isIdle, problemOf } from "./edge-figures.ts";
import type { EdgeHistory } from "./edge-history.ts";
import { type EdgeRecord, FIELD, FIELDS, windowBefore } from "./edge-record.ts";
import type { MeshFacts } from "./mesh-facts.ts";

export interface GraphQuestion {
  readonly nowMs: number;
  readonly windowSeconds: number;
  readonly by: "service" | "workload";
}

interface Heard {
  readonly record: EdgeRecord;
  readonly sum: Float64Array;
  readonly answers: readonly FailedAnswer[];
}

type Node = Pick<NodeView, "id" | "name" | "namespace" | "kind">;

interface Edge {
  readonly source: Node;
  readonly destination: Node;
  readonly protocol: EdgeView["protocol"];
  readonly sum: Float64Array;
  readonly answers: FailedAnswer[];
  readonly weights: { mutual_tls: number; none: number; unknown: number };
}

export function graphOf(
  history: EdgeHistory,
  facts: MeshFacts,
  question: GraphQuestion,
): GraphView {
  const { nowMs, windowSeconds, by } = question;
  const naming = new Naming(facts, by);
  const edges = merged(oneWord(heardIn(history, question)), naming);
  const nodes = new Map<string, { node: Node; sum: Float64Array }>();
  const nodeSum = (node: Node): Float64Array => {
    const known = nodes.get(node.id) ?? { node, sum: new Float64Array(FIELDS) };
    nodes.set(node.id, known);
    return known.sum;
  };
  if (by === "service") for (const host of facts.services.keys()) nodeSum(naming.service(host));
  for (const { source, destination, sum } of edges) {
    nodeSum(source);
    addTo(nodeSum(destination), sum);
  }
  return {
    atMs: nowMs,
    windowSeconds,
    nodes: [...nodes.values()]
      .map(({ node, sum }) => nodeView(node, sum, windowSeconds, facts))
      .sort((a, b) => (a.id < b.id ? -1 : 1)),
    edges: edges.map((edge) => edgeView(edge, windowSeconds)).sort(byTrouble),
    notes: { omitted: history.omitted, evicted: history.evicted, refused: history.refused },
  };
}

function heardIn(history: EdgeHistory, { nowMs, windowSeconds }: GraphQuestion): Heard[] {
  const window = windowBefore(nowMs, windowSeconds * 1000, EDGE_REPORT_INTERVAL_MS);
  const sinceMs = window.firstSlot * window.slotMs;
  return [...history.records].map((record) => {
    const sum = new Float64Array(FIELDS);
    record.sum(sum, window);
    return { record, sum, answers: record.answersSince(sinceMs) };
  });
}

/** Of two words on the same traffic, one. */
function oneWord(heard: readonly Heard[]): Heard[] {
  const groups = new Map<string, Heard[]>();
  for (const one of heard) {
    const { source, destination, service, protocol } = one.record.facts;
    const key = JSON.stringify([
      source.identity,
      service,
      destination.namespace,
      destination.workload,
      protocol,
    ]);
    groups.set(key, [...(groups.get(key) ?? []), one]);
  }
  return [...groups.values()].flatMap((group) => {
    const bySource = group.filter(({ record }) => record.facts.reporter === "source");
    const byDestination = group.filter(({ record }) => record.facts.reporter === "destination");
    const isSourceSilent = bySource.every(({ sum }) => isIdle(sum));
    const isDestinationSilent = byDestination.every(({ sum }) => isIdle(sum));
    return bySource.length > 0 && (!isSourceSilent || isDestinationSilent)
      ? bySource
      : byDestination;
  });
}

function merged(heard: readonly Heard[], naming: Naming): Edge[] {
  const edges = new Map<string, Edge>();
  for (const { record, sum, answers } of heard) {
    const { source, destination, service, protocol, security } = record.facts;
    const from = naming.caller(source);
    const to = naming.called(service, destination);
    const id = edgeId(from, to, protocol);
    let edge = edges.get(id);
    if (edge === undefined) {
      const weights = { mutual_tls: 0, none: 0, unknown: 0 };
      edge = {
        source: from,
        destination: to,
        protocol,
        sum: new Float64Array(FIELDS),
        answers: [],
        weights,
      };
      edges.set(id, edge);
    }
    addTo(edge.sum, sum);
    edge.answers.push(...answers);
    // By requests and connections; an open connection that only moves bytes still has a lock or none.
    edge.weights[security] +=
      (sum[FIELD.requests] ?? 0) + (sum[FIELD.opened] ?? 0) + (isIdle(sum) ? 0 : 1e-6);
  }
  return [...edges.values()];
}

const edgeId = (from: Node, to: Node, protocol: string): string =>
  `${from.id}>${to.id}>${protocol}`;

function addTo(sum: Float64Array, more: Float64Array): void {
  for (let i = 0; i < FIELDS; i++) sum[i] = (sum[i] as number) + (more[i] as number);
}

/** What the ends of an edge are called, and which of them are the same. */
class Naming {
  readonly #facts: MeshFacts;
  readonly #by: "service" | "workload";

  constructor(facts: MeshFacts, by: "service" | "workload") {
    this.#facts = facts;
    this.#by = by;
  }

  service(host: string): Node {
    const { name, namespace } = this.#facts.services.get(host) ?? { name: host, namespace: "" };
    const isOurs = host.endsWith(".mesh") || this.#facts.endpointsOf(host).some((e) => e.hasAgent);
    return { id: `service/${host}`, name, namespace, kind: isOurs ? "service" : "outside" };
  }

  #workload(namespace: string, name: string): Node {
    const [service] =
      this.#by === "service" ? (this.#facts.workload(namespace, name)?.services ?? []) : [];
    if (service !== undefined && this.#facts.services.has(service)) return this.service(service);
    return { id: `workload/${namespace}/${name}`, name, namespace, kind: "workload" };
  }

  caller({ workload, namespace, identity }: EdgeEnd): Node {
    if (workload !== UNKNOWN) return this.#workload(namespace, workload);
    if (identity === UNKNOWN) return CLIENTS;
    const host = this.#facts.hostOf(identity);
    if (host !== undefined) return { id: `host/${host}`, name: host, namespace: "", kind: "host" };
    const [known] = this.#facts.workloadsOf(identity);
    if (known !== undefined) return this.#workload(known.namespace, known.name);
    return {
      id: `identity/${identity}`,
      name: identity.slice(identity.lastIndexOf("/") + 1),
      namespace,
      kind: "workload",
    };
  }

  called(service: string, { workload, namespace }: EdgeEnd): Node {
    if (this.#by === "workload" && workload !== UNKNOWN) return this.#workload(namespace, workload);
    return service === UNKNOWN ? ELSEWHERE : this.service(service);
  }
}

const CLIENTS: Node = {
  id: "outside/clients",
  name: "plaintext clients",
  namespace: "",
  kind: "outside",
};
const ELSEWHERE: Node = {
  id: "outside/elsewhere",
  name: "outside the mesh",
  namespace: "",
  kind: "outside",
};

function nodeView(
  node: Node,
  sum: Float64Array,
  windowSeconds: number,
  facts: MeshFacts,
): NodeView {
  const endpoints = node.id.startsWith("service/")
    ? facts.endpointsOf(node.id.slice("service/".length))
    : [];
  const versions = new Set(endpoints.flatMap(({ labels }) => labels["version"] ?? []));
  return {
    ...node,
    health: healthOf(sum),
    figures: figuresOf(sum, windowSeconds),
    endpoints: endpoints.length,
    versions: [...versions].sort(),
  };
}

function edgeView(
  { source, destination, protocol, sum, answers, weights }: Edge,
  windowSeconds: number,
): EdgeView {
  return {
    id: edgeId(source, destination, protocol),
    source: source.id,
    destination: destination.id,
    protocol,
    mtls: mtlsOf(weights),
    health: healthOf(sum),
    figures: figuresOf(sum, windowSeconds),
    problem: problemOf(sum, answers),
  };
}

function mtlsOf({ mutual_tls, none }: Edge["weights"]): EdgeView["mtls"] {
  if (mutual_tls > 0) return none > 0 ? "some" : "all";
  return none > 0 ? "none" : "unknown";
}

const TROUBLE = { failing: 0, degraded: 1, ok: 2, idle: 3 } as const;
/** What is wrong first, then the busiest. */
const byTrouble = (a: EdgeView, b: EdgeView): number =>
  TROUBLE[a.health] - TROUBLE[b.health] ||
  b.figures.requestsPerSecond - a.figures.requestsPerSecond ||
  (a.id < b.id ? -1 : 1);
