// The runtime index of a snapshot: what the data path asks it, per connection and per request. Built again at every swap, on
// every thread, so it indexes only what each connection needs and leaves the rest until it is first asked for.
import { parseServerName } from "../api/mesh-wire.ts";
import { SYSTEM_NAMESPACE } from "../api/spiffe.ts";
import { isLoopback } from "./address-block.ts";
import { defaultHttpRoute, defaultTcpRoute } from "./default-route.ts";
import { wireName } from "./hosts.ts";
import { labelsHold } from "./labels.ts";
import type {
  HttpRoute,
  InboundPort,
  Labels,
  PortView,
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

interface Client {
  readonly namespace: string;
  readonly labels: Labels;
}
const NO_WORKLOAD: Client = { namespace: SYSTEM_NAMESPACE, labels: {} };

type RoutesOf<R> = Map<ServicePort, readonly R[]>;

export class Tables {
  readonly snapshot: Snapshot;
  readonly #serviceByAddress = new Map<string, number>();
  /** A list only where an address has several: thousands of lists of one would cost more than all the rest. */
  readonly #endpointsByAddress = new Map<string, number | number[]>();
  readonly #listenerPorts = new Set<number>();
  readonly #inboundByPort = new Map<number, InboundAt[]>();
  readonly #udpInboundByPort = new Map<number, InboundAt[]>();
  #serviceByName: Map<string, number> | undefined;
  #clusterByEndpoint: Int32Array | undefined;
  readonly #inboundByName = new Map<string, InboundAt | "unknown">();
  /** By workload index + 1; 0 is the process of no workload. */
  readonly #httpRoutes: RoutesOf<HttpRoute>[] = [];
  readonly #tcpRoutes: RoutesOf<TcpRoute>[] = [];
  readonly #tlsRoutes: RoutesOf<TcpRoute>[] = [];

  constructor(snapshot: Snapshot) {
    this.snapshot = snapshot;
    snapshot.services.forEach(({ vip4, vip6, addresses }, i) => {
      if (vip4 !== undefined) this.#serviceByAddress.set(vip4, i);
      if (vip6 !== undefined) this.#serviceByAddress.set(vip6, i);
      if (addresses !== undefined)
        for (const address of addresses) this.#serviceByAddress.set(address, i);
    });
    this.#indexEndpoints();
    this.#indexWorkloads();
  }

  /** By virtual IP, either family, in the text form the kernel's address is shown in. */
  serviceAt(address: string, port: number): ServiceAt | undefined {
    const service = this.#serviceByAddress.get(address);
    return service === undefined ? undefined : this.#portOf(service, port, false);
  }

  /** The same for datagrams. */
  udpServiceAt(address: string, port: number): ServiceAt | undefined {
    const service = this.#serviceByAddress.get(address);
    return service === undefined ? undefined : this.#portOf(service, port, true);
  }

  /** Index into Snapshot.endpoints: a known mesh endpoint dialled by its address; loopback and this host's own addresses count
   *  for the ports of local workloads. */
  endpointAt(address: string, port: number): number | undefined {
    return this.#endpointAt(address, port, false);
  }

  /** The same for datagrams. */
  udpEndpointAt(address: string, port: number): number | undefined {
    return this.#endpointAt(address, port, true);
  }

  #endpointAt(address: string, port: number, isUdp: boolean): number | undefined {
    const there = this.#endpointsByAddress.get(address);
    const found = there === undefined ? undefined : this.#withPort(there, port, isUdp);
    if (found !== undefined) return found;
    const isLocal = isLoopback(address) || this.snapshot.host.addresses.includes(address);
    return isLocal ? this.#localEndpointAt(port, isUdp) : undefined;
  }

  /** Index into Snapshot.clusters: whose limits a direct dial of this endpoint counts against. The first that has it, and that is
   *  the cluster of a whole service rather than of a subset. */
  clusterOfEndpoint(endpoint: number): number | undefined {
    this.#clusterByEndpoint ??= this.#indexClusters();
    const cluster = this.#clusterByEndpoint[endpoint] ?? -1;
    return cluster < 0 ? undefined : cluster;
  }

  /** By Host or :authority, with or without a port; `port` is where the connection was going. */
  serviceByHost(authority: string, port: number): ServiceAt | undefined {
    const service = this.#names().get(hostOf(authority));
    const at = service === undefined ? undefined : this.#portOf(service, port, false);
    // Its clients speak TLS there: whoever says a Host in the clear means something else.
    return at !== undefined && this.#isTls(at) ? undefined : at;
  }

  /** By the server name of TLS, lower case: the name itself, else the longest `*.x` that it is below. */
  serviceByServerName(serverName: string, port: number): ServiceAt | undefined {
    let found = this.#tlsNamed(serverName, port);
    for (let dot = serverName.indexOf("."); found === undefined && dot >= 0; ) {
      found = this.#tlsNamed(`*${serverName.slice(dot)}`, port);
      dot = serverName.indexOf(".", dot + 1);
    }
    return found;
  }

  #tlsNamed(name: string, port: number): ServiceAt | undefined {
    const service = this.#names().get(name);
    const at = service === undefined ? undefined : this.#portOf(service, port, false);
    return at !== undefined && this.#isTls(at) ? at : undefined;
  }

  #isTls({ service, portIndex }: ServiceAt): boolean {
    return this.snapshot.services[service]?.ports[portIndex]?.isTls === true;
  }

  /** Plaintext to a declared app port. Which of the host's addresses was dialled matters only between workloads that share a
   *  port number. */
  inboundAt(address: string, port: number): InboundAt | undefined {
    return atAddress(this.#inboundByPort.get(port), address);
  }

  /** The same for datagrams. */
  udpInboundAt(address: string, port: number): InboundAt | undefined {
    return atAddress(this.#udpInboundByPort.get(port), address);
  }

  /** By SNI on the mesh port; undefined: not a declared port of a workload here. */
  inboundByServerName(serverName: string): InboundAt | undefined {
    const known = this.#inboundByName.get(serverName);
    if (known !== undefined) return known === "unknown" ? undefined : known;
    const found = this.#findByServerName(serverName, false);
    // Only names that exist are kept, so strangers cannot fill the map.
    if (found !== undefined) this.#inboundByName.set(serverName, found);
    return found;
  }

  /** The same for datagrams; asked once a session. */
  udpInboundByServerName(serverName: string): InboundAt | undefined {
    return this.#findByServerName(serverName, true);
  }

  /** A DNS name, any case, with or without its final dot. */
  resolveName(name: string): Service | "not_ours" {
    const lower = name.toLowerCase();
    const bare = lower.endsWith(".") ? lower.slice(0, -1) : lower;
    const service = this.#names().get(bare);
    return (service === undefined ? undefined : this.snapshot.services[service]) ?? "not_ours";
  }

  /** Is this the outbound listener of a local workload? Its connections are loops or borrowed identities. */
  isListenerPort(port: number): boolean {
    return this.#listenerPorts.has(port);
  }

  /** The routes of a service port that can apply to this workload, in order. A VirtualService that has nothing to say to it
   *  leaves the default route, as in Istio. */
  httpRoutesFor(workload: number | undefined, port: ServicePort): readonly HttpRoute[] {
    if (port.inNamespace === undefined && port.httpRoutes[0]?.matches.length === 0)
      return port.httpRoutes;
    const cache = cacheOf(this.#httpRoutes, workload);
    let routes = cache.get(port);
    if (routes === undefined) {
      const client = this.#client(workload);
      const view = viewFor(port, client);
      routes = view.httpRoutes.filter((route) => canApply(route.matches, client));
      if (routes.length === 0 && port.protocol !== "tcp" && port.protocol !== "udp")
        routes = [defaultHttpRoute(view.cluster)];
      cache.set(port, routes);
    }
    return routes;
  }

  tcpRoutesFor(workload: number | undefined, port: ServicePort): readonly TcpRoute[] {
    if (port.inNamespace === undefined && port.tcpRoutes[0]?.matches.length === 0)
      return port.tcpRoutes;
    const cache = cacheOf(this.#tcpRoutes, workload);
    let routes = cache.get(port);
    if (routes === undefined) {
      const client = this.#client(workload);
      const view = viewFor(port, client);
      routes = view.tcpRoutes.filter((route) => canApply(route.matches, client));
      if (routes.length === 0) routes = [defaultTcpRoute(view.cluster)];
      cache.set(port, routes);
    }
    return routes;
  }

  /** Of a port of TLS; none: nothing hangs on the ClientHello. */
  tlsRoutesFor(workload: number | undefined, port: ServicePort): readonly TcpRoute[] {
    if (port.tlsRoutes === undefined && port.inNamespace === undefined) return NO_ROUTES;
    const cache = cacheOf(this.#tlsRoutes, workload);
    let routes = cache.get(port);
    if (routes === undefined) {
      const client = this.#client(workload);
      const { tlsRoutes = NO_ROUTES } = viewFor(port, client);
      routes = tlsRoutes.filter((route) => canApply(route.matches, client));
      cache.set(port, routes);
    }
    return routes;
  }

  /** Index into Snapshot.clusters: the whole service at this port, as this workload is to see it. */
  clusterFor(workload: number | undefined, port: ServicePort): number {
    return port.inNamespace === undefined
      ? port.cluster
      : viewFor(port, this.#client(workload)).cluster;
  }

  #client(workload: number | undefined): Client {
    return (workload === undefined ? undefined : this.snapshot.workloads[workload]) ?? NO_WORKLOAD;
  }

  #portOf(service: number, port: number, isUdp: boolean): ServiceAt | undefined {
    const ports = this.snapshot.services[service]?.ports ?? [];
    for (let portIndex = 0; portIndex < ports.length; portIndex++) {
      const found = ports[portIndex];
      if (found?.port === port && (found.protocol === "udp") === isUdp)
        return { service, portIndex };
    }
    return undefined;
  }

  #localEndpointAt(port: number, isUdp: boolean): number | undefined {
    if (!(isUdp ? this.#udpInboundByPort : this.#inboundByPort).has(port)) return undefined;
    for (const address of this.snapshot.host.addresses) {
      const found = this.#withPort(this.#endpointsByAddress.get(address) ?? [], port, isUdp);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #withPort(there: number | readonly number[], port: number, isUdp: boolean): number | undefined {
    const { endpoints } = this.snapshot;
    const isThere = (index: number): boolean =>
      endpoints[index]?.port === port && (endpoints[index]?.isUdp === true) === isUdp;
    if (typeof there === "number") return isThere(there) ? there : undefined;
    for (const index of there) if (isThere(index)) return index;
    return undefined;
  }

  #findByServerName(serverName: string, isUdp: boolean): InboundAt | undefined {
    const name = parseServerName(serverName);
    if (name === undefined) return undefined;
    const { workloads, services } = this.snapshot;
    const workload = workloads.findIndex(
      (w) => w.name === name.workload && w.namespace === name.namespace,
    );
    const port = workloads[workload]?.ports.find(
      (p) => p.appPort === name.port && (p.protocol === "udp") === isUdp,
    );
    const target = port?.services.find(({ service }) => {
      const found = services[service];
      return found !== undefined && wireName(found) === name.service;
    });
    if (port === undefined || target === undefined) return undefined;
    return { workload, port, service: target.service };
  }

  #names(): Map<string, number> {
    if (this.#serviceByName === undefined) {
      this.#serviceByName = new Map();
      for (let i = 0; i < this.snapshot.services.length; i++)
        for (const name of this.snapshot.services[i]?.names ?? []) this.#serviceByName.set(name, i);
    }
    return this.#serviceByName;
  }

  #indexEndpoints(): void {
    this.snapshot.endpoints.forEach(({ address }, i) => {
      const there = this.#endpointsByAddress.get(address);
      if (there === undefined) this.#endpointsByAddress.set(address, i);
      else if (typeof there === "number") this.#endpointsByAddress.set(address, [there, i]);
      else there.push(i);
    });
  }

  #indexWorkloads(): void {
    this.snapshot.workloads.forEach(({ outboundPort, ports }, workload) => {
      this.#listenerPorts.add(outboundPort);
      for (const port of ports) {
        const at: InboundAt = { workload, port, service: port.services[0]?.service };
        const byPort = port.protocol === "udp" ? this.#udpInboundByPort : this.#inboundByPort;
        const there = byPort.get(port.appPort);
        if (there === undefined) byPort.set(port.appPort, [at]);
        else there.push(at);
      }
    });
  }

  #indexClusters(): Int32Array {
    const { clusters, endpoints } = this.snapshot;
    const byEndpoint = new Int32Array(endpoints.length).fill(-1);
    for (const wantsSubset of [false, true]) {
      clusters.forEach((cluster, i) => {
        if ((cluster.subset !== undefined) !== wantsSubset) return;
        for (const endpoint of cluster.endpoints)
          if (byEndpoint[endpoint] === -1) byEndpoint[endpoint] = i;
      });
    }
    return byEndpoint;
  }
}

