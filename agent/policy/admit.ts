// The least edit of the policies there are that would admit a call which they refuse. Only edits that say exactly what was asked are
// offered: a value that would be read as a pattern (`*`) is not, whoever sent it. A property test applies them and asks again.
import { CHANGES_MAX, type PolicyChange } from "../api/explain.ts";
import { SYSTEM_NAMESPACE } from "../api/spiffe.ts";
import type {
  AuthorizationRule,
  AuthorizationRules,
  ConditionMatch,
  OperationMatch,
} from "./authorization-rules.ts";
import {
  barePath,
  conditionMiss,
  namespaceOf,
  operationMiss,
  principalOf,
  ruleMiss,
  sourceMiss,
} from "./clauses.ts";
import {
  fieldNotKept,
  isNotKept,
  type Judged,
  PATH,
  type Question,
  ruleOutcome,
} from "./question.ts";
import type { Caller } from "./request-view.ts";
import type { InboundPort } from "./snapshot.ts";

export interface Admission {
  /** All of them together. */
  readonly changes: readonly PolicyChange[];
  readonly notes: readonly string[];
}

/** For a call that is refused. */
export function whatWouldAdmit(workload: Judged, port: InboundPort, question: Question): Admission {
  const { deny, allow } = workload.authorization;
  const parts = [
    port.mtls === "strict" && question.caller.identity === undefined
      ? letPlaintextIn(workload, port)
      : NOTHING,
    ...deny.flatMap((policy) => exclusions(policy, question)),
    isAllowed(allow, question) ? NOTHING : allowance(workload, question),
  ];
  if (parts.some(({ isImpossible }) => isImpossible))
    return { changes: [], notes: parts.flatMap(({ notes = [] }) => notes) };
  const changes = parts.flatMap(({ changes: some = [] }) => some);
  if (changes.length > CHANGES_MAX)
    return { changes: [], notes: [`it would take ${changes.length} edits: rewrite the policies`] };
  return {
    changes,
    notes: [...hostNotes(question.caller), ...parts.flatMap(({ notes = [] }) => notes)],
  };
}

const hostNotes = ({ identity }: Caller): string[] =>
  namespaceOf(identity) === SYSTEM_NAMESPACE
    ? [
        `the caller is a host: that is every process there that no Workload names; better declare the one that calls`,
      ]
    : [];

interface Part {
  readonly changes?: readonly PolicyChange[];
  readonly notes?: readonly string[];
  readonly isImpossible?: boolean;
}
const NOTHING: Part = {};
const impossible = (note: string): Part => ({ notes: [note], isImpossible: true });

function isAllowed(allow: readonly AuthorizationRules[], question: Question): boolean {
  const matches = (rule: AuthorizationRule): boolean =>
    ruleOutcome(rule, question, "allow").is === "match";
  return allow.length === 0 || allow.some(({ rules }) => rules.some(matches));
}

// ---- PeerAuthentication

const BETTER =
  "better than to let plaintext in: give the caller an identity, by a Workload for its process on a host that joined (`meshctl token create`)";

function letPlaintextIn({ name, namespace, labels }: Judged, port: InboundPort): Part {
  const { mtlsBy, appPort } = port;
  const notes = [BETTER];
  const base = { kind: "PeerAuthentication" } as const;
  const whole = mtlsBy?.policy ?? `${namespace}/default`;
  if (mtlsBy?.selects === true) {
    const path = `spec.portLevelMtls["${appPort}"].mode`;
    const widens = "everybody who reaches the port, in plaintext";
    return {
      changes: [{ ...base, name: whole, edit: "set", path, value: "PERMISSIVE", widens }],
      notes,
    };
  }
  if (Object.keys(labels).length === 0) {
    const path = "spec.mtls.mode";
    const widens =
      "everybody, in plaintext, to every workload it holds for: this one has no labels to select it by";
    return {
      changes: [{ ...base, name: whole, edit: "set", path, value: "PERMISSIVE", widens }],
      notes,
    };
  }
  const own = `${name}-permissive`;
  const value = {
    apiVersion: "security.istio.io/v1",
    kind: "PeerAuthentication",
    metadata: { name: own, namespace },
    spec: {
      selector: { matchLabels: labels },
      portLevelMtls: { [appPort]: { mode: "PERMISSIVE" } },
    },
  };
  const widens = "everybody who reaches the port, in plaintext";
  return {
    changes: [{ ...base, name: `${namespace}/${own}`, edit: "create", path: "", value, widens }],
    notes,
  };
}

