// A snapshot as the data path uses it: its tables, and per source identity the clusters it may dial. Made at each swap; the
// clusters themselves live on in the ClusterBook, with their connections.
import type { DialTarget } from "../base/net.ts";
import type { FlowFamily } from "../observe/flow-metrics.ts";
import {
  type ConnectionFamily,
  type Party,
  type RequestFamily,
  UNKNOWN_PARTY,
} from "../observe/request-metrics.ts";
import type {
  Cluster,
  Destination,
  Endpoint,
  HttpRoute,
  Labels,
  Snapshot,
} from "../policy/snapshot.ts";
import { Tables } from "../policy/tables.ts";
import { HashKey } from "./hash-key.ts";
import { endpointsAt, type HostNames } from "./host-names.ts";
import type { HttpRole } from "./http-role.ts";
import { ALPN_HBONE, ALPN_HTTP, ALPN_OPAQUE } from "./mesh-alpn.ts";
import type { RateLimiter } from "./rate-limiter.ts";
import type { ThreadContext } from "./thread-context.ts";
import { type ForwardPlan, forwardPlan } from "./traffic-plan.ts";
import { type ClusterView, Target, UpstreamCluster } from "./upstream-cluster.ts";

/** The name alone is not enough: a namespace whose DestinationRule overrides a service's own has a cluster of the same name, with
 *  counters, and so slots, of its own. Both stay from one snapshot to the next. */
export const clusterKeyOf = ({ name, slots }: Pick<ClusterView, "name" | "slots">): string =>
  `${name} ${slots?.connections ?? "-"}`;

interface BookEntry {
  readonly identity: string;
  readonly cluster: UpstreamCluster;
}

/** Dialled clusters that are remembered; destinations outside the mesh could be any number. */
const CLUSTERS_MAX = 16_384;

/** Every cluster that was dialled, by source identity and name. */
export class ClusterBook {
  readonly #context: ThreadContext;
  readonly #entries = new Map<string, BookEntry>();

  constructor(context: ThreadContext) {
    this.#context = context;
  }

  get names(): HostNames {
    return this.#context.names;
  }

