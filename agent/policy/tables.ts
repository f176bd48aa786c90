// The runtime index of a snapshot: what the data path asks it, per connection and per request. Built again at every swap, on
// every thread, so it indexes only what each connection needs and leaves the rest until it is first asked for.
import type {
  HttpRoute,
  InboundPort,
  Service,
  ServicePort,
  Snapshot,
  TcpRoute,
} from "./snapshot.ts";

/** A service and which of its ports. */
export interface ServiceAt {
  /** Index into Snapshot.services. */
  readonly service: number;
  /** Index into its ports. */
  readonly portIndex: number;
}

/** A local workload's port. */
export interface InboundAt {
  /** Index into Snapshot.workloads. */
  readonly workload: number;
  readonly port: InboundPort;
  /** Index into Snapshot.services: what it was called as; for plaintext the first service the port backs. */
  readonly service: number | undefined;
}

export class Tables {
  readonly snapshot: Snapshot;

  constructor(snapshot: Snapshot) {
    this.snapshot = snapshot;
  }

  /** By virtual IP, either family, in the text form the kernel's address is shown in. */
  serviceAt(_address: string, _port: number): ServiceAt | undefined {
    return undefined;
  }

  /** Index into Snapshot.endpoints: a known mesh endpoint dialled by its address; loopback and this host's own addresses count
   *  for the ports of local workloads. */
  endpointAt(_address: string, _port: number): number | undefined {
    return undefined;
  }

  /** Index into Snapshot.clusters: whose limits a direct dial of this endpoint counts against. */
  clusterOfEndpoint(_endpoint: number): number | undefined {
    return undefined;
  }

  /** By Host or :authority, with or without a port; `port` is where the connection was going. */
  serviceByHost(_authority: string, _port: number): ServiceAt | undefined {
    return undefined;
  }

  /** Plaintext to a declared app port. */
  inboundAt(_address: string, _port: number): InboundAt | undefined {
    return undefined;
  }

  /** By SNI on the mesh port; undefined: not a declared port of a workload here. */
  inboundByServerName(_serverName: string): InboundAt | undefined {
    return undefined;
  }

  /** A DNS name, any case, with or without its final dot. */
  resolveName(_name: string): Service | "not_ours" {
    return "not_ours";
  }

  /** Is this the outbound listener of a local workload? Its connections are loops or borrowed identities. */
  isListenerPort(_port: number): boolean {
    return false;
  }

  /** The routes of a service port that can apply to this workload, in order. */
  httpRoutesFor(_workload: number | undefined, port: ServicePort): readonly HttpRoute[] {
    return port.httpRoutes;
  }

  tcpRoutesFor(_workload: number | undefined, port: ServicePort): readonly TcpRoute[] {
    return port.tcpRoutes;
  }
}
