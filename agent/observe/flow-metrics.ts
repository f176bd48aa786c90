// Figures of datagrams. Istio has none for UDP: these carry the labels of its TCP metrics, with request_protocol="udp".
import { type Traffic, trafficLabels } from "./request-metrics.ts";
import type { Counter, SeriesLabels, SeriesTable } from "./series.ts";

export class FlowFamily {
  readonly #table: SeriesTable;
  readonly #labels: SeriesLabels;
  readonly #opened: Counter;
  readonly #received: Counter;
  readonly #sent: Counter;
  readonly #receivedBytes: Counter;
  readonly #sentBytes: Counter;
  readonly #closed = new Map<string, Counter>();

  constructor(table: SeriesTable, traffic: Traffic) {
    this.#table = table;
    this.#labels = { ...trafficLabels(traffic), request_protocol: "udp" };
    const labels = { ...this.#labels, response_flags: "-" };
    this.#opened = table.counter("ironmesh_udp_flows_opened_total", labels);
    this.#received = table.counter("ironmesh_udp_received_datagrams_total", labels);
    this.#sent = table.counter("ironmesh_udp_sent_datagrams_total", labels);
    this.#receivedBytes = table.counter("ironmesh_udp_received_bytes_total", labels);
    this.#sentBytes = table.counter("ironmesh_udp_sent_bytes_total", labels);
  }

  opened(): void {
    this.#opened.add();
  }

  /** From downstream, as Istio counts: what was passed on, not what was lost before. */
  received(bytes: number): void {
    this.#received.add();
    this.#receivedBytes.add(bytes);
  }

  /** To downstream. */
  sent(bytes: number): void {
    this.#sent.add();
    this.#sentBytes.add(bytes);
  }

  /** `flags` is one of a few words. */
  closed(flags: string): void {
    let counter = this.#closed.get(flags);
    if (counter === undefined) {
      const labels = { ...this.#labels, response_flags: flags };
      counter = this.#table.counter("ironmesh_udp_flows_closed_total", labels);
      this.#closed.set(flags, counter);
    }
    counter.add();
  }
}
