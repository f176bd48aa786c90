// Which DestinationRule holds for a client and a service, and what its traffic policy comes to.
// https://istio.io/latest/docs/reference/config/networking/destination-rule/
import type { DestinationRuleSpec, TrafficPolicySpec } from "../api/destination-rule.ts";
import { parseDuration } from "../api/duration.ts";
import { type HostBook, wildcardHolds } from "./hosts.ts";
import type { Cluster, ClusterLimits, HashBy, Labels, OutlierPolicy } from "./snapshot.ts";
import type { DestinationRule, ProblemList } from "./sources.ts";

type Subset = NonNullable<DestinationRuleSpec["subsets"]>[number];
type PortPolicy = NonNullable<TrafficPolicySpec["portLevelSettings"]>[number];
/** The sections that override each other whole. */
type Sections = Pick<PortPolicy, "loadBalancer" | "connectionPool" | "outlierDetection" | "tls">;

/** All rules of one namespace for one host, merged as Istio does: subsets add up, the first traffic policy stays. */
export interface MergedRule {
  readonly namespace: string;
  readonly host: string;
  readonly titles: readonly string[];
  readonly policy: TrafficPolicySpec | undefined;
  readonly subsets: readonly Subset[];
}

interface NamespaceRules {
  readonly exact: Map<string, MergedRule>;
  /** Longest first. */
  readonly wildcards: MergedRule[];
}

type ServiceName = { readonly host: string; readonly namespace: string };

export class DestinationRules {
  readonly #byNamespace = new Map<string, NamespaceRules>();
  readonly #rootNamespace: string;

