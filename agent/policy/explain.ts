// What is asked of an inbound connection or request, clause by clause, with the functions that enforce it (clauses.ts): peer
// authentication, then DENY, then ALLOW, then rate limits. For people, so off the data path; it is pure and total.
import {
  type AskedView,
  type ClauseMiss,
  type ExplainStep,
  type Explanation,
  type RuleTrace,
  SHOWN_ALTERNATIVES_MAX,
  SHOWN_CHARS_MAX,
  SHOWN_PATTERNS_MAX,
  SHOWN_POLICIES_MAX,
  SHOWN_RULES_MAX,
} from "../api/explain.ts";
import { unreachable } from "../base/assert.ts";
import { whatWouldAdmit } from "./admit.ts";
import {
  type Action,
  barePath,
  conditionMiss,
  namespaceOf,
  operationMiss,
  principalOf,
  type RulePart,
  sourceMiss,
} from "./clauses.ts";
import { fieldNotKept, isNotKept, type Judged, type Question, ruleOutcome } from "./question.ts";
import type {
  AuthorizationRule,
  AuthorizationRules,
  ConditionMatch,
  InboundPort,
  OperationMatch,
  RateLimit,
  SourceMatch,
} from "./snapshot.ts";

export function explain(workload: Judged, port: InboundPort, question: Question): Explanation {
  const { authorization, rateLimits = [] } = workload;
  const peer = peerStep(port, question);
  const deny = authorization.deny.map((policy) => policyStep(policy, "deny", question));
  const allow = authorization.allow.map((policy) => policyStep(policy, "allow", question));
  const { verdict, reason } = verdictOf(peer, deny, allow);
  const limits = question.request === undefined ? [] : limitSteps(rateLimits, question);
  const steps = [peer, ...deny, ...allow, ...(verdict === "allowed" ? limits : [])];
  const admit = verdict === "allowed" ? NO_CHANGE : whatWouldAdmit(workload, port, question);
  return {
    verdict,
    reason,
    asked: askedView(workload, port, question),
    steps: steps.slice(0, SHOWN_POLICIES_MAX),
    admit: admit.changes,
    notes:
      steps.length > SHOWN_POLICIES_MAX
        ? [...admit.notes, `${steps.length - SHOWN_POLICIES_MAX} further policies are not shown`]
        : admit.notes,
  };
}

const NO_CHANGE = { changes: [], notes: [] };

export const askedView = (
  workload: Judged,
  port: InboundPort,
  { caller, request, service }: Question,
): AskedView => ({
  from: { identity: caller.identity, address: caller.address || undefined },
  to: {
    workload: `${workload.namespace}/${workload.name}`,
    identity: workload.identity,
    port: port.appPort,
    service,
  },
  ...(request === undefined
    ? {}
    : {
        request: {
          method: request.method,
          path: barePath(request.path),
          host: request.authority,
        },
      }),
});

/** Policies that a sentence names. */
const NAMED_MAX = 8;

/** DENY first, then ALLOW; no ALLOW policy at all admits (authorize.ts decides in the same order; a test holds them together). */
function verdictOf(
  peer: ExplainStep,
  deny: readonly ExplainStep[],
  allow: readonly ExplainStep[],
): Pick<Explanation, "verdict" | "reason"> {
  if (peer.outcome === "refuses") {
    const by = peer.name === undefined ? "PeerAuthentication" : `PeerAuthentication ${peer.name}`;
    return { verdict: "denied", reason: `${by} is STRICT, and the caller comes in plaintext` };
  }
  const denies = deny.find(({ outcome }) => outcome === "refuses");
  if (denies !== undefined) {
    const rule = denies.rules.find(({ outcome }) => outcome === "match");
    const reason = `AuthorizationPolicy ${denies.name} denies it: ${rule?.path ?? "a rule"} matches`;
    return { verdict: "denied", reason };
  }
  if (allow.length === 0)
    return {
      verdict: "allowed",
      reason: "no ALLOW policy holds for the workload, so all may call",
    };
  const allows = allow.find(({ outcome }) => outcome === "allows");
  if (allows !== undefined) {
    const rule = allows.rules.find(({ outcome }) => outcome === "match");
    const reason = `AuthorizationPolicy ${allows.name} allows it: ${rule?.path ?? "a rule"} matches`;
    return { verdict: "allowed", reason };
  }
  const more = allow.length > NAMED_MAX ? ` and ${allow.length - NAMED_MAX} more` : "";
  const named = allow.slice(0, NAMED_MAX).map(({ name }) => name);
  const names = `${named.join(", ")}${more}`;
  const [word, verb] =
    allow.length === 1 ? ["AuthorizationPolicy", "does not"] : ["AuthorizationPolicies", "do not"];
  return { verdict: "denied", reason: `${word} ${names} ${verb} allow it: no rule matches` };
}

