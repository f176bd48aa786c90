// What one agent runs: the frozen, compiled view of the mesh. Plain data, so it is cloned to worker threads and written to
// disk as it is. control/ makes it (by compile.ts), proxy/ reads it; this file is all the two share.
// Numbers that must hold per agent live in shared slots (base/slots.ts); their indices are part of the snapshot and stay
// the same for the same cluster and endpoint from one snapshot to the next (SlotBook in compile.ts).
import type { Authorization, OperationMatch } from "./authorization-rules.ts";
import type { MtlsSource } from "./peer-authentication.ts";

export interface Snapshot {
  /** Rises when the server's state was replaced; a lower version is refused unless the epoch rose. */
  readonly epoch: number;
  readonly version: number;
  readonly trustDomain: string;
  readonly host: HostView;
  readonly workloads: readonly LocalWorkload[];
  readonly services: readonly Service[];
  readonly clusters: readonly Cluster[];
  readonly endpoints: readonly Endpoint[];
  /** What happens to redirected traffic to nobody we know: only `all` mode redirects such traffic. */
  readonly outboundPolicy: "allow_any" | "registry_only";
}

export interface HostView {
  readonly name: string;
  /** SPIFFE ID that speaks for processes of no workload. */
  readonly identity: string;
  readonly addresses: readonly string[];
}

/** A process group on this host that backs services. */
export interface LocalWorkload {
  readonly name: string;
  readonly namespace: string;
  readonly identity: string;
  readonly serviceAccount: string;
  readonly labels: Labels;
  /** Who its processes are, as the redirect rules match them. */
  readonly selector: ProcessSelector;
  /** Its own outbound listener on 127.0.0.1 and ::1; stable for the workload on this host. */
  readonly outboundPort: number;
  readonly ports: readonly InboundPort[];
  readonly authorization: Authorization;
  /** Absent: none. All that count a request must have room for it. */
  readonly rateLimits?: readonly RateLimit[] | undefined;
}

/** A token bucket, or one for each caller. `requests` in `perMs`, at most `burst` at once. */
export interface RateLimit {
  /** `NAMESPACE/RATELIMIT:LIMIT`, as answers and metrics call it. */
  readonly name: string;
  /** Any of these; none: every request. */
  readonly to: readonly OperationMatch[];
  readonly byIdentity: boolean;
  /** Lower case. */
  readonly byHeader: string | undefined;
  readonly requests: number;
  readonly perMs: number;
  readonly burst: number;
  /** First of two shared slots: the bucket of all, and of callers for whom no other is left. Another rate has another slot. */
  readonly slot: number;
}

export type Labels = { readonly [name: string]: string };

export type ProcessSelector =
  | { readonly is: "user"; readonly user: string }
  | { readonly is: "uid"; readonly uid: number }
  | { readonly is: "gid"; readonly gid: number }
  | { readonly is: "slice"; readonly slice: string };

/** `auto`: look at the first bytes, with a deadline. `udp`: datagrams, and no connections at all. */
export type Protocol = "http" | "tcp" | "auto" | "udp";

/** A port a local workload listens on. */
export interface InboundPort {
  /** Where the app listens. */
  readonly appAddress: string;
  readonly appPort: number;
  readonly protocol: Protocol;
  /** To an app of `http`: HTTP/2 without TLS and without being asked. Absent: HTTP/1.1. */
  readonly speaks?: "http2" | undefined;
  /** The app terminates TLS: `connection.sni` is what its clients' ClientHello names. */
  readonly isTls?: true | undefined;
  /** Always strict for UDP. */
  readonly mtls: "strict" | "permissive" | "disable";
  /** The PeerAuthentication that says so. Absent: none does, or an older agent wrote the snapshot to disk. */
  readonly mtlsBy?: MtlsSource | undefined;
  /** Indices into Snapshot.services that this port backs, with the service's own port. */
  readonly services: readonly { readonly service: number; readonly port: number }[];
}

export interface Service {
  /** Canonical host, `NAME.NAMESPACE.mesh`, or a ServiceEntry's host as written. */
  readonly host: string;
  readonly name: string;
  readonly namespace: string;
  /** All names that mean it, lower case, without final dot, the canonical one first. Bare names as this host sees them. DNS answers
   *  them where there is a virtual address; `*.x` of a ServiceEntry never has one. */
  readonly names: readonly string[];
  readonly vip4: string | undefined;
  readonly vip6: string | undefined;
  /** Further addresses that mean this service when dialled: a ServiceEntry's own. */
  readonly addresses?: readonly string[] | undefined;
  /** True for a ServiceEntry of location MESH_EXTERNAL. */
  readonly isExternal: boolean;
  readonly ports: readonly ServicePort[];
}

