// From any value to a validated resource, or to every reason why it is none. The registry of kinds and their schemas.
// Loads zod and all schemas: import it lazily where an agent's start would pay for it.
import type * as z from "zod";
import { err, ok, type Problem, type Result } from "../base/result.ts";
import { destinationRuleSpec, type TrafficPolicySpec } from "./destination-rule.ts";
import { type Envelope, envelopeOf } from "./envelope.ts";
import { rateLimitSpec } from "./rate-limit.ts";
import { canonicalJson, type Kind } from "./resource.ts";
import { authorizationPolicySpec, peerAuthenticationSpec } from "./security.ts";
import { serviceEntrySpec, workloadEntrySpec } from "./service-entry.ts";
import type { ResourceDocument } from "./session.ts";
import { UNIT_BYTES_MAX } from "./session.ts";
import { SYSTEM_NAMESPACE } from "./spiffe.ts";
import { virtualServiceSpec } from "./virtual-service.ts";
import { workloadSpec } from "./workload.ts";

export const SPEC_SCHEMAS: Readonly<Record<Kind, z.ZodType>> = {
  VirtualService: virtualServiceSpec,
  DestinationRule: destinationRuleSpec,
  ServiceEntry: serviceEntrySpec,
  WorkloadEntry: workloadEntrySpec,
  PeerAuthentication: peerAuthenticationSpec,
  AuthorizationPolicy: authorizationPolicySpec,
  RateLimit: rateLimitSpec,
  Workload: workloadSpec,
};

export type FieldPath = readonly PropertyKey[];
/** Where a document came from: words, or a function that knows the line of each path. */
export type Place = string | ((path: FieldPath) => string | undefined);

export interface CheckedResource {
  /** Undefined when an error refused it, and when it is a Kubernetes kind that is skipped with a warning. */
  readonly resource: ResourceDocument | undefined;
  readonly problems: readonly Problem[];
}

/** The resource, or all that is wrong with it; warnings alone in the error mean: skipped on purpose. */
export function parseResource(
  document: unknown,
  place: Place = "",
): Result<ResourceDocument, readonly Problem[]> {
  const { resource, problems } = checkResource(document, place);
  return resource === undefined ? err(problems) : ok(resource);
}

/** As parseResource, but tells warnings of accepted resources too. */
export function checkResource(document: unknown, place: Place = ""): CheckedResource {
  const problems: Problem[] = [];
  const found = envelopeOf(document);
  const report = (severity: Problem["severity"], path: FieldPath, reason: string): void => {
    const at = typeof place === "string" ? place : place(path);
    problems.push({
      ...(at ? { place: at } : {}),
      ...(found.title === undefined ? {} : { document: found.title }),
      path: pathText(path),
      reason,
      severity,
    });
  };
  for (const finding of found.findings) report(finding.severity, finding.path, finding.reason);
  if (found.kind === undefined) return { resource: undefined, problems };

  const parsed = SPEC_SCHEMAS[found.kind].safeParse(found.spec, { error: wording });
  for (const issue of parsed.error?.issues ?? [])
    report("error", ["spec", ...issue.path], issue.message);
  if (parsed.success) for (const w of warningsOf(found, parsed.data)) report("warning", ...w);
  const resource = parsed.success ? documentOf(found, parsed.data) : undefined;
  if (found.metadata?.namespace === SYSTEM_NAMESPACE)
    report(
      "error",
      ["metadata", "namespace"],
      `must not be ${SYSTEM_NAMESPACE}: it is the mesh's own`,
    );
  if (resource !== undefined && canonicalJson(resource).length > UNIT_BYTES_MAX / 4)
    report("error", [], `is too large: more than ${UNIT_BYTES_MAX / 4} characters`);
  return problems.some((p) => p.severity === "error")
    ? { resource: undefined, problems }
    : { resource, problems };
}

function documentOf(found: Envelope, spec: unknown): ResourceDocument | undefined {
  if (found.kind === undefined || found.metadata === undefined) return undefined;
  return { apiVersion: found.apiVersion, kind: found.kind, metadata: found.metadata, spec };
}

