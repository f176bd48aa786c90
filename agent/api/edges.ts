// Who calls whom: what agents tell of it over their session, and what the config server answers to operators and to its own page.
// Types and bounds only, so that a data thread that shares the histogram's bounds loads nothing else.

/** Envoy's default histogram buckets (upper bounds), which Istio's metrics have in milliseconds and in bytes. */
export const HISTOGRAM_BOUNDS: readonly number[] = [
  0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000, 60_000, 300_000, 600_000,
  1_800_000, 3_600_000,
];

/** Version of EdgeReport. A server counts and leaves out reports of a version it does not know; it is upgraded before its agents. */
export const EDGES_FORMAT = 1;
export const EDGE_REPORT_INTERVAL_MS = 5_000;
/** Edges of one report, the busiest first; what is left out is counted. */
export const EDGES_PER_REPORT_MAX = 1_000;
/** Kinds of failed answers of one edge in one report, the most frequent first. */
export const ANSWERS_PER_EDGE_MAX = 8;
/** A name or an identity that is not known, as Istio's metrics write it. */
export const UNKNOWN = "unknown";

/** Traffic of the last `overMs`, as one agent counted it: differences, never totals. */
export interface EdgeReport {
  readonly type: "edges";
  readonly format: typeof EDGES_FORMAT;
  readonly overMs: number;
  readonly edges: readonly EdgeSample[];
  /** Requests and connections that belong to no edge of the list: more edges than fit, or the overflow series. */
  readonly omitted: number;
}

/** One end of an edge; every text may be UNKNOWN. */
export interface EdgeEnd {
  readonly workload: string;
  readonly namespace: string;
  /** SPIFFE ID. */
  readonly identity: string;
}

/** Of `tcp` and `udp` connections are counted; a flow of datagrams is one. */
export type EdgeProtocol = "http" | "tcp" | "udp";

export interface EdgeSample {
  /** Which end this agent stands at. */
  readonly reporter: "source" | "destination";
  readonly source: EdgeEnd;
  readonly destination: EdgeEnd;
  /** Canonical host of the service that was meant. */
  readonly service: string;
  readonly protocol: EdgeProtocol;
  /** `unknown`: no endpoint was reached, so nothing went anywhere. */
  readonly security: "mutual_tls" | "none" | "unknown";
  readonly requests: number;
  /** Of those: answered 5xx, or never answered though the client waited. */
  readonly failed: number;
  /** Answers of 400 and more, and none (status 0), with Envoy's response flags. */
  readonly answers: readonly FailedAnswer[];
  /** [index into HISTOGRAM_BOUNDS, count]; the index after the last bound is +Inf. */
  readonly latencies: readonly (readonly [bucket: number, count: number])[];
  /** Opaque connections. */
  readonly opened: number;
  /** Of those that ended: not by the will of either end. */
  readonly broken: number;
  /** As Istio counts: `received` from downstream, `sent` to it. */
  readonly sentBytes: number;
  readonly receivedBytes: number;
}

export interface FailedAnswer {
  readonly status: number;
  readonly flags: string;
  readonly count: number;
}

/** GET /v1/graph?window=SECONDS&by=service|workload: a window of traffic as nodes and edges. */
export interface GraphView {
  readonly atMs: number;
  readonly windowSeconds: number;
  readonly nodes: readonly NodeView[];
  readonly edges: readonly EdgeView[];
  readonly notes: GraphNotes;
}
export const WINDOW_SECONDS_DEFAULT = 60;
export const WINDOW_SECONDS_MIN = 10;
export const WINDOW_SECONDS_MAX = 3_600;

/** What the graph does not show, and why. All counts are since the server started. */
export interface GraphNotes {
  /** Requests and connections that agents did not itemise. */
  readonly omitted: number;
  /** Edges that were dropped because the history was full. */
  readonly evicted: number;
  /** Samples that were refused because the host may not say that, by reason. */
  readonly refused: { readonly [reason: string]: number };
}

/** `idle`: no traffic in the window. */
export type Health = "ok" | "degraded" | "failing" | "idle";

export interface Figures {
  /** In the window. */
  readonly requests: number;
  readonly requestsPerSecond: number;
  /** Of requests, or of connections where there are no requests; undefined: neither. */
  readonly successRatio: number | undefined;
  /** From histogram buckets, so as exact as they are wide. Undefined without requests. */
  readonly p50Ms: number | undefined;
  readonly p95Ms: number | undefined;
  readonly p99Ms: number | undefined;
  readonly connectionsPerSecond: number;
  readonly sentBytesPerSecond: number;
  readonly receivedBytesPerSecond: number;
}

export interface NodeView {
  readonly id: string;
  readonly name: string;
  readonly namespace: string;
  /** `workload`: backs no service; `host`: processes of no workload; `outside`: not of the mesh. */
  readonly kind: "service" | "workload" | "host" | "outside";
  /** Of what arrives there. */
  readonly health: Health;
  readonly figures: Figures;
  readonly endpoints: number;
  readonly versions: readonly string[];
}

export interface EdgeView {
  readonly id: string;
  /** Node ids. */
  readonly source: string;
  readonly destination: string;
  readonly protocol: EdgeProtocol;
  readonly mtls: "all" | "some" | "none" | "unknown";
  readonly health: Health;
  readonly figures: Figures;
  /** What is wrong, in words; undefined while nothing is. */
  readonly problem: string | undefined;
}

/** What the page is pushed every two seconds. */
export interface LiveView {
  readonly graph: GraphView;
  readonly mesh: { readonly version: number; readonly hosts: number; readonly connected: number };
}

/** What the page shows of one service. */
export interface ServiceView {
  readonly host: string;
  readonly name: string;
  readonly namespace: string;
  readonly addresses: readonly string[];
  readonly ports: readonly {
    readonly port: number;
    readonly name: string;
    readonly protocol: string;
  }[];
  readonly endpoints: readonly EndpointView[];
  /** Resources that shape its traffic or guard it, as `KIND NAMESPACE/NAME`. */
  readonly policies: readonly { readonly kind: string; readonly title: string }[];
  /** Newest first. */
  readonly changes: readonly {
    readonly version: number;
    readonly atMs: number;
    readonly who: string;
    readonly what: string;
  }[];
}

export interface EndpointView {
  readonly address: string;
  readonly host: string;
  readonly workload: string;
  readonly version: string | undefined;
  readonly identity: string | undefined;
  /** Whether its agent talks to this server now; undefined where there is no agent. */
  readonly isConnected: boolean | undefined;
}
