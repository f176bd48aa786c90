// Tells the config server every few seconds who called whom. What happened while no server was there is not told later: the
// history has a gap then, instead of an hour's traffic in one moment.
import { EDGE_REPORT_INTERVAL_MS, EDGES_FORMAT, type EdgeReport } from "../api/edges.ts";
import type { Clock, Timer, Timers } from "../base/clock.ts";
import { EdgeSummary } from "../observe/edges.ts";
import type { TableView } from "../observe/prometheus.ts";

export interface EdgeReporterDeps {
  /** Tables of all data threads, those of dead ones included. */
  series(): readonly TableView[];
  /** False: there is no server to tell. */
  report(report: EdgeReport): boolean;
  readonly clock: Clock;
  readonly timers: Timers;
}

export class EdgeReporter {
  readonly #deps: EdgeReporterDeps;
  readonly #summary = new EdgeSummary();
  #timer: Timer | undefined;
  #takenAtMs = 0;

  constructor(deps: EdgeReporterDeps) {
    this.#deps = deps;
  }

  start(): void {
    this.#takenAtMs = this.#deps.clock.nowMs();
    this.#wait();
  }

  stop(): void {
    this.#timer?.cancel();
  }

  #wait(): void {
    this.#timer = this.#deps.timers.after(EDGE_REPORT_INTERVAL_MS, () => {
      this.#tell();
      this.#wait();
    });
  }

  #tell(): void {
    const nowMs = this.#deps.clock.nowMs();
    const overMs = Math.round(nowMs - this.#takenAtMs);
    this.#takenAtMs = nowMs;
    const { edges, omitted } = this.#summary.take(this.#deps.series());
    if (edges.length === 0 && omitted === 0) return;
    this.#deps.report({ type: "edges", format: EDGES_FORMAT, overMs, edges, omitted });
  }
}