function peerStep({ mtls, mtlsBy }: InboundPort, { caller }: Question): ExplainStep {
  const isRefused = mtls === "strict" && caller.identity === undefined;
  return {
    kind: "PeerAuthentication",
    name: mtlsBy?.policy,
    says: mtls.toUpperCase(),
    outcome: isRefused ? "refuses" : "passes",
    rules: isRefused
      ? [
          {
            path: mtlsBy?.path ?? "spec.mtls.mode",
            outcome: "match",
            clauses: [{ path: "", has: ["STRICT"], omitted: 0, asked: "plaintext" }],
          },
        ]
      : [],
    rulesOmitted: 0,
  };
}

function policyStep(
  { policy, rules }: AuthorizationRules,
  action: Action,
  question: Question,
): ExplainStep {
  const traces = rules.map((rule, i) => traceRule(rule, `spec.rules[${i}]`, question, action));
  const matches = traces.filter(({ outcome }) => outcome === "match");
  const others = traces.filter(({ outcome }) => outcome !== "match");
  const shown = [...matches, ...others].slice(0, SHOWN_RULES_MAX);
  const isUnknown = others.some(({ outcome }) => outcome === "unknown");
  return {
    kind: "AuthorizationPolicy",
    name: policy,
    says: action.toUpperCase(),
    outcome:
      matches.length > 0
        ? action === "deny"
          ? "refuses"
          : "allows"
        : isUnknown
          ? "unknown"
          : "no_match",
    rules: shown,
    rulesOmitted: traces.length - shown.length,
  };
}

/** What failed first, as ruleMiss() says; of sources and operations what failed first in each. */
function traceRule(
  rule: AuthorizationRule,
  path: string,
  question: Question,
  action: Action,
): RuleTrace {
  const outcome = ruleOutcome(rule, question, action);
  switch (outcome.is) {
    case "match":
      return { path, outcome: "match", clauses: [] };
    case "unknown":
      return { path, outcome: "unknown", clauses: notKeptClauses(rule, question) };
    case "no_match":
      return { path, outcome: "no_match", clauses: missesOf(rule, outcome.part, question) };
    default:
      return unreachable(outcome);
  }
}

function missesOf(rule: AuthorizationRule, part: RulePart, question: Question): ClauseMiss[] {
  switch (part) {
    case "http":
      return [HTTP_ONLY];
    case "from":
      return sourceMisses(rule.from, question);
    case "to":
      return operationMisses(rule.to, question);
    case "when":
      return firstCondition(rule.when, question);
    default:
      return unreachable(part);
  }
}

const HTTP_ONLY: ClauseMiss = {
  path: "",
  has: ["a rule about HTTP requests"],
  omitted: 0,
  asked: "an opaque connection",
};

const NOT_KEPT = "a value that is not kept";

/** What would decide and is not known. */
function notKeptClauses(rule: AuthorizationRule, { notKept }: Question): ClauseMiss[] {
  const operations = rule.to.flatMap((operation, i) => {
    const name = fieldNotKept(operation, notKept);
    return name === undefined
      ? []
      : clauseMiss(`to[${i}].operation.${name}`, operation[name] ?? [], NOT_KEPT);
  });
  const conditions = rule.when.flatMap((condition, i) => {
    if (!isNotKept(condition, notKept)) return [];
    const name = condition.values === undefined ? "notValues" : "values";
    const path = `when[${i}].${name} of ${keyText(condition.key)}`;
    return clauseMiss(path, condition[name] ?? [], NOT_KEPT);
  });
  return [...operations, ...conditions].slice(0, SHOWN_ALTERNATIVES_MAX);
}

const sourceMisses = (from: readonly SourceMatch[], { caller }: Question): ClauseMiss[] =>
  from.slice(0, SHOWN_ALTERNATIVES_MAX).flatMap((source, i) => {
    const clause = sourceMiss(source, caller);
    if (clause === undefined) return [];
    const asked = {
      principals: principalOf(caller.identity) ?? NO_IDENTITY,
      namespaces: namespaceOf(caller.identity) ?? NO_IDENTITY,
      ipBlocks: caller.address || NO_ADDRESS,
    }[positive(clause)];
    return clauseMiss(`from[${i}].source.${clause}`, source[clause] ?? [], asked);
  });

