// Clusters and endpoints of a snapshot, made when a route first asks for them and shared from then on.
import { MESH_PORT, writeServerName } from "../api/mesh-wire.ts";
import { spiffeIdOf } from "../api/spiffe.ts";
import { canonicalAddress } from "./address-block.ts";
import type { SlotDraft } from "./books.ts";
import {
  type ClusterPolicy,
  type DestinationRules,
  findSubset,
  type MergedRule,
  policyOf,
  subsetLabels,
} from "./destination-rules.ts";
import { wireName } from "./hosts.ts";
import { labelsHold } from "./labels.ts";
import type { PeerAuthentications } from "./peer-authentication.ts";
import type { EndpointSource, Lookup, ServiceSource } from "./services.ts";
import {
  ADDRESSES_PER_NAME_MAX,
  type Cluster,
  type Endpoint,
  type EndpointSlots,
  type Labels,
  type MeshRoute,
  type NameLookup,
  slotsFrom,
} from "./snapshot.ts";
import type { ProblemList } from "./sources.ts";

interface ClustersDeps {
  readonly services: readonly ServiceSource[];
  readonly rules: DestinationRules;
  readonly peerAuthentications: PeerAuthentications;
  readonly trustDomain: string;
  /** Namespace of clients that no DestinationRule of their own changes anything for. */
  readonly commonNamespace: string;
  readonly slots: SlotDraft;
  readonly problems: ProblemList;
}

interface Wanted {
  /** Index into the services. */
  readonly service: number;
  readonly port: number;
  readonly subset: string | undefined;
  readonly clientNamespace: string;
}

export class Clusters {
  readonly clusters: Cluster[] = [];
  readonly endpoints: Endpoint[] = [];
  /** How many lookups gave a client something else than everybody gets. */
  ownViews = 0;
  readonly #deps: ClustersDeps;
  readonly #clusterByKey = new Map<string, number>();
  readonly #endpointByKey = new Map<string, number>();
  readonly #numberOfRule = new Map<MergedRule, number>();

  constructor(deps: ClustersDeps) {
    this.#deps = deps;
  }

  /** Index of the cluster; undefined: no such port or subset. */
  find(wanted: Wanted): number | undefined {
    const { services, rules, commonNamespace } = this.#deps;
    const service = services[wanted.service];
    if (service === undefined || !service.ports.some((p) => p.port === wanted.port))
      return undefined;
    const rule = rules.find(wanted.clientNamespace, service);
    const isCommon =
      wanted.clientNamespace === commonNamespace || rule === rules.find(commonNamespace, service);
    if (!isCommon) this.ownViews++;
    const key = `${wanted.service}|${wanted.port}|${wanted.subset ?? ""}|${this.#numberOf(rule)}`;
    const known = this.#clusterByKey.get(key);
    if (known !== undefined) return known;
    const made = this.#make(wanted, service, rule, isCommon);
    if (made === undefined) return undefined;
    this.#clusterByKey.set(key, this.clusters.length);
    this.clusters.push(made);
    return this.clusters.length - 1;
  }

