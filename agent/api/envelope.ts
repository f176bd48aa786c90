// What is around a spec: apiVersion, kind and metadata, in Kubernetes' shape. Decides what a document is at all: ours, a
// Kubernetes kind to skip, something Istio has that we do not yet, or nothing we know.

import { type Finding, isMapping, missing, readMetadata, unknownField } from "./metadata.ts";
import { DEFAULT_NAMESPACE, groupOf, isKind, KIND_NAMES, KINDS, type Kind } from "./resource.ts";
import type { ResourceDocument } from "./session.ts";
import { suggest } from "./suggest.ts";

export interface Envelope {
  readonly apiVersion: string;
  /** Undefined: nothing to validate further. */
  readonly kind: Kind | undefined;
  /** Undefined when it cannot be read. */
  readonly metadata: ResourceDocument["metadata"] | undefined;
  readonly spec: unknown;
  /** For problems: `VirtualService default/reviews`, as far as it can be told. */
  readonly title: string | undefined;
  readonly findings: readonly Finding[];
}

/** Istio's and Gateway API's kinds that we will run and do not yet. */
const NOT_YET: Readonly<Record<string, readonly string[]>> = {
  "networking.istio.io": ["Gateway", "Sidecar", "WorkloadGroup", "EnvoyFilter", "ProxyConfig"],
  "security.istio.io": ["RequestAuthentication"],
  "telemetry.istio.io": ["Telemetry"],
  "extensions.istio.io": ["WasmPlugin"],
  "gateway.networking.k8s.io": [
    "Gateway",
    "GatewayClass",
    "HTTPRoute",
    "GRPCRoute",
    "TCPRoute",
    "TLSRoute",
    "UDPRoute",
    "ReferenceGrant",
  ],
};

export function envelopeOf(document: unknown): Envelope {
  const findings: Finding[] = [];
  const refuse = (path: readonly string[], reason: string): void => {
    findings.push({ path, reason, severity: "error" });
  };
  const nothing = { apiVersion: "", kind: undefined, metadata: undefined, spec: undefined };
  if (!isMapping(document)) {
    refuse([], "is not a resource: it must be a mapping with apiVersion, kind, metadata and spec");
    return { ...nothing, title: undefined, findings };
  }
  const { apiVersion, kind, metadata, spec } = document;
  if (typeof apiVersion !== "string" || typeof kind !== "string") {
    if (typeof apiVersion !== "string") refuse(["apiVersion"], missing(apiVersion));
    if (typeof kind !== "string") refuse(["kind"], missing(kind));
    return { ...nothing, title: titleOf(kind, metadata), findings };
  }
  const title = titleOf(kind, metadata);
  const known = findKind(apiVersion, kind, findings);
  if (known === undefined) return { ...nothing, apiVersion, title, findings };
  for (const name of Object.keys(document)) {
    if (["apiVersion", "kind", "metadata", "spec"].includes(name)) continue;
    if (name === "status")
      findings.push({
        path: [name],
        reason: "is Kubernetes' own and left out",
        severity: "warning",
      });
    else refuse([name], unknownField(name, ["apiVersion", "kind", "metadata", "spec"]));
  }
  const read = readMetadata(metadata, known, findings);
  return { apiVersion, kind: known, metadata: read, spec, title, findings };
}

function titleOf(kind: unknown, metadata: unknown): string | undefined {
  if (typeof kind !== "string") return undefined;
  const { name, namespace } = isMapping(metadata) ? metadata : {};
  if (typeof name !== "string") return kind;
  return `${kind} ${typeof namespace === "string" ? namespace : DEFAULT_NAMESPACE}/${name}`;
}

function findKind(apiVersion: string, kind: string, findings: Finding[]): Kind | undefined {
  const group = groupOf(apiVersion);
  const refuse = (path: string, reason: string): undefined => {
    findings.push({ path: [path], reason, severity: "error" });
    return undefined;
  };
  if (NOT_YET[group]?.includes(kind)) return refuse("kind", `${kind} is not supported yet`);
  const ours = KIND_NAMES.filter((name) => KINDS[name].group === group);
  if (ours.length === 0 && NOT_YET[group] === undefined) {
    if (isKind(kind)) return refuse("apiVersion", `must be ${apiVersionsOf(kind)} for a ${kind}`);
    if (!isKubernetes(group)) return refuse("apiVersion", unknownGroup(apiVersion));
    findings.push({
      path: ["kind"],
      reason: `${apiVersion} ${kind} is Kubernetes' own and skipped`,
      severity: "warning",
    });
    return undefined;
  }
  if (!isKind(kind) || KINDS[kind].group !== group) {
    if (isKind(kind)) return refuse("apiVersion", `must be ${apiVersionsOf(kind)} for a ${kind}`);
    const near = suggest(kind, [...ours, ...(NOT_YET[group] ?? [])]);
    return refuse(
      "kind",
      `${kind} is not a kind of ${group}${near === undefined ? "" : `; did you mean \`${near}\`?`}`,
    );
  }
  if (!KINDS[kind].versions.includes(apiVersion.slice(group.length + 1)))
    return refuse("apiVersion", `must be ${apiVersionsOf(kind)}`);
  return kind;
}

const apiVersionsOf = (kind: Kind): string =>
  KINDS[kind].versions.map((version) => `${KINDS[kind].group}/${version}`).join(" or ");
/** Core (`v1`), `apps/v1` and their like, and `*.k8s.io`. */
const isKubernetes = (group: string): boolean =>
  !group.includes(".") || group.endsWith(".k8s.io") || group === "k8s.io";
const unknownGroup = (apiVersion: string): string => {
  const groups = [...new Set(KIND_NAMES.map((name) => KINDS[name].group))];
  const near = suggest(groupOf(apiVersion), groups);
  return `${apiVersion} is not known${near === undefined ? `; known are ${groups.join(", ")}` : `; did you mean \`${near}\`?`}`;
};
