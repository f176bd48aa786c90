// Which route takes a request or a connection: Istio's VirtualService match semantics, first match wins.
import type { Destination, HttpRoute, RequestView, ServicePort, TcpRoute } from "./snapshot.ts";
import type { Tables } from "./tables.ts";

/** Undefined: a VirtualService left a gap (404, NR). `workload` is an index into Snapshot.workloads; undefined: a process of none. */
export function routeHttp(
  tables: Tables,
  workload: number | undefined,
  servicePort: ServicePort,
  _request: RequestView,
): HttpRoute | undefined {
  return tables.httpRoutesFor(workload, servicePort)[0];
}

/** `address` is where the connection was going. */
export function routeTcp(
  tables: Tables,
  workload: number | undefined,
  servicePort: ServicePort,
  _address: string,
): TcpRoute | undefined {
  return tables.tcpRoutesFor(workload, servicePort)[0];
}

/** `unit` is uniform in [0, 1). Undefined only for no destinations at all. */
export function pickDestination(
  destinations: readonly Destination[],
  _unit: number,
): Destination | undefined {
  return destinations[0];
}
