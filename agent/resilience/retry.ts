// Whether a failed try may be tried again: Istio's retryOn words, with Envoy's meaning
// (router_filter.html#x-envoy-retry-on, #x-envoy-retry-grpc-on). A gRPC status counts where it comes before any message, in a response of
// trailers only.
import type { ClusterLimits, RetryPolicy } from "../policy/snapshot.ts";

/** Retries that may be under way at once while `active` requests are, those that are retried among them. */
export function retriesMax(
  { retryBudget, maxRetries }: Pick<ClusterLimits, "retryBudget" | "maxRetries">,
  active: number,
): number {
  if (retryBudget === undefined) return maxRetries;
  const share = Math.floor((active * retryBudget.percent) / 100);
  return Math.max(retryBudget.minConcurrency, share);
}

/** How a try failed without a response. */
export type TryFailure =
  /** No connection came about, its timeout included: nothing was sent. */
  | "connect_failure"
  /** The connection ended before the response was whole. */
  | "reset"
  /** The upstream said that it did not begin with it (RFC 9113 8.7). */
  | "refused"
  | "per_try_timeout";

export function retriesFailure(policy: RetryPolicy, failure: TryFailure): boolean {
  for (const condition of policy.on) {
    if (condition === "5xx" || condition === "gateway-error") return true;
    if (condition === "reset") return true;
    if (condition === "connect-failure" && failure === "connect_failure") return true;
    if (condition === "refused-stream" && failure === "refused") return true;
  }
  return false;
}

export function retriesStatus(policy: RetryPolicy, status: number): boolean {
  if (status < 400 && policy.statusCodes.length === 0) return false;
  for (const condition of policy.on) {
    if (condition === "5xx" && status >= 500) return true;
    if (condition === "gateway-error" && (status === 502 || status === 503 || status === 504)) {
      return true;
    }
    if (condition === "retriable-4xx" && status === 409) return true;
  }
  return policy.statusCodes.includes(status);
}

const GRPC_STATUS: { readonly [condition: string]: string } = {
  cancelled: "1",
  "deadline-exceeded": "4",
  "resource-exhausted": "8",
  internal: "13",
  unavailable: "14",
};

/** `status` as its number is written; "": there is none. */
export function retriesGrpcStatus(policy: RetryPolicy, status: string): boolean {
  if (status === "") return false;
  for (const condition of policy.on) if (GRPC_STATUS[condition] === status) return true;
  return false;
}

/** Methods that mean the same when they are sent twice (RFC 9110 9.2.2). */
export const isIdempotent = (method: string): boolean =>
  method === "GET" ||
  method === "HEAD" ||
  method === "OPTIONS" ||
  method === "PUT" ||
  method === "DELETE" ||
  method === "TRACE";
