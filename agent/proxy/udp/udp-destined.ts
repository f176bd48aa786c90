// Where datagrams were going, by the mesh's tables.
import type { OriginalDestination } from "../../base/net.ts";
import type { DataPlane } from "../data-plane.ts";
import { endpointPlan } from "../destined.ts";
import type { ClientView } from "../mesh-view.ts";
import type { Target, UpstreamCluster } from "../upstream-cluster.ts";

const LOOPBACK = "127.0.0.1";

export interface UdpWay {
  readonly cluster: UpstreamCluster;
  /** The endpoint that was meant by its own address. */
  readonly pinned: Target | undefined;
}

/** Undefined: nobody declared that for UDP. */
export function udpWayFor(
  plane: DataPlane,
  client: ClientView,
  { address, port }: OriginalDestination,
): UdpWay | undefined {
  const { tables, snapshot } = client.mesh;
  const at = tables.udpServiceAt(address, port);
  const servicePort = at && snapshot.services[at.service]?.ports[at.portIndex];
  if (servicePort !== undefined) {
    const cluster = client.cluster(tables.clusterFor(client.workload, servicePort));
    return cluster && { cluster, pinned: undefined };
  }
  const endpoint =
    tables.udpEndpointAt(address, port) ?? localEndpoint(plane, client, address, port);
  const plan = endpoint === undefined ? undefined : endpointPlan(client, endpoint);
  return plan?.cluster && { cluster: plan.cluster, pinned: plan.pinned };
}

/** A declared port is guarded on every address of the host, also on one that no snapshot names. */
function localEndpoint(
  { deps }: DataPlane,
  { mesh: { tables } }: ClientView,
  address: string,
  port: number,
): number | undefined {
  const isGuarded = tables.udpInboundAt(address, port) !== undefined;
  return isGuarded && deps.isLocalAddress(address)
    ? tables.udpEndpointAt(LOOPBACK, port)
    : undefined;
}
