// A resource's metadata: names that fit DNS and the mesh wire, labels that fit selectors, nothing unknown.
import type { Problem } from "../base/result.ts";
import { DEFAULT_NAMESPACE, type Kind } from "./resource.ts";
import type { ResourceDocument } from "./session.ts";
import { suggest } from "./suggest.ts";

export interface Finding {
  readonly path: readonly string[];
  readonly reason: string;
  readonly severity: Problem["severity"];
}

export type Mapping = { readonly [name: string]: unknown };
export const isMapping = (value: unknown): value is Mapping =>
  typeof value === "object" && value !== null && !Array.isArray(value);

export const missing = (value: unknown): string =>
  value === undefined ? "is missing" : "must be text";
export const unknownField = (name: string, known: readonly string[]): string => {
  const near = suggest(name, known);
  if (near !== undefined) return `is not a field here; did you mean \`${near}\`?`;
  return `is not a field here; known are ${known.join(", ")}`;
};

const METADATA = ["name", "namespace", "labels", "annotations"];
/** Written by Kubernetes into what `kubectl get -o yaml` prints; it means nothing here. */
const KUBERNETES_METADATA = [
  "creationTimestamp",
  "uid",
  "resourceVersion",
  "generation",
  "managedFields",
  "selfLink",
];
const METADATA_NOT_YET = ["generateName", "ownerReferences", "finalizers"];

/** RFC 1123 subdomain; names of Workloads are one label, since the mesh wire writes them into SNI. */
const SUBDOMAIN = /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*$/;
const LABEL = /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/;
const LABEL_VALUE = /^(?:[a-z0-9](?:[-a-z0-9_.]{0,61}[a-z0-9])?)?$/i;
const AS_LABEL = "must be a DNS label: at most 63 of a-z, 0-9 and -, not first or last";

type Refuse = (path: readonly string[], reason: string) => void;

/** Adds what is wrong to `findings`; undefined if there is no name to go by. */
export function readMetadata(
  metadata: unknown,
  kind: Kind,
  findings: Finding[],
): ResourceDocument["metadata"] | undefined {
  const refuse: Refuse = (path, reason) => {
    findings.push({ path: ["metadata", ...path], reason, severity: "error" });
  };
  if (!isMapping(metadata)) {
    refuse([], metadata === undefined ? "is missing" : "must be a mapping");
    return undefined;
  }
  checkFields(metadata, refuse, findings);
  const { name, namespace = DEFAULT_NAMESPACE } = metadata;
  checkNames(kind, name, namespace, refuse);
  const labels = readTexts(metadata, "labels", refuse);
  const annotations = readTexts(metadata, "annotations", refuse);
  if (typeof name !== "string" || typeof namespace !== "string") return undefined;
  return {
    name,
    namespace,
    ...(labels === undefined ? {} : { labels }),
    ...(annotations === undefined ? {} : { annotations }),
  };
}

function checkFields(metadata: Mapping, refuse: Refuse, findings: Finding[]): void {
  for (const name of Object.keys(metadata)) {
    if (METADATA.includes(name)) continue;
    if (KUBERNETES_METADATA.includes(name))
      findings.push({
        path: ["metadata", name],
        reason: "is Kubernetes' own and left out",
        severity: "warning",
      });
    else if (METADATA_NOT_YET.includes(name)) refuse([name], "is not supported yet");
    else refuse([name], unknownField(name, METADATA));
  }
}

function checkNames(kind: Kind, name: unknown, namespace: unknown, refuse: Refuse): void {
  const isOneLabel = kind === "Workload" || kind === "WorkloadEntry";
  if (typeof name !== "string") refuse(["name"], missing(name));
  else if (isOneLabel && !LABEL.test(name)) refuse(["name"], AS_LABEL);
  else if (name.length > 253 || !SUBDOMAIN.test(name))
    refuse(["name"], "must be a DNS name in lower case: a-z, 0-9, - and .");
  if (typeof namespace !== "string") refuse(["namespace"], missing(namespace));
  else if (!LABEL.test(namespace)) refuse(["namespace"], AS_LABEL);
}

/** Label values select endpoints, so they must be text and bounded; `version: 1` without quotes is a number. */
function readTexts(
  metadata: Mapping,
  field: "labels" | "annotations",
  refuse: Refuse,
): Record<string, string> | undefined {
  const value = metadata[field];
  if (value === undefined || value === null) return undefined;
  if (!isMapping(value)) {
    refuse([field], "must be a mapping");
    return undefined;
  }
  const texts: [string, string][] = [];
  for (const [name, text] of Object.entries(value)) {
    if (typeof text !== "string")
      refuse([field, name], `must be text: write "${String(text)}" in quotes`);
    else if (field === "labels" && !LABEL_VALUE.test(text))
      refuse([field, name], "must be at most 63 letters, digits, -, _ and .");
    else texts.push([name, text]);
  }
  return Object.fromEntries(texts);
}