export interface ServicePort {
  readonly port: number;
  readonly name: string;
  readonly protocol: Protocol;
  /** As InboundPort's; for endpoints that no agent guards. */
  readonly speaks?: "http2" | undefined;
  /** First match wins. Always ends in a route that matches all, unless a VirtualService left a gap (then: 404, NR). */
  readonly httpRoutes: readonly HttpRoute[];
  readonly tcpRoutes: readonly TcpRoute[];
  /** Declared TLS or HTTPS: carried as it comes, and sent where its ClientHello wants to go. */
  readonly isTls?: true | undefined;
  /** Where they are, they decide instead of `tcpRoutes`, and what none matches is refused. */
  readonly tlsRoutes?: readonly TcpRoute[] | undefined;
  /** The cluster of the whole service at this port. */
  readonly cluster: number;
  /** What differs for clients of these namespaces, because a DestinationRule of theirs overrides the service's own (Istio looks
   *  in the client's namespace first). Read through Tables, which knows the client. */
  readonly inNamespace?: { readonly [clientNamespace: string]: PortView } | undefined;
}

export interface PortView {
  readonly httpRoutes: readonly HttpRoute[];
  readonly tcpRoutes: readonly TcpRoute[];
  readonly tlsRoutes?: readonly TcpRoute[] | undefined;
  readonly cluster: number;
}

export type StringMatch =
  | { readonly is: "exact"; readonly value: string }
  | { readonly is: "prefix"; readonly value: string }
  /** RE2 syntax, anchored at both ends. */
  | { readonly is: "regex"; readonly value: string }
  | { readonly is: "present" };

export interface NamedMatch {
  /** Lower case for headers. */
  readonly name: string;
  readonly match: StringMatch;
}

/** All that is given must hold. */
export interface HttpMatch {
  readonly name?: string | undefined;
  readonly uri?: StringMatch | undefined;
  readonly ignoreUriCase?: boolean | undefined;
  readonly scheme?: StringMatch | undefined;
  readonly method?: StringMatch | undefined;
  readonly authority?: StringMatch | undefined;
  readonly headers?: readonly NamedMatch[] | undefined;
  readonly withoutHeaders?: readonly NamedMatch[] | undefined;
  readonly queryParams?: readonly NamedMatch[] | undefined;
  readonly port?: number | undefined;
  readonly sourceLabels?: Labels | undefined;
  readonly sourceNamespace?: string | undefined;
}

export interface HttpRoute {
  /** For logs: `NAMESPACE/VIRTUALSERVICE:ROUTE_NAME_OR_INDEX`, or `default`. */
  readonly name: string;
  /** Any of these; none: everything matches. compile() gives each match a route of its own, so there is at most one, and what
   *  a prefix rewrite replaces is `matches[0]`. */
  readonly matches: readonly HttpMatch[];
  readonly action: ForwardAction | RedirectAction | DirectAction;
  readonly headers: HeaderOps;
}

export interface HeaderOps {
  readonly request: HeaderEdit;
  readonly response: HeaderEdit;
}
export interface HeaderEdit {
  readonly set: readonly HeaderField[];
  readonly add: readonly HeaderField[];
  readonly remove: readonly string[];
}
export type HeaderField = readonly [name: string, value: string];

export interface ForwardAction {
  readonly is: "forward";
  readonly destinations: readonly Destination[];
  /** Whole request, retries included; undefined: none (Istio's default). */
  readonly timeoutMs: number | undefined;
  readonly retry: RetryPolicy | undefined;
  readonly rewrite: Rewrite | undefined;
  readonly fault: Fault | undefined;
}

export interface Destination {
  /** Index into Snapshot.clusters; undefined: a subset or host that does not exist (503, NC). */
  readonly cluster: number | undefined;
  /** Relative to the sum over the route. */
  readonly weight: number;
  readonly headers: HeaderOps;
}

export interface Rewrite {
  readonly uri?: string | undefined;
  readonly authority?: string | undefined;
  readonly uriRegex?: { readonly match: string; readonly rewrite: string } | undefined;
}

export interface RetryPolicy {
  /** Retries after the first try. */
  readonly attempts: number;
  readonly perTryTimeoutMs: number | undefined;
  readonly on: readonly RetryCondition[];
  /** From `retriable-status-codes` and bare numbers in retryOn. */
  readonly statusCodes: readonly number[];
  readonly backoffBaseMs: number;
}
export type RetryCondition =
  | "5xx"
  | "gateway-error"
  | "reset"
  | "connect-failure"
  | "refused-stream"
  | "retriable-4xx"
  | "retriable-status-codes"
  | "unavailable"
  | "cancelled"
  | "deadline-exceeded"
  | "internal"
  | "resource-exhausted";

export interface Fault {
  readonly delay?: { readonly ms: number; readonly percent: number } | undefined;
  readonly abort?: { readonly status: number; readonly percent: number } | undefined;
}

export interface RedirectAction {
  readonly is: "redirect";
  readonly status: number;
  readonly uri?: string | undefined;
  readonly authority?: string | undefined;
  readonly scheme?: string | undefined;
  readonly port?: number | "from_protocol_default" | "from_request_port" | undefined;
}

export interface DirectAction {
  readonly is: "direct";
  readonly status: number;
  readonly body: string;
}