  #make(
    { service: index, port, subset, clientNamespace }: Wanted,
    service: ServiceSource,
    rule: MergedRule | undefined,
    isCommon: boolean,
  ): Cluster | undefined {
    const chosen = subset === undefined ? undefined : findSubset(rule, subset);
    if (subset !== undefined && chosen === undefined) return undefined;
    const policy = policyOf(rule, chosen, port);
    const labels = chosen === undefined ? {} : subsetLabels(chosen);
    const name = `outbound|${port}|${subset ?? ""}|${service.host}`;
    const first = this.#slots(isCommon ? name : `${name}@${clientNamespace}`);
    if (service.isOriginalDst) this.#tellUseless(service, rule, policy, subset);
    this.#tellUnread(service, port, rule, policy);
    const goesOn = service.isOriginalDst && subset === undefined && policy.tls !== "mutual";
    return {
      name,
      service: index,
      port,
      subset,
      endpoints: this.#endpointsOf(service, port, labels, { policy, rule }),
      ...(goesOn ? { isOriginalDst: true } : {}),
      balancer: policy.balancer,
      ...(policy.hashBy === undefined ? {} : { hashBy: policy.hashBy }),
      limits: policy.limits,
      outlier: policy.outlier,
      slots: { connections: first, pending: first + 1, requests: first + 2, retries: first + 3 },
    };
  }

  /** Only requests have headers and parameters. */
  #tellUnread(
    { host, ports }: ServiceSource,
    port: number,
    rule: MergedRule | undefined,
    { hashBy }: ClusterPolicy,
  ): void {
    if (hashBy === undefined || hashBy.is === "source_ip") return;
    const protocol = ports.find((one) => one.port === port)?.protocol;
    if (protocol === "tcp" || protocol === "udp")
      this.#deps.problems.warn(
        rule?.titles[0] ?? host,
        "spec.trafficPolicy.loadBalancer.consistentHash",
        `finds no ${hashBy.is === "header" ? "header" : "query"} on port ${port} of ${host}, which is no HTTP: any endpoint is taken; only useSourceIp holds there`,
      );
  }

  /** Nobody knows the endpoints: there is none to choose by labels, to eject, or to ask for a certificate. */
  #tellUseless(
    { host }: ServiceSource,
    rule: MergedRule | undefined,
    { outlier, tls }: ClusterPolicy,
    subset: string | undefined,
  ): void {
    const tell = (path: string, what: string): void =>
      this.#deps.problems.warn(
        rule?.titles[0] ?? host,
        path,
        `${what} for ${host}, whose resolution is NONE`,
      );
    if (subset !== undefined) tell("spec.subsets", `${subset} has no endpoint`);
    if (outlier !== undefined) tell("spec.trafficPolicy.outlierDetection", "ejects nobody");
    if (tls === "mutual") tell("spec.trafficPolicy.tls.mode", "ISTIO_MUTUAL leaves nobody");
  }

  #endpointsOf(
    service: ServiceSource,
    port: number,
    labels: Labels,
    by: { readonly policy: ClusterPolicy; readonly rule: MergedRule | undefined },
  ): number[] {
    const found: number[] = [];
    const seen = new Set<string>();
    for (const source of service.endpoints) {
      const target = source.ports.find((p) => p.port === port)?.targetPort;
      if (target === undefined || !labelsHold(labels, source.labels)) continue;
      const address = source.address.includes(":")
        ? (canonicalAddress(source.address) ?? source.address)
        : source.address;
      const id = address.includes(":") ? `[${address}]:${target}` : `${address}:${target}`;
      if (seen.has(id)) continue;
      seen.add(id);
      const way = this.#wayTo(service, source, { port, target, id }, by);
      if (way === "none") continue;
      const { mesh } = way;
      const isUdp = service.ports.some((p) => p.port === port && p.protocol === "udp");
      found.push(
        this.#endpoint({ id, address, port: target, isUdp, service, source, mesh, ...by }),
      );
    }
    return found;
  }

  /** "none": it can be dialled in no way that its mark and the policy allow, which is told. */
  #wayTo(
    service: ServiceSource,
    source: EndpointSource,
    { port, target, id }: { readonly port: number; readonly target: number; readonly id: string },
    { policy, rule }: { readonly policy: ClusterPolicy; readonly rule: MergedRule | undefined },
  ): { readonly mesh: MeshRoute | undefined } | "none" {
    const { problems } = this.#deps;
    if (policy.tls !== "disable" && takesTunnels(source)) {
      const useless = uselessTunnel(service, source, port);
      if (useless === undefined) return { mesh: this.#tunnelRoute(source, id) };
      const reason = `leaves out ${id}, whose label ${TUNNEL_LABEL} says http: ${useless}`;
      problems.warn(service.host, "spec.endpoints", reason);
      return "none";
    }
    if (policy.tls !== "mutual" || source.hasAgent)
      return { mesh: this.#meshRoute(service, source, target, policy) };
    problems.warn(
      rule?.titles[0] ?? service.host,
      "spec.trafficPolicy.tls.mode",
      `ISTIO_MUTUAL leaves out ${id}: no agent runs there to answer with mTLS`,
    );
    return "none";
  }

  /** The same port as agents', whatever the service's is. */
  #tunnelRoute({ namespace, serviceAccount }: EndpointSource, tunnelTo: string): MeshRoute {
    const { trustDomain } = this.#deps;
    const identity = spiffeIdOf({ trustDomain, namespace, serviceAccount });
    return { port: MESH_PORT, serverName: "", identity, tunnelTo };
  }

  /** Undefined: plaintext. Auto mTLS goes by what the other side accepts, as Istio's does. */
  #meshRoute(
    service: ServiceSource,
    source: EndpointSource,
    port: number,
    { tls }: ClusterPolicy,
  ): MeshRoute | undefined {
    if (!source.hasAgent || tls === "disable") return undefined;
    const { peerAuthentications, trustDomain } = this.#deps;
    const { namespace, serviceAccount, workload } = source;
    const mode = peerAuthentications.modeOf(namespace, source.labels, port);
    if (tls === undefined && mode === "disable") return undefined;
    return {
      port: MESH_PORT,
      serverName: writeServerName({
        port,
        service: source.calledAs ?? wireName(service),
        workload,
        namespace,
      }),
      identity: spiffeIdOf({ trustDomain, namespace, serviceAccount }),
    };
  }

  /** Ejections and their counts belong to the outlier policy that makes them: clusters with different ones share no endpoint. */
  #endpoint(made: {
    readonly id: string;
    readonly address: string;
    readonly port: number;
    readonly isUdp: boolean;
    readonly service: ServiceSource;
    readonly source: EndpointSource;
    readonly mesh: MeshRoute | undefined;
    readonly policy: ClusterPolicy;
  }): number {
    const { id, address, port, isUdp, service, source, mesh } = made;
    const outlier = made.policy.outlier === undefined ? "" : JSON.stringify(made.policy.outlier);
    const { lookup } = source;
    const kind = `${isUdp ? "|udp" : ""}${lookup === undefined ? "" : `|${lookup}`}`;
    const key = `${service.host}|${id}|${mesh?.serverName ?? "plain"}|${outlier}${kind}`;
    const known = this.#endpointByKey.get(key);
    if (known !== undefined) return known;
    this.#endpointByKey.set(key, this.endpoints.length);
    this.endpoints.push({
      id,
      address,
      port,
      weight: source.weight,
      mesh,
      workload: source.workload,
      namespace: source.namespace,
      labels: source.labels,
      host: source.hasAgent ? source.host : undefined,
      slots: this.#endpointSlots(key, source.hasAgent ? source.host : undefined),
      ...(isUdp ? { isUdp } : {}),
      ...(lookup === undefined ? {} : { lookup: this.#lookup(lookup, key) }),
    });
    return this.endpoints.length - 1;
  }

  #endpointSlots(key: string, host: string | undefined): EndpointSlots {
    const first = this.#slots(`endpoint|${key}`);
    return {
      ...slotsFrom(first),
      hostHealth: host === undefined ? undefined : this.#slots(`host|${host}`),
    };
  }

  #lookup(takes: Lookup, key: string): NameLookup {
    if (takes === "first") return { takes };
    const places = Array.from({ length: ADDRESSES_PER_NAME_MAX }, (_, place) =>
      this.#slots(`endpoint|${key}|${place}`),
    );
    return { takes, slots: places };
  }

  #slots(key: string): number {
    const first = this.#deps.slots.take(key);
    if (first !== undefined) return first;
    this.#deps.problems.error(
      "mesh",
      "",
      "has more clusters and endpoints than this agent has shared counters for; raise its limit",
    );
    return 0;
  }

  #numberOf(rule: MergedRule | undefined): number {
    if (rule === undefined) return -1;
    let number = this.#numberOfRule.get(rule);
    if (number === undefined) {
      number = this.#numberOfRule.size;
      this.#numberOfRule.set(rule, number);
    }
    return number;
  }
}

/** How Istio marks a peer that takes HBONE. */
const TUNNEL_LABEL = "networking.istio.io/tunnel";

/** An agent is dialled as agents are. */
const takesTunnels = ({ hasAgent, labels }: EndpointSource): boolean =>
  !hasAgent && new Map(Object.entries(labels)).get(TUNNEL_LABEL) === "http";

/** Why it cannot be dialled so. */
function uselessTunnel(
  { ports }: ServiceSource,
  { serviceAccount, lookup }: EndpointSource,
  port: number,
): string | undefined {
  const declared = ports.find((one) => one.port === port);
  if (serviceAccount === "")
    return "without a serviceAccount nobody can tell whether it is who answers";
  if (lookup !== undefined) return "a host name is not supported yet";
  if (declared?.protocol === "udp") return "a UDP port is not supported yet";
  return declared?.speaks === "http2" ? "a port of HTTP2 or GRPC is not supported yet" : undefined;
}
