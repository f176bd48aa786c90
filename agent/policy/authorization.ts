// AuthorizationPolicies of a workload, as authorize.ts asks them: those of its namespace and of the root namespace whose selector
// its labels hold. https://istio.io/latest/docs/reference/config/security/authorization-policy/
import type { AuthorizationPolicySpec, AuthorizationRuleSpec } from "../api/security.ts";
import type {
  Authorization,
  AuthorizationRule,
  AuthorizationRules,
  ConditionMatch,
  OperationMatch,
  Patterns,
  SourceMatch,
} from "./authorization-rules.ts";
import { labelsHold } from "./labels.ts";
import type { Labels } from "./snapshot.ts";
import type { Rule } from "./sources.ts";

export function compileAuthorization(
  policies: readonly Rule<AuthorizationPolicySpec>[],
  workload: { readonly namespace: string; readonly labels: Labels },
  mesh: { readonly rootNamespace: string; readonly trustDomain: string },
): Authorization {
  const deny: AuthorizationRules[] = [];
  const allow: AuthorizationRules[] = [];
  for (const { name, namespace, spec } of policies) {
    if (namespace !== workload.namespace && namespace !== mesh.rootNamespace) continue;
    if (!labelsHold(spec.selector?.matchLabels ?? {}, workload.labels)) continue;
    const rules = (spec.rules ?? []).map((rule) => compileRule(rule, mesh.trustDomain));
    (spec.action === "DENY" ? deny : allow).push({ policy: `${namespace}/${name}`, rules });
  }
  return { deny, allow };
}

type SourceSpec = NonNullable<AuthorizationRuleSpec["from"]>[number]["source"];
type OperationSpec = NonNullable<AuthorizationRuleSpec["to"]>[number]["operation"];
type ConditionSpec = NonNullable<AuthorizationRuleSpec["when"]>[number];

const compileRule = (rule: AuthorizationRuleSpec, trustDomain: string): AuthorizationRule => ({
  from: (rule.from ?? []).map(({ source }) => compileSource(source, trustDomain)),
  to: (rule.to ?? []).map(({ operation }) => compileOperation(operation)),
  when: (rule.when ?? []).map((condition) => compileCondition(condition, trustDomain)),
});

const compileSource = (source: SourceSpec, trustDomain: string): SourceMatch => ({
  ...source,
  ...given("principals", principals(source.principals, trustDomain)),
  ...given("notPrincipals", principals(source.notPrincipals, trustDomain)),
});

/** `cluster.local` means "this mesh" in everybody's policies, whatever the trust domain is called (Istio's alias). */
const principals = (patterns: Patterns | undefined, trustDomain: string): Patterns | undefined =>
  patterns?.map((pattern) => {
    const bare = pattern.startsWith("spiffe://") ? pattern.slice(9) : pattern;
    return bare.startsWith("cluster.local/") ? trustDomain + bare.slice(13) : bare;
  });

export const compileOperation = ({ ports, notPorts, ...rest }: OperationSpec): OperationMatch => ({
  ...rest,
  ...given("ports", ports?.map(Number)),
  ...given("notPorts", notPorts?.map(Number)),
});

function compileCondition(
  { key, values, notValues }: ConditionSpec,
  trustDomain: string,
): ConditionMatch {
  const parsed = parseKey(key);
  const as = (patterns: Patterns | undefined): Patterns | undefined => {
    if (parsed.is === "source.principal") return principals(patterns, trustDomain);
    // Host names have no case (RFC 4343), and what is read of a ClientHello is in lower case.
    if (parsed.is === "connection.sni") return patterns?.map((text) => text.toLowerCase());
    return patterns;
  };
  return { key: parsed, ...given("values", as(values)), ...given("notValues", as(notValues)) };
}

function parseKey(key: string): ConditionMatch["key"] {
  switch (key) {
    case "source.ip":
    case "source.namespace":
    case "source.principal":
    case "destination.port":
    case "connection.sni":
      return { is: key };
    default:
      return { is: "header", name: key.slice("request.headers[".length, -1).toLowerCase() };
  }
}

/** Leaves absent what is absent: an empty list and none mean different things. */
const given = <K extends string, V>(name: K, value: V | undefined): { [name in K]?: V } =>
  value === undefined ? {} : ({ [name]: value } as { [name in K]?: V });