export interface TcpRoute {
  readonly name: string;
  /** Any of these; none: every connection. */
  readonly matches: readonly TcpMatch[];
  readonly destinations: readonly Destination[];
}
export interface TcpMatch {
  /** Of a ClientHello, lower case: a name, or `*.x` for all below x, or `*` for all, nameless ones too. */
  readonly serverNames?: readonly string[] | undefined;
  readonly destinationCidrs?: readonly string[] | undefined;
  readonly port?: number | undefined;
  readonly sourceLabels?: Labels | undefined;
  readonly sourceNamespace?: string | undefined;
}

/** Endpoints that are balanced over together: a service, or a subset of it, at one port. */
export interface Cluster {
  /** As Envoy names it: `outbound|9080|v1|reviews.default.mesh`. */
  readonly name: string;
  readonly service: number;
  readonly port: number;
  readonly subset: string | undefined;
  readonly endpoints: readonly number[];
  /** It has none: what goes there goes in the clear to where it was going anyway. */
  readonly isOriginalDst?: true | undefined;
  readonly balancer: "round_robin" | "least_request" | "random" | "consistent_hash";
  /** What leads to the same endpoint again, with `consistent_hash`. */
  readonly hashBy?: HashBy | undefined;
  readonly limits: ClusterLimits;
  readonly outlier: OutlierPolicy | undefined;
  readonly slots: ClusterSlots;
}

export type HashBy =
  | { readonly is: "source_ip" }
  /** Lower case. */
  | { readonly is: "header"; readonly name: string }
  | { readonly is: "query"; readonly name: string };

/** Istio's connectionPool with its defaults; "unlimited" is 2^31 - 1 (Istio: 2^32 - 1). */
export interface ClusterLimits {
  readonly maxConnections: number;
  readonly connectTimeoutMs: number;
  readonly maxPendingRequests: number;
  readonly maxRequests: number;
  readonly maxRequestsPerConnection: number;
  /** Holds where there is no budget. */
  readonly maxRetries: number;
  /** Of a snapshot that an older agent wrote to disk: absent. */
  readonly retryBudget?: RetryBudget | undefined;
  readonly idleTimeoutMs: number;
}

/** Retries under way at once: a share of the requests under way, themselves included, and always so many. */
export interface RetryBudget {
  readonly percent: number;
  readonly minConcurrency: number;
}

/** One shared slot each; see ClusterLimits. */
export interface ClusterSlots {
  readonly connections: number;
  readonly pending: number;
  readonly requests: number;
  readonly retries: number;
}

export interface OutlierPolicy {
  /** 0 switches it off. */
  readonly consecutive5xx: number;
  readonly consecutiveGatewayErrors: number;
  readonly intervalMs: number;
  readonly baseEjectionMs: number;
  readonly maxEjectionPercent: number;
  readonly minHealthPercent: number;
}

export interface Endpoint {
  /** `ADDRESS:PORT`, for logs and pools. */
  readonly id: string;
  readonly address: string;
  readonly port: number;
  readonly weight: number;
  /** How to reach it over the mesh wire; undefined: plaintext (no agent there, or DestinationRule tls DISABLE). */
  readonly mesh: MeshRoute | undefined;
  readonly workload: string;
  readonly namespace: string;
  readonly labels: Labels;
  /** The member of the gossip pool that speaks for it; undefined: no agent runs there. */
  readonly host?: string | undefined;
  readonly slots: EndpointSlots;
  /** Takes datagrams at that port, and no connections. */
  readonly isUdp?: true | undefined;
  /** Its `address` is a host name, which agents look up while somebody uses it. Absent: an IP address. */
  readonly lookup?: NameLookup | undefined;
}

export type NameLookup =
  /** Each address of the last answer is an endpoint of its own (Envoy's STRICT_DNS). `slots`: for each of its places, the first of
   *  five that are its own, in the order of EndpointSlots; the endpoint's count nothing. */
  | { readonly takes: "all"; readonly slots: readonly number[] }
  /** One endpoint, which is at the first address of the last answer (Envoy's LOGICAL_DNS). */
  | { readonly takes: "first" };

/** Addresses of one name that are used. */
export const ADDRESSES_PER_NAME_MAX = 16;

export interface MeshRoute {
  readonly port: number;
  /** See agent/api/mesh-wire.ts. */
  readonly serverName: string;
  /** The only SPIFFE ID that is accepted there. */
  readonly identity: string;
  /** No agent, but a peer that takes HBONE: what it is asked for. It is sent no server name. */
  readonly tunnelTo?: string | undefined;
}

/** One shared slot each. Times are milliseconds on the agent's monotonic clock, as 32-bit integers. */
export interface EndpointSlots {
  readonly active: number;
  readonly consecutive5xx: number;
  readonly consecutiveGatewayErrors: number;
  /** 0: in rotation; otherwise when it comes back. */
  readonly ejectedUntilMs: number;
  readonly ejections: number;
  /** Shared by all endpoints of a host; see agent/resilience/host-health.ts. Undefined: of no member. */
  readonly hostHealth?: number | undefined;
}

/** Of an endpoint whose block of slots begins there (SLOTS_PER_BLOCK in books.ts). */
export const slotsFrom = (first: number): EndpointSlots => ({
  active: first,
  consecutive5xx: first + 1,
  consecutiveGatewayErrors: first + 2,
  ejectedUntilMs: first + 3,
  ejections: first + 4,
});