// ---- DENY: the caller is taken out of every rule that matches

function exclusions({ policy, rules }: AuthorizationRules, question: Question): Part[] {
  return rules.flatMap((rule, i) => {
    if (ruleOutcome(rule, question, "deny").is === "no_match") return [];
    const excluded = exclusionOf(question.caller);
    if (excluded === undefined)
      return [
        impossible(`${policy} denies it, and nothing is known of the caller to except it by`),
      ];
    const path = `spec.rules[${i}].from`;
    const base = { kind: "AuthorizationPolicy", name: policy } as const;
    const widens = `whatever else ${policy} spec.rules[${i}] denies the caller`;
    const [clause, value] = excluded;
    if (rule.from.length === 0) {
      const source = { source: { [clause]: [value] } };
      return [{ changes: [{ ...base, edit: "add", path, value: source, widens } as const] }];
    }
    const changes = rule.from.flatMap((source, j) =>
      sourceMiss(source, question.caller) === undefined
        ? [{ ...base, edit: "add", path: `${path}[${j}].source.${clause}`, value, widens } as const]
        : [],
    );
    return [{ changes }];
  });
}

function exclusionOf(
  caller: Caller,
): readonly ["notPrincipals" | "notIpBlocks", string] | undefined {
  const principal = principalOf(caller.identity);
  if (principal !== undefined)
    return isLiteral(principal) ? ["notPrincipals", principal] : undefined;
  return caller.address === "" ? undefined : ["notIpBlocks", caller.address];
}

// ---- ALLOW: the rule that is one clause away, else a rule of its own

function allowance(workload: Judged, question: Question): Part {
  const { allow } = workload.authorization;
  for (const find of [byCaller, byOperation, byCondition]) {
    for (const { policy, rules } of allow) {
      for (const [i, rule] of rules.entries()) {
        // Whatever is added, it stays a rule about HTTP.
        if (ruleMiss(rule, question, "allow") === "http") continue;
        const found = find(rule, question);
        if (found === undefined) continue;
        const at = `spec.rules[${i}]`;
        const base = { kind: "AuthorizationPolicy", name: policy, edit: "add" } as const;
        const path = `${at}.${found.path}`;
        return { changes: [{ ...base, path, value: found.value, widens: found.widens(at) }] };
      }
    }
  }
  return ownRule(workload, question);
}

interface Found {
  readonly path: string;
  readonly value: unknown;
  widens(rule: string): string;
}

/** Everything but who calls is as the rule wants it. */
function byCaller(rule: AuthorizationRule, question: Question): Found | undefined {
  const isNear = ruleOutcome({ ...rule, from: [] }, question, "allow").is === "match";
  const who = sourceOf(question.caller);
  if (!isNear || who === undefined) return undefined;
  const [clause, value] = who;
  const at = rule.from.findIndex(
    (source) =>
      source[clause] !== undefined &&
      sourceMiss({ ...source, [clause]: undefined }, question.caller) === undefined,
  );
  const widens = (path: string): string => `the caller, to all that ${path} allows`;
  return at < 0
    ? { path: "from", value: { source: { [clause]: [value] } }, widens }
    : { path: `from[${at}].source.${clause}`, value, widens };
}

function sourceOf(caller: Caller): readonly ["principals" | "ipBlocks", string] | undefined {
  const principal = principalOf(caller.identity);
  if (principal !== undefined) return isLiteral(principal) ? ["principals", principal] : undefined;
  return caller.address === "" ? undefined : ["ipBlocks", caller.address];
}

