// One rule in people's words: what of it failed first, what it has there, and what was asked. Bounded: policies may be of any size.
import {
  type ClauseMiss,
  type RuleTrace,
  SHOWN_ALTERNATIVES_MAX,
  SHOWN_CHARS_MAX,
  SHOWN_PATTERNS_MAX,
} from "../api/explain.ts";
import { unreachable } from "../base/assert.ts";
import type {
  AuthorizationRule,
  ConditionMatch,
  OperationMatch,
  SourceMatch,
} from "./authorization-rules.ts";
import {
  barePath,
  conditionMiss,
  namespaceOf,
  operationMiss,
  principalOf,
  type RulePart,
  sourceMiss,
} from "./clauses.ts";
import { fieldNotKept, isNotKept, type Question, type RuleOutcome } from "./question.ts";

/** What failed first, as ruleMiss() says; of sources and operations what failed first in each. */
export function traceRule(
  rule: AuthorizationRule,
  path: string,
  outcome: RuleOutcome,
  question: Question,
): RuleTrace {
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

export const operationMisses = (to: readonly OperationMatch[], question: Question): ClauseMiss[] =>
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

function askedOf(
  key: ConditionMatch["key"],
  { caller, destination, request, serverName }: Question,
): string {
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
    case "connection.sni":
      return serverName ?? "no server name";
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
