// Where a local process was going, by the mesh's tables, and what that means for who is dialled.
import type { OriginalDestination } from "../base/net.ts";
import type { Party } from "../observe/request-metrics.ts";
import type { Service, ServicePort } from "../policy/snapshot.ts";
import { type ClientView, type MeshView, partyOf } from "./mesh-view.ts";
import { type ForwardPlan, plainPlan } from "./traffic-plan.ts";
import type { Target } from "./upstream-cluster.ts";

/** What the destination turned out to be. */
export type Destined =
  | { readonly is: "service"; readonly service: Service; readonly port: ServicePort }
  /** A known endpoint dialled by its address: no routes, its own cluster's limits. */
  | { readonly is: "endpoint"; readonly endpoint: number }
  /** Nobody the mesh knows. */
  | { readonly is: "stranger" };

/** By virtual IP, or by the address of an endpoint. */
export function destinedFor(view: MeshView, { address, port }: OriginalDestination): Destined {
  const at = view.tables.serviceAt(address, port);
  if (at !== undefined) {
    const service = view.snapshot.services[at.service];
    const servicePort = service?.ports[at.portIndex];
    if (service !== undefined && servicePort !== undefined) {
      return { is: "service", service, port: servicePort };
    }
  }
  const endpoint = view.tables.endpointAt(address, port);
  return endpoint === undefined ? { is: "stranger" } : { is: "endpoint", endpoint };
}

export function endpointParty({ endpoint }: Target): Party {
  return partyOf(
    endpoint.workload || "unknown",
    endpoint.namespace || "unknown",
    endpoint.mesh?.identity,
    endpoint.labels,
  );
}

/** The endpoint alone, under the limits of the cluster it belongs to. */
export function endpointPlan(client: ClientView, endpoint: number): ForwardPlan | undefined {
  const { snapshot, tables } = client.mesh;
  const index = tables.clusterOfEndpoint(endpoint);
  const cluster = index === undefined ? undefined : client.cluster(index);
  const wanted = snapshot.endpoints[endpoint];
  const pinned = cluster?.view.targets.find((t) => t.endpoint.id === wanted?.id);
  return pinned && plainPlan("direct", cluster, { pinned });
}

export function serviceOf(view: MeshView, destined: Destined): Service | undefined {
  if (destined.is === "service") return destined.service;
  if (destined.is === "stranger") return undefined;
  const cluster = view.snapshot.clusters[view.tables.clusterOfEndpoint(destined.endpoint) ?? -1];
  return cluster === undefined ? undefined : view.snapshot.services[cluster.service];
}