const NO_ROUTES: readonly TcpRoute[] = [];

const atAddress = (
  there: readonly InboundAt[] | undefined,
  address: string,
): InboundAt | undefined => there?.find((at) => at.port.appAddress === address) ?? there?.[0];

function hostOf(authority: string): string {
  const lower = authority.toLowerCase();
  if (lower.startsWith("[")) return lower;
  const colon = lower.indexOf(":");
  const host = colon < 0 ? lower : lower.slice(0, colon);
  return host.endsWith(".") ? host.slice(0, -1) : host;
}

function cacheOf<R>(caches: RoutesOf<R>[], workload: number | undefined): RoutesOf<R> {
  const at = workload === undefined ? 0 : workload + 1;
  let cache = caches[at];
  if (cache === undefined) {
    cache = new Map();
    caches[at] = cache;
  }
  return cache;
}

/** A namespace may be called `constructor`. */
function viewFor(port: ServicePort, { namespace }: Client): PortView {
  const views = port.inNamespace;
  return (views !== undefined && Object.hasOwn(views, namespace) ? views[namespace] : port) ?? port;
}

type SourceMatch = {
  readonly sourceLabels?: Labels | undefined;
  readonly sourceNamespace?: string | undefined;
};

const canApply = (matches: readonly SourceMatch[], client: Client): boolean =>
  matches.length === 0 ||
  matches.some(
    ({ sourceLabels, sourceNamespace }) =>
      (sourceNamespace === undefined || sourceNamespace === client.namespace) &&
      (sourceLabels === undefined || labelsHold(sourceLabels, client.labels)),
  );