/** Everything but one list of one operation is. */
function byOperation(rule: AuthorizationRule, question: Question): Found | undefined {
  if (ruleOutcome({ ...rule, to: [] }, question, "allow").is !== "match") return undefined;
  for (const [i, operation] of rule.to.entries()) {
    const clause = operationMiss(operation, question);
    if (clause === undefined || !isAdditive(clause)) continue;
    if (operationMiss({ ...operation, [clause]: undefined }, question) !== undefined) continue;
    const value = valueFor(clause, question);
    if (value === undefined || fieldNotKept(operation, question.notKept) !== undefined) continue;
    const widens = (path: string): string => `all callers that ${path} names, to the same`;
    return { path: `to[${i}].operation.${clause}`, value, widens };
  }
  return undefined;
}

const ADDITIVE = ["methods", "paths", "ports", "hosts"] as const;
type Additive = (typeof ADDITIVE)[number];
const isAdditive = (clause: keyof OperationMatch): clause is Additive =>
  ADDITIVE.some((one) => one === clause);

function valueFor(
  clause: Additive,
  { destination, request, notKept }: Question,
): string | undefined {
  switch (clause) {
    case "ports":
      return String(destination.port);
    case "methods":
      return literal(request?.method);
    case "paths":
      return notKept.has(PATH) ? undefined : literal(request && barePath(request.path));
    case "hosts":
      return literal(request?.authority);
  }
}

/** Everything but one value of one condition is. */
function byCondition(rule: AuthorizationRule, question: Question): Found | undefined {
  if (ruleOutcome({ ...rule, when: [] }, question, "allow").is !== "match") return undefined;
  const missing = rule.when.flatMap((one, i) =>
    conditionMiss(one, question) === undefined ? [] : [[one, i] as const],
  );
  const [first, ...more] = missing;
  if (first === undefined || more.length > 0) return undefined;
  const [condition, i] = first;
  if (rule.when.some((one) => isNotKept(one, question.notKept))) return undefined;
  if (conditionMiss(condition, question) !== "values") return undefined;
  if (conditionMiss({ ...condition, values: undefined }, question) !== undefined) return undefined;
  const value = conditionValue(condition, question);
  const widens = (path: string): string => `all callers that ${path} names, with that value`;
  return value === undefined ? undefined : { path: `when[${i}].values`, value, widens };
}

/** Only of these: who calls, and where, has words of its own in `from` and `to`. */
function conditionValue(
  { key }: ConditionMatch,
  { request, serverName }: Question,
): string | undefined {
  if (key.is === "header") return literal(request?.header(key.name));
  return key.is === "connection.sni" ? literal(serverName) : undefined;
}

/** A rule that says what was asked and no more. */
function ownRule({ namespace, authorization }: Judged, question: Question): Part {
  const { allow } = authorization;
  const policy = (allow.find((one) => one.policy.startsWith(`${namespace}/`)) ?? allow[0])?.policy;
  const who = sourceOf(question.caller);
  if (policy === undefined || who === undefined)
    return impossible("no line is offered: nothing is known of the caller to name it by");
  const operation = operationOf(question);
  if (operation === undefined)
    return impossible(
      "no line is offered: the method or path would be read as a pattern in a policy, or is not kept",
    );
  const [clause, value] = who;
  const rule = { from: [{ source: { [clause]: [value] } }], to: [{ operation }] };
  const base = { kind: "AuthorizationPolicy", name: policy, edit: "add" } as const;
  return { changes: [{ ...base, path: "spec.rules", value: rule }] };
}

function operationOf(question: Question): object | undefined {
  if (question.request === undefined) return { ports: [String(question.destination.port)] };
  const [method, path] = [valueFor("methods", question), valueFor("paths", question)];
  return method === undefined || path === undefined
    ? undefined
    : { methods: [method], paths: [path] };
}

/** Means itself and nothing else where policies take patterns (`*`, path templates). */
const isLiteral = (value: string): boolean =>
  // biome-ignore lint/suspicious/noControlCharactersInRegex: nobody should paste them
  value !== "" && !/^\*|\*$|[{}\x00-\x1f\x7f]/.test(value);
const literal = (value: string | undefined): string | undefined =>
  value !== undefined && isLiteral(value) ? value : undefined;