  /** `clusterKey`: see clusterKeyOf. */
  get(identity: string, clusterKey: string, view: () => ClusterView): UpstreamCluster {
    const key = `${identity} ${clusterKey}`;
    const known = this.#entries.get(key);
    if (known !== undefined) return known.cluster;
    if (this.#entries.size >= CLUSTERS_MAX) this.#retireOldest();
    const cluster = new UpstreamCluster(view(), this.#context);
    this.#entries.set(key, { identity, cluster });
    return cluster;
  }

  /** Hands the new views to the clusters there are; those that nobody names any more retire. */
  refresh(viewOf: (identity: string, current: ClusterView) => ClusterView | undefined): void {
    for (const [key, { identity, cluster }] of this.#entries) {
      const view = viewOf(identity, cluster.view);
      if (view === cluster.view) continue;
      if (view !== undefined) cluster.update(view);
      else {
        cluster.retire();
        this.#entries.delete(key);
      }
    }
  }

  #retireOldest(): void {
    for (const [key, { cluster }] of this.#entries) {
      cluster.retire();
      this.#entries.delete(key);
      return;
    }
  }

  /** These identities have new certificates. */
  renew(identities: ReadonlySet<string>): void {
    for (const { identity, cluster } of this.#entries.values())
      if (identities.has(identity)) cluster.renew();
  }

  /** Some host went down or came back. */
  hostsChanged(): void {
    for (const { cluster } of this.#entries.values()) cluster.hostsChanged();
  }

  /** The other end of some mesh connection drains, or our certificate for it was renewed. */
  closeRetiring(): void {
    for (const { cluster } of this.#entries.values()) cluster.closeRetiring();
  }

  closeIdle(): void {
    for (const { cluster } of this.#entries.values()) cluster.closeIdleNow();
  }
}

export class MeshView {
  readonly snapshot: Snapshot;
  readonly tables: Tables;
  /** The one identity of all local workloads that others may call; undefined: there are none, or it is not one. */
  readonly soleIdentity: string | undefined;
  readonly #book: ClusterBook;
  readonly #clients: (ClientView | undefined)[] = [];
  readonly #limiters: (RateLimiter | undefined)[] = [];
  readonly #roles = new Map<string, HttpRole>();
  readonly #requestFamilies = new Map<string, RequestFamily>();
  readonly #connectionFamilies = new Map<string, ConnectionFamily>();
  readonly #flowFamilies = new Map<string, FlowFamily>();
  #httpPorts: Set<number> | undefined;
  #tlsPorts: Set<number> | undefined;

  constructor(snapshot: Snapshot, book: ClusterBook) {
    this.snapshot = snapshot;
    this.tables = new Tables(snapshot);
    this.#book = book;
    this.soleIdentity = onlyOne(snapshot.workloads.filter(({ ports }) => ports.length > 0));
  }

  /** `workload`: index into snapshot.workloads; undefined: a process of none. */
  client(workload: number | undefined): ClientView {
    const at = workload === undefined ? 0 : workload + 1;
    const known = this.#clients[at];
    if (known !== undefined) return known;
    const made = new ClientView(this, workload, this.#book);
    this.#clients[at] = made;
    return made;
  }

  /** Whose outbound listener that is by now. A port that went to another identity is not the old one's any more: such a
   *  connection goes on as nobody's. */
  clientOf(before: ClientView): ClientView {
    const { outboundPort, identity } = before;
    if (outboundPort === undefined) return this.client(undefined);
    const at = this.snapshot.workloads.findIndex(
      (w) => w.outboundPort === outboundPort && w.identity === identity,
    );
    return this.client(at < 0 ? undefined : at);
  }

  /** Some service speaks, or may speak, HTTP on that port. */
  isHttpPort(port: number): boolean {
    this.#httpPorts ??= httpPortsOf(this.snapshot);
    return this.#httpPorts.has(port);
  }

  /** Some service is found by the server name of TLS on that port. */
  isTlsPort(port: number): boolean {
    this.#tlsPorts ??= tlsPortsOf(this.snapshot);
    return this.#tlsPorts.has(port);
  }

  /** Made once for each caller of a local port, however many connections it makes. */
  requestFamily(key: string, make: () => RequestFamily): RequestFamily {
    return remembered(this.#requestFamilies, key, make);
  }

  /** Made once for all connections of which it would say the same. */
  role(key: string, make: () => HttpRole): HttpRole {
    return remembered(this.#roles, key, make);
  }

  /** Made once for each workload that has limits. */
  limiter(workload: number, make: () => RateLimiter): RateLimiter {
    this.#limiters[workload] ??= make();
    return this.#limiters[workload];
  }

  connectionFamily(key: string, make: () => ConnectionFamily): ConnectionFamily {
    return remembered(this.#connectionFamilies, key, make);
  }

  flowFamily(key: string, make: () => FlowFamily): FlowFamily {
    return remembered(this.#flowFamilies, key, make);
  }
}

/** Callers and destinations of which something is at hand; for more it is made anew. */
const REMEMBERED_MAX = 4096;

function remembered<T>(known: Map<string, T>, key: string, make: () => T): T {
  const found = known.get(key);
  if (found !== undefined) return found;
  if (known.size >= REMEMBERED_MAX) known.clear();
  const made = make();
  known.set(key, made);
  return made;
}

function httpPortsOf({ services }: Snapshot): Set<number> {
  const ports = new Set<number>();
  for (const service of services) {
    for (const { port, protocol } of service.ports)
      if (protocol !== "tcp" && protocol !== "udp") ports.add(port);
  }
  return ports;
}

const tlsPortsOf = ({ services }: Snapshot): Set<number> =>
  new Set(services.flatMap(({ ports }) => ports.flatMap(({ port, isTls }) => (isTls ? port : []))));

/** The mesh as one local identity sees it. */
export class ClientView {
  readonly mesh: MeshView;
  readonly workload: number | undefined;
  readonly identity: string;
  readonly party: Party;
  readonly outboundPort: number | undefined;
  readonly #book: ClusterBook;
  readonly #clusters: (UpstreamCluster | undefined)[] = [];
  readonly #plans = new Map<Destination, ForwardPlan>();

  constructor(mesh: MeshView, workload: number | undefined, book: ClusterBook) {
    const local = workload === undefined ? undefined : mesh.snapshot.workloads[workload];
    this.mesh = mesh;
    this.workload = workload;
    this.identity = local?.identity ?? mesh.snapshot.host.identity;
    this.outboundPort = local?.outboundPort;
    this.party =
      local === undefined
        ? { ...UNKNOWN_PARTY, principal: this.identity }
        : partyOf(local.name, local.namespace, local.identity, local.labels);
    this.#book = book;
  }

  cluster(index: number): UpstreamCluster | undefined {
    const known = this.#clusters[index];
    if (known !== undefined) return known;
    const { snapshot } = this.mesh;
    const cluster = snapshot.clusters[index];
    if (cluster === undefined) return undefined;
    const view = () => clusterView(snapshot, cluster, this.identity, this.#book.names);
    const made = this.#book.get(this.identity, clusterKeyOf(cluster), view);
    this.#clusters[index] = made;
    return made;
  }

  plan(route: HttpRoute, destination: Destination): ForwardPlan | undefined {
    const known = this.#plans.get(destination);
    if (known !== undefined) return known;
    if (route.action.is !== "forward") return undefined;
    const cluster =
      destination.cluster === undefined ? undefined : this.cluster(destination.cluster);
    const made = forwardPlan(route, route.action, destination, cluster);
    this.#plans.set(destination, made);
    return made;
  }
}

export const partyOf = (
  workload: string,
  namespace: string,
  identity: string | undefined,
  labels: Labels,
): Party => ({
  workload,
  namespace,
  principal: identity ?? "unknown",
  app: labels["app"] ?? labels["service.istio.io/canonical-name"] ?? workload,
  version: labels["version"] ?? labels["service.istio.io/canonical-revision"] ?? "unknown",
});

export function clusterView(
  snapshot: Snapshot,
  cluster: Cluster,
  identity: string,
  hostNames: HostNames,
): ClusterView {
  const { service: host, port } = cluster;
  const speaks = snapshot.services[host]?.ports.find((one) => one.port === port)?.speaks;
  const targets: Target[] = [];
  const names = new Set<string>();
  for (const index of cluster.endpoints) {
    const endpoint = snapshot.endpoints[index];
    if (endpoint === undefined) continue;
    if (endpoint.lookup === undefined) targets.push(targetOf(endpoint, identity, speaks));
    else {
      names.add(endpoint.address);
      addLookedUp(targets, endpoint, hostNames, { identity, speaks });
    }
  }
  const { name, balancer, outlier, limits, slots } = cluster;
  const service = snapshot.services[cluster.service];
  const hashKey = cluster.hashBy && new HashKey(cluster.hashBy, snapshot.host.addresses[0] ?? "");
  const lookups = names.size === 0 ? undefined : { names: [...names], renew };
  function renew(): ClusterView {
    return clusterView(snapshot, cluster, identity, hostNames);
  }
  return { name, service, balancer, hashKey, outlier, limits, slots, targets, lookups };
}

function addLookedUp(
  targets: Target[],
  endpoint: Endpoint,
  hostNames: HostNames,
  by: { readonly identity: string; readonly speaks: "http2" | undefined },
): void {
  for (const found of endpointsAt(endpoint, hostNames.find(endpoint.address))) {
    // Of two names that lead to one address the first has it.
    if (targets.some((one) => one.endpoint.id === found.id)) continue;
    // Where a name is one endpoint, its connections live on whatever it leads to by now.
    const key = endpoint.lookup?.takes === "first" ? endpoint.id : found.id;
    targets.push(targetOf(found, by.identity, by.speaks, key));
  }
}

const targetOf = (
  endpoint: Endpoint,
  identity: string,
  speaks: "http2" | undefined,
  key = endpoint.id,
): Target =>
  new Target(
    endpoint,
    dialOf(endpoint, identity, ALPN_HTTP, speaks),
    dialOf(endpoint, identity, ALPN_OPAQUE, undefined),
    key,
  );

/** Between agents requests are HTTP/1.1; the one beside the app speaks as the app does. */
function dialOf(
  endpoint: Endpoint,
  identity: string,
  alpn: string,
  speaks: "http2" | undefined,
): DialTarget {
  const { address, port, mesh } = endpoint;
  if (mesh === undefined)
    return speaks === undefined
      ? { is: "plain", address, port }
      : { is: "plain", address, port, speaks };
  const { serverName, tunnelTo } = mesh;
  return {
    is: "mesh",
    address,
    port: mesh.port,
    as: identity,
    serverName,
    alpn: tunnelTo === undefined ? alpn : ALPN_HBONE,
    peers: [mesh.identity],
    ...(tunnelTo === undefined ? {} : { tunnelTo }),
  };
}

function onlyOne(workloads: readonly { readonly identity: string }[]): string | undefined {
  const [first] = workloads;
  return workloads.every(({ identity }) => identity === first?.identity)
    ? first?.identity
    : undefined;
}
