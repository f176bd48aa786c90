// What agents told of traffic, kept in memory for an hour and bounded. A host may tell only of its own workloads; what it may not
// say is refused and counted by reason. A restart of the server begins anew: agents tell differences, so nothing is counted twice.
import {
  EDGE_REPORT_INTERVAL_MS,
  type EdgeReport,
  type EdgeSample,
} from "../../agent/api/edges.ts";
import type { Clock } from "../../agent/base/clock.ts";
import type { Log } from "../../agent/base/log.ts";
import { type EdgeRefusal, normalized, refusalOf } from "./edge-admission.ts";
import { EdgeRecord, MINUTE_MS, MINUTES } from "./edge-record.ts";
import type { MeshFacts } from "./mesh-facts.ts";

/** Edges of the whole mesh, each 14 KB: 70 MB at the most. The one that was silent for longest goes first. */
export const EDGES_MAX = 5_000;
/** One host cannot crowd out the others. */
export const EDGES_PER_HOST_MAX = 1_000;
/** Reports that come faster are left out and counted; agents tell every EDGE_REPORT_INTERVAL_MS. */
export const REPORT_INTERVAL_MIN_MS = EDGE_REPORT_INTERVAL_MS / 5;

export type Refused = EdgeRefusal | "too_often" | "too_many_edges";

interface Teller {
  edges: number;
  /** Monotonic. */
  heardAtMs: number;
  hasBeenWarnedOf: boolean;
}

export class EdgeHistory {
  readonly #deps: { readonly clock: Clock; readonly log: Log };
  /** The one that was silent for longest comes first. */
  readonly #records = new Map<string, EdgeRecord>();
  readonly #tellers = new Map<string, Teller>();
  readonly #refused = new Map<Refused, number>();
  #omitted = 0;
  #evicted = 0;

  constructor(deps: { readonly clock: Clock; readonly log: Log }) {
    this.#deps = deps;
  }

  get records(): Iterable<EdgeRecord> {
    return this.#records.values();
  }
  get omitted(): number {
    return this.#omitted;
  }
  get evicted(): number {
    return this.#evicted;
  }
  get refused(): { readonly [reason: string]: number } {
    return Object.fromEntries(this.#refused);
  }

  /** `host`: as its certificate proves. */
  hear(host: string, report: EdgeReport, facts: MeshFacts): void {
    const nowMs = this.#deps.clock.wallMs();
    const heardAtMs = this.#deps.clock.nowMs();
    const teller = this.#tellerOf(host);
    if (heardAtMs - teller.heardAtMs < REPORT_INTERVAL_MIN_MS) {
      this.#refuse(host, teller, "too_often", report.edges.length);
      return;
    }
    teller.heardAtMs = heardAtMs;
    this.#omitted += report.omitted;
    this.#forgetOld(nowMs);
    for (const sample of report.edges) {
      const refusal =
        refusalOf(sample, host, facts) ??
        this.#add(host, teller, normalized(sample, facts), report.overMs, nowMs);
      if (refusal !== undefined) this.#refuse(host, teller, refusal, 1);
    }
  }

  #add(
    host: string,
    teller: Teller,
    sample: EdgeSample,
    overMs: number,
    nowMs: number,
  ): Refused | undefined {
    const key = keyOf(host, sample);
    let record = this.#records.get(key);
    if (record === undefined) {
      if (teller.edges >= EDGES_PER_HOST_MAX) return "too_many_edges";
      if (this.#records.size >= EDGES_MAX) this.#evictFirst();
      record = new EdgeRecord(host, sample);
      teller.edges++;
    } else this.#records.delete(key); // to come back as the last
    this.#records.set(key, record);
    record.heardAtMs = nowMs;
    record.add(sample, nowMs - overMs, nowMs);
    return undefined;
  }

  #forgetOld(nowMs: number): void {
    for (const [key, record] of this.#records) {
      if (nowMs - record.heardAtMs < MINUTES * MINUTE_MS) return;
      this.#forget(key, record);
    }
  }

  #evictFirst(): void {
    for (const [key, record] of this.#records) {
      this.#forget(key, record);
      this.#evicted++;
      return;
    }
  }

  #forget(key: string, record: EdgeRecord): void {
    this.#records.delete(key);
    this.#tellerOf(record.host).edges--;
  }

  /** Hosts are members, so bounded by the store. */
  #tellerOf(host: string): Teller {
    const known = this.#tellers.get(host);
    if (known !== undefined) return known;
    const made = { edges: 0, heardAtMs: Number.NEGATIVE_INFINITY, hasBeenWarnedOf: false };
    this.#tellers.set(host, made);
    return made;
  }

  #refuse(host: string, teller: Teller, reason: Refused, count: number): void {
    this.#refused.set(reason, (this.#refused.get(reason) ?? 0) + count);
    if (teller.hasBeenWarnedOf) return;
    teller.hasBeenWarnedOf = true;
    this.#deps.log.warn(
      "a host told of traffic what it may not: counted and left out; expected for seconds after a deletion, otherwise look at that host",
      { host, reason },
    );
  }
}

const keyOf = (
  host: string,
  { reporter, source, destination, service, protocol, security }: EdgeSample,
): string =>
  JSON.stringify([
    host,
    reporter,
    source,
    destination.workload,
    destination.namespace,
    destination.identity,
    service,
    protocol,
    security,
  ]);
