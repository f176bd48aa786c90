// What an explanation is asked about: a call as far as it is known. Of one that was recorded, some values were not kept (they were too
// long, or look like secrets); a rule that hangs on one of those is neither said to match nor not to.

import type { AuthorizationRule, ConditionMatch, OperationMatch } from "./authorization-rules.ts";
import { type Action, type Asked, type RulePart, ruleMiss } from "./clauses.ts";
import type { LocalWorkload } from "./snapshot.ts";

/** The workload that is called, as the compiler left it. */
export type Judged = Pick<
  LocalWorkload,
  "name" | "namespace" | "identity" | "labels" | "authorization" | "rateLimits"
>;

export interface Question extends Asked {
  /** Canonical host of the service that was meant. */
  readonly service?: string | undefined;
  /** Header names (lower case), PATH and AUTHORITY, whose values somebody did not keep. */
  readonly notKept: ReadonlySet<string>;
}

export const PATH = ":path";
export const AUTHORITY = ":authority";
export const ALL_IS_KNOWN: ReadonlySet<string> = new Set();

export type RuleOutcome =
  | { readonly is: "match" }
  | { readonly is: "no_match"; readonly part: RulePart }
  | { readonly is: "unknown" };

export function ruleOutcome(
  rule: AuthorizationRule,
  question: Question,
  action: Action,
): RuleOutcome {
  const { notKept } = question;
  const isUnsure = notKept.size > 0 && hangsOn(rule, notKept);
  // Fewer clauses match more: what fails without them fails with them.
  const part = ruleMiss(isUnsure ? without(rule, notKept) : rule, question, action);
  if (part !== undefined) return { is: "no_match", part };
  return { is: isUnsure ? "unknown" : "match" };
}

type Names = ReadonlySet<string>;

const hangsOn = ({ to, when }: AuthorizationRule, notKept: Names): boolean =>
  to.some((operation) => fieldNotKept(operation, notKept) !== undefined) ||
  when.some((condition) => isNotKept(condition, notKept));

const without = ({ from, to, when }: AuthorizationRule, notKept: Names): AuthorizationRule => ({
  from,
  to: to.map((operation) => ({
    ...operation,
    ...(notKept.has(PATH) ? { paths: undefined, notPaths: undefined } : {}),
    ...(notKept.has(AUTHORITY) ? { hosts: undefined, notHosts: undefined } : {}),
  })),
  when: when.filter((condition) => !isNotKept(condition, notKept)),
});

const FIELDS = [
  ["paths", PATH],
  ["notPaths", PATH],
  ["hosts", AUTHORITY],
  ["notHosts", AUTHORITY],
] as const;

/** The first field of the operation that asks for something that was not kept. */
export const fieldNotKept = (
  operation: OperationMatch,
  notKept: Names,
): (typeof FIELDS)[number][0] | undefined =>
  FIELDS.find(([name, of]) => operation[name] !== undefined && notKept.has(of))?.[0];

export const isNotKept = ({ key }: ConditionMatch, notKept: Names): boolean =>
  key.is === "header" && notKept.has(key.name);