  constructor(
    rules: readonly DestinationRule[],
    hosts: HostBook,
    rootNamespace: string,
    problems: ProblemList,
  ) {
    this.#rootNamespace = rootNamespace;
    for (const rule of rules) this.#add(rule, hosts, problems);
    for (const { wildcards } of this.#byNamespace.values())
      wildcards.sort((a, b) => b.host.length - a.host.length);
  }

  /** Client's namespace, then the service's, then the root namespace. */
  find(clientNamespace: string, service: ServiceName): MergedRule | undefined {
    if (this.#byNamespace.size === 0) return undefined;
    const own =
      clientNamespace === this.#rootNamespace ? undefined : this.#in(clientNamespace, service.host);
    return (
      own ??
      this.#in(service.namespace, service.host) ??
      this.#in(this.#rootNamespace, service.host)
    );
  }

  /** May clients of this namespace see services of others differently than everybody else does? */
  overridesFor(clientNamespace: string, services: readonly ServiceName[]): boolean {
    if (clientNamespace === this.#rootNamespace || !this.#byNamespace.has(clientNamespace))
      return false;
    return services.some(
      ({ host, namespace }) =>
        namespace !== clientNamespace && this.#in(clientNamespace, host) !== undefined,
    );
  }

  #in(namespace: string, host: string): MergedRule | undefined {
    const rules = this.#byNamespace.get(namespace);
    return (
      rules?.exact.get(host) ?? rules?.wildcards.find((rule) => wildcardHolds(rule.host, host))
    );
  }

  #add({ namespace, title, spec }: DestinationRule, hosts: HostBook, problems: ProblemList): void {
    let rules = this.#byNamespace.get(namespace);
    if (rules === undefined) {
      rules = { exact: new Map(), wildcards: [] };
      this.#byNamespace.set(namespace, rules);
    }
    const host = hosts.resolve(spec.host, namespace);
    const isWildcard = host.startsWith("*");
    const at = rules.wildcards.findIndex((rule) => rule.host === host);
    const before = isWildcard ? rules.wildcards[at] : rules.exact.get(host);
    if (!isWildcard && hosts.find(spec.host, namespace) === undefined)
      problems.warn(title, "spec.host", `means ${host}, and there is no such service`);
    const merged =
      before === undefined
        ? {
            namespace,
            host,
            titles: [title],
            policy: spec.trafficPolicy,
            subsets: spec.subsets ?? [],
          }
        : merge(before, { title, spec }, problems);
    if (!isWildcard) rules.exact.set(host, merged);
    else if (at < 0) rules.wildcards.push(merged);
    else rules.wildcards[at] = merged;
  }
}

function merge(
  before: MergedRule,
  { title, spec }: { title: string; spec: DestinationRuleSpec },
  problems: ProblemList,
): MergedRule {
  const first = before.titles[0] ?? "";
  if (before.policy !== undefined && spec.trafficPolicy !== undefined)
    problems.warn(title, "spec.trafficPolicy", `is ignored: ${first} has one for the same host`);
  const added = (spec.subsets ?? []).filter((subset, i) => {
    const isNew = !before.subsets.some((known) => known.name === subset.name);
    if (!isNew)
      problems.warn(title, `spec.subsets[${i}]`, `is ignored: ${first} has a subset of that name`);
    return isNew;
  });
  return {
    ...before,
    titles: [...before.titles, title],
    policy: before.policy ?? spec.trafficPolicy,
    subsets: [...before.subsets, ...added],
  };
}

export interface ClusterPolicy {
  readonly balancer: Cluster["balancer"];
  readonly hashBy: HashBy | undefined;
  readonly limits: ClusterLimits;
  readonly outlier: OutlierPolicy | undefined;
  /** Undefined: mTLS wherever the endpoint can ("auto mTLS"). */
  readonly tls: "disable" | "mutual" | undefined;
}

export function findSubset(rule: MergedRule | undefined, name: string): Subset | undefined {
  return rule?.subsets.find((subset) => subset.name === name);
}

export const subsetLabels = (subset: Subset): Labels => subset.labels ?? {};

export function policyOf(
  rule: MergedRule | undefined,
  subset: Subset | undefined,
  port: number,
): ClusterPolicy {
  const sections = subsetSections(topSections(rule?.policy, port), subset?.trafficPolicy, port);
  return {
    balancer: balancerOf(sections),
    hashBy: hashByOf(sections),
    limits: limitsOf(
      sections,
      subset?.trafficPolicy?.retryBudget ?? rule?.policy?.retryBudget, // no port has its own
    ),
    outlier: outlierOf(sections),
    tls: tlsOf(sections),
  };
}

const portPolicy = (policy: TrafficPolicySpec | undefined, port: number): PortPolicy | undefined =>
  policy?.portLevelSettings?.find((settings) => settings.port.number === port);

/** A port's settings replace the whole: what they leave out is at its default, not at what stands above. */
const topSections = (policy: TrafficPolicySpec | undefined, port: number): Sections =>
  portPolicy(policy, port) ?? policy ?? {};

function subsetSections(
  top: Sections,
  policy: TrafficPolicySpec | undefined,
  port: number,
): Sections {
  if (policy === undefined) return top;
  return (
    portPolicy(policy, port) ?? {
      loadBalancer: policy.loadBalancer ?? top.loadBalancer,
      connectionPool: policy.connectionPool ?? top.connectionPool,
      outlierDetection: policy.outlierDetection ?? top.outlierDetection,
      tls: policy.tls ?? top.tls,
    }
  );
}

function balancerOf({ loadBalancer }: Sections): Cluster["balancer"] {
  if (loadBalancer?.consistentHash !== undefined) return "consistent_hash";
  if (loadBalancer?.simple === "ROUND_ROBIN") return "round_robin";
  return loadBalancer?.simple === "RANDOM" ? "random" : "least_request";
}

function hashByOf({ loadBalancer }: Sections): HashBy | undefined {
  const given = loadBalancer?.consistentHash;
  if (given === undefined) return undefined;
  const { httpHeaderName: header, httpQueryParameterName: query } = given;
  if (header !== undefined) return { is: "header", name: header.toLowerCase() };
  return query === undefined ? { is: "source_ip" } : { is: "query", name: query };
}

const UNLIMITED = 2 ** 31 - 1;

export const DEFAULT_LIMITS: ClusterLimits = {
  maxConnections: UNLIMITED,
  connectTimeoutMs: 10_000,
  maxPendingRequests: UNLIMITED,
  maxRequests: UNLIMITED,
  maxRequestsPerConnection: UNLIMITED,
  maxRetries: UNLIMITED,
  retryBudget: { percent: 20, minConcurrency: 3 },
  idleTimeoutMs: 3_600_000,
};

function limitsOf(
  { connectionPool }: Sections,
  budget: TrafficPolicySpec["retryBudget"],
): ClusterLimits {
  if (connectionPool === undefined && budget === undefined) return DEFAULT_LIMITS;
  const { tcp, http } = connectionPool ?? {};
  return {
    maxConnections: tcp?.maxConnections ?? UNLIMITED,
    connectTimeoutMs: milliseconds(tcp?.connectTimeout, DEFAULT_LIMITS.connectTimeoutMs),
    maxPendingRequests: http?.http1MaxPendingRequests ?? UNLIMITED,
    maxRequests: http?.http2MaxRequests ?? UNLIMITED,
    // 0 means unlimited in both of these, as in Istio.
    maxRequestsPerConnection: http?.maxRequestsPerConnection || UNLIMITED,
    maxRetries: http?.maxRetries || UNLIMITED,
    ...retryBudgetOf(budget, http?.maxRetries),
    idleTimeoutMs: milliseconds(http?.idleTimeout, DEFAULT_LIMITS.idleTimeoutMs),
  };
}

/** As in Envoy, a budget takes the place of maxRetries; one that nobody wrote leaves it alone. */
function retryBudgetOf(
  budget: TrafficPolicySpec["retryBudget"],
  maxRetries: number | undefined,
): Pick<ClusterLimits, "retryBudget"> {
  if (budget === undefined && maxRetries !== undefined && maxRetries > 0) return {};
  const { percent = 20, minRetryConcurrency = 3 } = budget ?? {};
  return { retryBudget: { percent, minConcurrency: minRetryConcurrency } };
}

function outlierOf({ outlierDetection: given }: Sections): OutlierPolicy | undefined {
  if (given === undefined) return undefined;
  return {
    consecutive5xx: given.consecutive5xxErrors ?? 5,
    consecutiveGatewayErrors: given.consecutiveGatewayErrors ?? 0,
    intervalMs: milliseconds(given.interval, 10_000),
    baseEjectionMs: milliseconds(given.baseEjectionTime, 30_000),
    maxEjectionPercent: given.maxEjectionPercent ?? 10,
    minHealthPercent: given.minHealthPercent ?? 0,
  };
}

function tlsOf({ tls }: Sections): ClusterPolicy["tls"] {
  if (tls === undefined) return undefined;
  return tls.mode === "DISABLE" ? "disable" : "mutual";
}

/** Durations were checked when the resource was accepted; should one not be, its default holds. */
export function milliseconds<D extends number | undefined>(
  text: string | undefined,
  fallback: D,
): number | D {
  if (text === undefined) return fallback;
  const parsed = parseDuration(text);
  return parsed.ok ? parsed.value : fallback;
}