const operationMisses = (to: readonly OperationMatch[], question: Question): ClauseMiss[] =>
  to.slice(0, SHOWN_ALTERNATIVES_MAX).flatMap((operation, i) => {
    const clause = operationMiss(operation, question);
    if (clause === undefined) return [];
    const { request, destination } = question;
    const asked = {
      ports: String(destination.port),
      methods: request?.method ?? "",
      paths: barePath(request?.path ?? ""),
      hosts: request?.authority ?? "",
    }[positive(clause)];
    return clauseMiss(`to[${i}].operation.${clause}`, operation[clause] ?? [], asked);
  });

function firstCondition(when: readonly ConditionMatch[], question: Question): ClauseMiss[] {
  for (const [i, condition] of when.entries()) {
    const clause = conditionMiss(condition, question);
    if (clause === undefined) continue;
    if (isNotKept(condition, question.notKept)) continue;
    const path = `when[${i}].${clause} of ${keyText(condition.key)}`;
    return [clauseMiss(path, condition[clause] ?? [], askedOf(condition.key, question))];
  }
  return [];
}

const keyText = (key: ConditionMatch["key"]): string =>
  key.is === "header" ? `request.headers[${key.name}]` : key.is;

function askedOf(key: ConditionMatch["key"], { caller, destination, request }: Question): string {
  switch (key.is) {
    case "header":
      return request?.header(key.name) ?? "absent";
    case "source.ip":
      return caller.address || NO_ADDRESS;
    case "source.namespace":
      return namespaceOf(caller.identity) ?? NO_IDENTITY;
    case "source.principal":
      return principalOf(caller.identity) ?? NO_IDENTITY;
    case "destination.port":
      return String(destination.port);
    default:
      return unreachable(key);
  }
}

const NO_IDENTITY = "no identity";
const NO_ADDRESS = "no known address";

const POSITIVE = {
  principals: "principals",
  notPrincipals: "principals",
  namespaces: "namespaces",
  notNamespaces: "namespaces",
  ipBlocks: "ipBlocks",
  notIpBlocks: "ipBlocks",
  ports: "ports",
  notPorts: "ports",
  methods: "methods",
  notMethods: "methods",
  paths: "paths",
  notPaths: "paths",
  hosts: "hosts",
  notHosts: "hosts",
} as const;
const positive = <C extends keyof typeof POSITIVE>(clause: C): (typeof POSITIVE)[C] =>
  POSITIVE[clause];

const clauseMiss = (
  path: string,
  has: readonly (string | number)[],
  asked: string,
): ClauseMiss => ({
  path,
  has: has.slice(0, SHOWN_PATTERNS_MAX).map((one) => clipped(String(one))),
  omitted: Math.max(0, has.length - SHOWN_PATTERNS_MAX),
  asked: clipped(asked),
});

const clipped = (text: string): string =>
  text.length <= SHOWN_CHARS_MAX ? text : `${text.slice(0, SHOWN_CHARS_MAX)}…`;

/** By what each limit counts. Whether there is room is not asked: that would take a token. */
const limitSteps = (limits: readonly RateLimit[], question: Question): ExplainStep[] =>
  limits.map((limit): ExplainStep => {
    const { name, to, requests, perMs, burst } = limit;
    const counts = to.length === 0 || to.some((one) => operationMiss(one, question) === undefined);
    const { policy, path } = limitPath(limits, name);
    return {
      kind: "RateLimit",
      name: policy,
      says: `${requests} requests in ${perMs} ms, ${burst} at once`,
      outcome: counts ? "counts" : "no_match",
      rules: [
        {
          path,
          outcome: counts ? "match" : "no_match",
          clauses: counts ? [] : operationMisses(to, question),
        },
      ],
      rulesOmitted: 0,
    };
  });

/** All limits of a resource that holds for a workload are there, in its order (rate-limits.ts). */
export function limitPath(
  limits: readonly Pick<RateLimit, "name">[],
  name: string,
): { readonly policy: string; readonly path: string } {
  const policy = name.slice(0, name.lastIndexOf(":"));
  const own = limits.filter((one) => one.name.startsWith(`${policy}:`));
  return { policy, path: `spec.limits[${own.findIndex((one) => one.name === name)}]` };
}
