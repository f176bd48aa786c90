// A destination nobody in the mesh knows, as a cluster of one: plaintext to the address that was dialled, as Istio's PassthroughCluster.
import type { OriginalDestination } from "../base/net.ts";
import { type ClusterView, Target, UNLIMITED } from "./upstream-cluster.ts";

export function passThroughView({ address, port }: OriginalDestination): ClusterView {
  const dial = { is: "plain", address, port } as const;
  const endpoint = {
    id: `${address}:${port}`,
    address,
    port,
    weight: 1,
    mesh: undefined,
    workload: "unknown",
    namespace: "unknown",
    labels: {},
    slots: {
      active: 0,
      consecutive5xx: 0,
      consecutiveGatewayErrors: 0,
      ejectedUntilMs: 0,
      ejections: 0,
    },
  };
  return {
    name: `PassthroughCluster|${address}:${port}`,
    service: undefined,
    balancer: "round_robin",
    outlier: undefined,
    limits: {
      maxConnections: UNLIMITED,
      connectTimeoutMs: 10_000,
      maxPendingRequests: UNLIMITED,
      maxRequests: UNLIMITED,
      maxRequestsPerConnection: 0,
      maxRetries: UNLIMITED,
      idleTimeoutMs: 60_000,
    },
    slots: undefined,
    targets: [new Target(endpoint, dial, dial)],
  };
}
