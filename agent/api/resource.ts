// Resources as values: which kinds there are, what one is called, and its typed spec. No schema is loaded here, so an
// agent that starts from disk does not pay for zod; parse-resource.ts makes ResourceDocuments, and only it does.
import type { DestinationRuleSpec } from "./destination-rule.ts";
import type { RateLimitSpec } from "./rate-limit.ts";
import type { AuthorizationPolicySpec, PeerAuthenticationSpec } from "./security.ts";
import type { ServiceEntrySpec, WorkloadEntrySpec } from "./service-entry.ts";
import type { ResourceDocument } from "./session.ts";
import type { VirtualServiceSpec } from "./virtual-service.ts";
import type { WorkloadSpec } from "./workload.ts";

export interface SpecOfKind {
  VirtualService: VirtualServiceSpec;
  DestinationRule: DestinationRuleSpec;
  ServiceEntry: ServiceEntrySpec;
  WorkloadEntry: WorkloadEntrySpec;
  PeerAuthentication: PeerAuthenticationSpec;
  AuthorizationPolicy: AuthorizationPolicySpec;
  RateLimit: RateLimitSpec;
  Workload: WorkloadSpec;
}
export type Kind = keyof SpecOfKind;

interface KindInfo {
  readonly group: string;
  /** Served versions, all of one shape; the first is the one we write. */
  readonly versions: readonly string[];
  /** Plural, lower case, as the CLI takes it, and short forms. */
  readonly plural: string;
  readonly shortNames: readonly string[];
}

const NETWORKING = { group: "networking.istio.io", versions: ["v1", "v1beta1", "v1alpha3"] };
const OURS = { group: "ironmesh.dev", versions: ["v1"] };
const SECURITY = { group: "security.istio.io", versions: ["v1", "v1beta1"] };

export const KINDS: Readonly<Record<Kind, KindInfo>> = {
  VirtualService: { ...NETWORKING, plural: "virtualservices", shortNames: ["vs"] },
  DestinationRule: { ...NETWORKING, plural: "destinationrules", shortNames: ["dr"] },
  ServiceEntry: { ...NETWORKING, plural: "serviceentries", shortNames: ["se"] },
  WorkloadEntry: { ...NETWORKING, plural: "workloadentries", shortNames: ["we"] },
  PeerAuthentication: { ...SECURITY, plural: "peerauthentications", shortNames: ["pa"] },
  AuthorizationPolicy: { ...SECURITY, plural: "authorizationpolicies", shortNames: ["ap"] },
  RateLimit: { ...OURS, plural: "ratelimits", shortNames: ["rl"] },
  Workload: {
    ...OURS,
    plural: "workloads",
    shortNames: ["wl"],
  },
};
export const KIND_NAMES: readonly Kind[] = [
  "VirtualService",
  "DestinationRule",
  "ServiceEntry",
  "WorkloadEntry",
  "PeerAuthentication",
  "AuthorizationPolicy",
  "RateLimit",
  "Workload",
];

/** `apiVersion/kind` of all we run, for the hello message. */
export const SUPPORTED_KINDS: readonly string[] = KIND_NAMES.flatMap((kind) =>
  KINDS[kind].versions.map((version) => `${KINDS[kind].group}/${version}/${kind}`),
);

export const DEFAULT_NAMESPACE = "default";
/** Policies here hold for every namespace. */
export const ROOT_NAMESPACE = "istio-system";

export const isKind = (name: string): name is Kind => Object.hasOwn(KINDS, name);
export const groupOf = (apiVersion: string): string =>
  apiVersion.includes("/") ? apiVersion.slice(0, apiVersion.indexOf("/")) : "";

/** `GROUP/KIND/NAMESPACE/NAME`: the same resource in whichever served version it was written. */
export const refOf = (doc: Pick<ResourceDocument, "apiVersion" | "kind" | "metadata">): string =>
  `${groupOf(doc.apiVersion)}/${doc.kind}/${doc.metadata.namespace}/${doc.metadata.name}`;

/** As people are told: `VirtualService default/reviews`. */
export const titleOf = (doc: Pick<ResourceDocument, "kind" | "metadata">): string =>
  `${doc.kind} ${doc.metadata.namespace}/${doc.metadata.name}`;

function specOf<K extends Kind>(doc: ResourceDocument, kind: K): SpecOfKind[K] {
  if (doc.kind !== kind) throw new Error(`expected a ${kind}, got a ${doc.kind}`);
  // parseResource checked it against this kind's schema, which has no transforms or defaults.
  return doc.spec as SpecOfKind[K];
}

export const readVirtualService = (doc: ResourceDocument) => specOf(doc, "VirtualService");
export const readDestinationRule = (doc: ResourceDocument) => specOf(doc, "DestinationRule");
export const readServiceEntry = (doc: ResourceDocument) => specOf(doc, "ServiceEntry");
export const readWorkloadEntry = (doc: ResourceDocument) => specOf(doc, "WorkloadEntry");
export const readPeerAuthentication = (doc: ResourceDocument) => specOf(doc, "PeerAuthentication");
export const readAuthorizationPolicy = (doc: ResourceDocument) =>
  specOf(doc, "AuthorizationPolicy");
export const readRateLimit = (doc: ResourceDocument) => specOf(doc, "RateLimit");
export const readWorkload = (doc: ResourceDocument) => specOf(doc, "Workload");

/** JSON with sorted keys: equal values give equal bytes, so they can be compared and hashed. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) => {
    if (typeof inner !== "object" || inner === null || Array.isArray(inner)) return inner;
    const sorted: [string, unknown][] = Object.entries(inner);
    return Object.fromEntries(sorted.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)));
  });
}
