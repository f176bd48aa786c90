// From sums to what people read: rates, percentiles, how well it goes and, in words, what does not.
import {
  type FailedAnswer,
  type Figures,
  type Health,
  HISTOGRAM_BOUNDS,
} from "../../agent/api/edges.ts";
import { FIELD } from "./edge-record.ts";

/** Share of failed requests or broken connections from which an edge is failing, and from which it is degraded. */
export const FAILING_RATIO = 0.05;
export const DEGRADED_RATIO = 0.01;
/** Share of refused requests (401, 403, 429) from which it is degraded: that may well be what policy wants. */
const REFUSED_RATIO = 0.05;

const at = (sum: Float64Array, field: number): number => sum[field] ?? 0;
/** Connections that were tried: one that was never opened is only counted when it ends. */
const connectionsOf = (sum: Float64Array): number =>
  Math.max(at(sum, FIELD.opened), at(sum, FIELD.broken));
/** What is left of spreading is no request. */
const NOTHING = 1e-3;

export function isIdle(sum: Float64Array): boolean {
  return (
    at(sum, FIELD.requests) + connectionsOf(sum) < NOTHING &&
    at(sum, FIELD.sentBytes) + at(sum, FIELD.receivedBytes) < 1
  );
}

export function figuresOf(sum: Float64Array, windowSeconds: number): Figures {
  const requests = at(sum, FIELD.requests);
  return {
    requests: Math.round(requests),
    requestsPerSecond: requests / windowSeconds,
    successRatio: successRatioOf(sum),
    p50Ms: quantileOf(sum, 0.5),
    p95Ms: quantileOf(sum, 0.95),
    p99Ms: quantileOf(sum, 0.99),
    connectionsPerSecond: connectionsOf(sum) / windowSeconds,
    sentBytesPerSecond: at(sum, FIELD.sentBytes) / windowSeconds,
    receivedBytesPerSecond: at(sum, FIELD.receivedBytes) / windowSeconds,
  };
}

function successRatioOf(sum: Float64Array): number | undefined {
  const requests = at(sum, FIELD.requests);
  const connections = connectionsOf(sum);
  const all = requests + connections;
  if (all < NOTHING) return undefined;
  const failed = at(sum, FIELD.failed) + at(sum, FIELD.broken);
  return Math.min(1, Math.max(0, 1 - failed / all));
}

/** Linear within a bucket, as Prometheus' histogram_quantile; beyond the last bound: that bound. Milliseconds. */
export function quantileOf(sum: Float64Array, q: number): number | undefined {
  let all = 0;
  for (let i = 0; i <= HISTOGRAM_BOUNDS.length; i++) all += at(sum, FIELD.latencies + i);
  if (all < NOTHING) return undefined;
  const rank = q * all;
  let below = 0;
  let lower = 0;
  for (const [i, upper] of HISTOGRAM_BOUNDS.entries()) {
    const inside = at(sum, FIELD.latencies + i);
    if (inside > 0 && below + inside >= rank) {
      return lower + ((upper - lower) * (rank - below)) / inside;
    }
    below += inside;
    lower = upper;
  }
  return lower;
}

export function healthOf(sum: Float64Array): Health {
  if (isIdle(sum)) return "idle";
  const failed = 1 - (successRatioOf(sum) ?? 1);
  if (failed >= FAILING_RATIO) return "failing";
  if (failed >= DEGRADED_RATIO) return "degraded";
  const requests = at(sum, FIELD.requests);
  const refused = requests < NOTHING ? 0 : at(sum, FIELD.refused) / requests;
  return refused >= REFUSED_RATIO ? "degraded" : "ok";
}

/** One line for people; undefined while all is well. */
export function problemOf(sum: Float64Array, answers: readonly FailedAnswer[]): string | undefined {
  const health = healthOf(sum);
  if (health === "ok" || health === "idle") return undefined;
  const broken = at(sum, FIELD.broken);
  if (at(sum, FIELD.requests) < NOTHING) {
    return `${percent(broken / connectionsOf(sum))} of connections were not opened or broke off`;
  }
  const failed = 1 - (successRatioOf(sum) ?? 1);
  const isFailing = failed >= DEGRADED_RATIO;
  const share = isFailing ? failed : at(sum, FIELD.refused) / at(sum, FIELD.requests);
  const most = mostFrequent(answers, (status) =>
    isFailing ? status >= 500 || status === 0 : status < 500 && status > 0,
  );
  const because = most === undefined ? "" : `, most by ${wordsOf(most)}`;
  return `${percent(share)} ${isFailing ? "failed" : "refused"}${because}`;
}

const percent = (ratio: number): string => `${Math.round(ratio * 1_000) / 10} %`;

function mostFrequent(
  answers: readonly FailedAnswer[],
  wanted: (status: number) => boolean,
): FailedAnswer | undefined {
  const counts = new Map<string, FailedAnswer>();
  for (const { status, flags, count } of answers) {
    if (!wanted(status)) continue;
    const key = `${status} ${flags}`;
    counts.set(key, { status, flags, count: (counts.get(key)?.count ?? 0) + count });
  }
  return [...counts.values()].sort((a, b) => b.count - a.count)[0];
}

/** Envoy's response flags, as docs/operating.md explains them. */
const FLAGS: Readonly<Record<string, string>> = {
  NR: "no route matched",
  NC: "the route names a subset or host that does not exist",
  UH: "no endpoint left",
  UF: "the endpoint could not be reached",
  UO: "a connection pool limit",
  UC: "the upstream closed in the middle",
  UPE: "the app's answer is not valid HTTP",
  UT: "the route's timeout",
  SI: "no byte for the idle timeout",
  DPE: "the client's request is not valid",
  DC: "the client went away",
  FI: "an injected fault",
  RL: "a rate limit",
};

function wordsOf({ status, flags }: FailedAnswer): string {
  const code = status === 0 ? "no answer" : String(status);
  if (flags === "-" || flags === "") {
    if (status === 403) return "403 (a policy, or the app)";
    return `${code} (the app's own answer)`;
  }
  const words = FLAGS[flags.split(",")[0] ?? ""];
  return words === undefined ? `${code} ${flags}` : `${code} ${flags} (${words})`;
}
