// Istio's standard metrics (istio.io/latest/docs/reference/config/metrics), under their exact names and labels, so that
// dashboards and Kiali work unchanged. A family is what is known before a request ends (who talks to whom); each outcome of
// it is a set of series, found without building a string when it repeats.
import { HISTOGRAM_BOUNDS as BUCKETS } from "../api/edges.ts";
import type { Counter, Histogram, SeriesLabels, SeriesTable } from "./series.ts";

/** One side of a request. What is not known is "unknown", as Istio writes it. */
export interface Party {
  readonly workload: string;
  readonly namespace: string;
  readonly principal: string;
  readonly app: string;
  readonly version: string;
}
export const UNKNOWN_PARTY: Party = {
  workload: "unknown",
  namespace: "unknown",
  principal: "unknown",
  app: "unknown",
  version: "unknown",
};

export interface Traffic {
  readonly reporter: "source" | "destination";
  readonly source: Party;
  readonly destination: Party;
  /** Canonical host, its name and namespace. */
  readonly service: { readonly host: string; readonly name: string; readonly namespace: string };
  readonly security: "mutual_tls" | "none" | "unknown";
}

export function trafficLabels(traffic: Traffic): SeriesLabels {
  const { source, destination, service } = traffic;
  return {
    reporter: traffic.reporter,
    source_workload: source.workload,
    source_workload_namespace: source.namespace,
    source_principal: source.principal,
    source_app: source.app,
    source_version: source.version,
    source_cluster: "ironmesh",
    source_canonical_service: source.app,
    source_canonical_revision: source.version === "unknown" ? "latest" : source.version,
    destination_workload: destination.workload,
    destination_workload_namespace: destination.namespace,
    destination_principal: destination.principal,
    destination_app: destination.app,
    destination_version: destination.version,
    destination_cluster: "ironmesh",
    destination_canonical_service: destination.app,
    destination_canonical_revision:
      destination.version === "unknown" ? "latest" : destination.version,
    destination_service: service.host,
    destination_service_name: service.name,
    destination_service_namespace: service.namespace,
    connection_security_policy: traffic.security,
  };
}

class RequestSeries {
  readonly status: number;
  readonly flags: string;
  readonly grpc: string | undefined;
  readonly #total: Counter;
  readonly #duration: Histogram;
  readonly #requestBytes: Histogram;
  readonly #responseBytes: Histogram;

  constructor(
    table: SeriesTable,
    base: SeriesLabels,
    status: number,
    flags: string,
    grpc: string | undefined,
  ) {
    const labels = {
      ...base,
      request_protocol: grpc === undefined ? "http" : "grpc",
      response_code: String(status),
      grpc_response_status: grpc ?? "",
      response_flags: flags,
    };
    this.status = status;
    this.flags = flags;
    this.grpc = grpc;
    this.#total = table.counter("istio_requests_total", labels);
    this.#duration = table.histogram("istio_request_duration_milliseconds", labels, BUCKETS);
    this.#requestBytes = table.histogram("istio_request_bytes", labels, BUCKETS);
    this.#responseBytes = table.histogram("istio_response_bytes", labels, BUCKETS);
  }

  record(durationMs: number, requestBytes: number, responseBytes: number): void {
    this.#total.add();
    this.#duration.observe(durationMs);
    this.#requestBytes.observe(requestBytes);
    this.#responseBytes.observe(responseBytes);
  }
}

const isOf = (
  series: RequestSeries,
  status: number,
  flags: string,
  grpc: string | undefined,
): boolean => series.status === status && series.flags === flags && series.grpc === grpc;

export class RequestFamily {
  readonly #table: SeriesTable;
  readonly #labels: SeriesLabels;
  readonly #known: RequestSeries[] = [];
  #last: RequestSeries | undefined;
  /** Messages of gRPC calls; made for the first. */
  #requestMessages: Counter | undefined;
  #responseMessages: Counter | undefined;

  constructor(table: SeriesTable, traffic: Traffic) {
    this.#table = table;
    this.#labels = trafficLabels(traffic);
  }

  /** `grpc`: the status of a gRPC call, "" if it said none; undefined: it is no gRPC. */
  record(
    status: number,
    flags: string,
    durationMs: number,
    requestBytes: number,
    responseBytes: number,
    grpc?: string,
  ): void {
    let series = this.#last;
    if (series === undefined || !isOf(series, status, flags, grpc)) {
      series = this.#find(status, flags, grpc);
      this.#last = series;
    }
    series.record(durationMs, requestBytes, responseBytes);
  }

  /** Of a gRPC call under way, whose outcome is not known: these series have none (as Istio's). */
  messages(requests: number, responses: number): void {
    if (requests > 0) {
      this.#requestMessages ??= this.#messageCounter("istio_request_messages_total");
      this.#requestMessages.add(requests);
    }
    if (responses > 0) {
      this.#responseMessages ??= this.#messageCounter("istio_response_messages_total");
      this.#responseMessages.add(responses);
    }
  }

  #messageCounter(name: string): Counter {
    return this.#table.counter(name, { ...this.#labels, request_protocol: "grpc" });
  }

  /** Statuses an app makes up freely are bounded by the table's overflow series. */
  #find(status: number, flags: string, grpc: string | undefined): RequestSeries {
    const known = this.#known.find((series) => isOf(series, status, flags, grpc));
    if (known !== undefined) return known;
    const made = new RequestSeries(this.#table, this.#labels, status, flags, grpc);
    this.#known.push(made);
    return made;
  }
}

export class ConnectionFamily {
  readonly #table: SeriesTable;
  readonly #labels: SeriesLabels;
  readonly #opened: Counter;
  readonly #sent: Counter;
  readonly #received: Counter;
  readonly #closed = new Map<string, Counter>();

  constructor(table: SeriesTable, traffic: Traffic) {
    this.#table = table;
    this.#labels = { ...trafficLabels(traffic), request_protocol: "tcp" };
    const labels = { ...this.#labels, response_flags: "-" };
    this.#opened = table.counter("istio_tcp_connections_opened_total", labels);
    this.#sent = table.counter("istio_tcp_sent_bytes_total", labels);
    this.#received = table.counter("istio_tcp_received_bytes_total", labels);
  }

  opened(): void {
    this.#opened.add();
  }

  /** As Istio counts: `received` from downstream, `sent` to it. */
  moved(received: number, sent: number): void {
    if (received > 0) this.#received.add(received);
    if (sent > 0) this.#sent.add(sent);
  }

  /** `flags` is one of a few words. */
  closed(flags: string): void {
    let counter = this.#closed.get(flags);
    if (counter === undefined) {
      const labels = { ...this.#labels, response_flags: flags };
      counter = this.#table.counter("istio_tcp_connections_closed_total", labels);
      this.#closed.set(flags, counter);
    }
    counter.add();
  }
}