/** zod's issues in our words: what a field must be, and what stands there instead. */
const wording: z.core.$ZodErrorMap = (issue) => {
  switch (issue.code) {
    case "invalid_type":
      if (issue.input === undefined) return "is missing";
      if (issue.input === null) return `is empty: write ${nameOfType(issue.expected)} or remove it`;
      return `must be ${nameOfType(issue.expected)}, not ${describe(issue.input)}${hint(issue.expected, issue.input)}`;
    case "invalid_value":
      if (issue.input === undefined) return "is missing";
      return `must be ${issue.values.map(String).join(" or ")}, not ${describe(issue.input)}`;
    case "invalid_key":
      return issue.issues[0]?.message;
    case "too_big":
      return `has more than ${issue.maximum} items`;
    default:
      return undefined;
  }
};

const TYPE_NAMES: Readonly<Record<string, string>> = {
  string: "text",
  number: "a number",
  int: "a whole number",
  boolean: "true or false",
  array: "a list",
  object: "a mapping",
  record: "a mapping",
};
const nameOfType = (expected: string): string => TYPE_NAMES[expected] ?? expected;

function describe(input: unknown): string {
  if (Array.isArray(input)) return "a list";
  if (typeof input === "object") return "a mapping";
  if (typeof input === "string") return JSON.stringify(input.slice(0, 40));
  return `the ${typeof input} ${String(input)}`;
}
const hint = (expected: string, input: unknown): string =>
  expected === "string" && (typeof input === "number" || typeof input === "boolean")
    ? `: write "${String(input)}" in quotes`
    : "";

/** `spec.http[0].match[0].headers["end-user"]` */
export function pathText(path: FieldPath): string {
  let text = "";
  for (const part of path) {
    if (typeof part === "number") text += `[${part}]`;
    else if (/^[A-Za-z_$][A-Za-z0-9_$]*$/.test(String(part)))
      text += `${text && "."}${String(part)}`;
    else text += `[${JSON.stringify(String(part))}]`;
  }
  return text;
}

type Warning = readonly [path: FieldPath, reason: string];

/** What is allowed and probably not meant. */
function warningsOf({ kind }: Envelope, spec: unknown): Warning[] {
  if (kind === "AuthorizationPolicy") {
    const { action, rules = [] } = authorizationPolicySpec.parse(spec);
    return action === "DENY" && rules.length === 0
      ? [[["spec", "rules"], "is empty, so this DENY policy refuses nobody"]]
      : [];
  }
  if (kind === "DestinationRule") {
    const { trafficPolicy, subsets = [] } = destinationRuleSpec.parse(spec);
    return [
      ...overruled(["spec", "trafficPolicy"], trafficPolicy),
      ...subsets.flatMap((s, i) =>
        overruled(["spec", "subsets", i, "trafficPolicy"], s.trafficPolicy),
      ),
    ];
  }
  if (kind === "VirtualService") {
    const { http = [], tcp = [] } = virtualServiceSpec.parse(spec);
    return [...neverReached("http", http), ...neverReached("tcp", tcp)];
  }
  return [];
}

/** Envoy's rule; the writer may think that both hold. */
function overruled(path: FieldPath, policy: TrafficPolicySpec | undefined): Warning[] {
  if (policy?.retryBudget === undefined || policy.connectionPool?.http?.maxRetries === undefined)
    return [];
  return [
    [[...path, "connectionPool", "http", "maxRetries"], "is not used: retryBudget holds instead"],
  ];
}

function neverReached(
  name: string,
  routes: readonly { match?: unknown[] | undefined }[],
): Warning[] {
  const catchAll = routes.findIndex((route) => (route.match ?? []).length === 0);
  return routes.flatMap((_, i) =>
    catchAll >= 0 && i > catchAll
      ? [
          [
            ["spec", name, i],
            `is never used: rule ${catchAll} before it matches everything`,
          ] as const,
        ]
      : [],
  );
}
