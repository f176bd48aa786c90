// What happens to a service port that no VirtualService speaks of: everything to the whole service, with Istio's default retries.
import type { HeaderOps, HttpRoute, RetryPolicy, TcpRoute } from "./snapshot.ts";

const NO_EDIT = { set: [], add: [], remove: [] };
/** Shared by all that edit nothing, so that thousands of routes cost one object. */
export const NO_HEADERS: HeaderOps = { request: NO_EDIT, response: NO_EDIT };

/** Istio's default since 1.24, which no longer repeats a request on 503 alone. */
export const DEFAULT_RETRY: RetryPolicy = {
  attempts: 2,
  perTryTimeoutMs: undefined,
  on: ["connect-failure", "refused-stream", "unavailable", "cancelled"],
  statusCodes: [],
  backoffBaseMs: 25,
};

const everythingTo = (cluster: number) => [{ cluster, weight: 100, headers: NO_HEADERS }];

export const defaultHttpRoute = (cluster: number): HttpRoute => ({
  name: "default",
  matches: [],
  action: {
    is: "forward",
    destinations: everythingTo(cluster),
    timeoutMs: undefined,
    retry: DEFAULT_RETRY,
    rewrite: undefined,
    fault: undefined,
  },
  headers: NO_HEADERS,
});

export const defaultTcpRoute = (cluster: number): TcpRoute => ({
  name: "default",
  matches: [],
  destinations: everythingTo(cluster),
});
