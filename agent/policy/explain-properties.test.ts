// Whatever the policies and the call: explanations say what is enforced, and offer what admits.
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  asked,
  CURL,
  caller,
  compiled,
  engineSays,
  judged,
  OPAQUE,
  PAGE,
  PORT,
  type Policies,
  policies,
  question,
  STRANGER,
} from "../../test/support/policy-calls.ts";
import { edited } from "../../test/support/policy-edit.ts";
import type { ExplainStep } from "../api/explain.ts";
import { checkResource } from "../api/parse-resource.ts";
import type { AuthorizationPolicySpec } from "../api/security.ts";
import type { AuthorizationRule } from "./authorization-rules.ts";
import { type Action, ruleMiss } from "./clauses.ts";
import { explain } from "./explain.ts";
import { AUTHORITY, type Judged, PATH, type Question, ruleOutcome } from "./question.ts";
import type { Caller, RequestView } from "./request-view.ts";

/** Of one rule by itself: an ALLOW policy of only that, or a DENY policy. */
function ruleMatches(workload: Judged, step: ExplainStep, path: string, call: Question): boolean {
  const { deny, allow } = workload.authorization;
  const isAllow = step.says === "ALLOW";
  const policy = (isAllow ? allow : deny).find((one) => one.policy === step.name);
  const rule = policy?.rules[Number(/\d+/.exec(path)?.[0])];
  if (rule === undefined) throw new Error(`${step.name} has no ${path}`);
  const alone = [{ policy: "alone", rules: [rule] }];
  const only = isAllow ? { deny: [], allow: alone } : { deny: alone, allow: [] };
  return engineSays(only, call).allowed === isAllow;
}

describe("whatever the policies and the call", () => {
  test("the explained verdict is the enforced one, and so is each rule's", () => {
    const seen = { allowed: 0, denied: 0 };
    const holds = (specs: Policies, who: Caller, what: RequestView | typeof OPAQUE) => {
      const [workload, call] = [judged(specs), question(who, what)];
      const found = explain(workload, PORT, call);
      seen[found.verdict]++;
      const { allowed } = engineSays(workload.authorization, call);
      expect(found.verdict).toBe(allowed ? "allowed" : "denied");
      for (const step of found.steps.slice(1)) {
        for (const { path, outcome, clauses } of step.rules) {
          const matches = ruleMatches(workload, step, path, call);
          expect([step.name, path, outcome]).toEqual([
            step.name,
            path,
            matches ? "match" : "no_match",
          ]);
          expect(clauses.length > 0).toBe(!matches);
        }
      }
    };
    fc.assert(fc.property(policies, caller, asked, holds), { numRuns: 3_000 });
    expect(Math.min(seen.allowed, seen.denied)).toBeGreaterThan(200);
  });

  test("the edits that are offered are valid and admit the call, and where they say so nobody else", () => {
    const seen = { edited: 0, narrow: 0 };
    const holds = (
      specs: Policies,
      who: Caller,
      what: RequestView | typeof OPAQUE,
      other: RequestView | typeof OPAQUE,
    ) => {
      const [workload, call] = [judged(specs), question(who, what)];
      const { verdict, admit, notes } = explain(workload, PORT, call);
      // Allowed: nothing to say. Denied: an edit, or why there is none.
      expect(admit.length + notes.length > 0).toBe(verdict === "denied");
      if (admit.length === 0) return;
      seen.edited++;
      const after = afterChanges(specs, admit);
      for (const [name, spec] of Object.entries(after))
        expect(problemsOf(spec)).toEqual(problemsOf(specs[name] ?? {}));
      expect(engineSays(compiled(after), call).allowed).toBe(true);
      if (admit.some(({ widens }) => widens !== undefined)) return;
      seen.narrow++;
      for (const somebody of [PAGE, CURL, STRANGER].filter((one) => one !== who)) {
        const theirs = question(somebody, other);
        const before = engineSays(workload.authorization, theirs).allowed;
        expect(engineSays(compiled(after), theirs).allowed).toBe(before);
      }
    };
    fc.assert(fc.property(policies, caller, asked, asked, holds), { numRuns: 3_000 });
    expect(seen.edited).toBeGreaterThan(500);
    expect(seen.narrow).toBeGreaterThan(100);
  });
});

test("what is said with some values withheld is true, or said to be unknown", () => {
  const seen = { unknown: 0, known: 0 };
  const holds = (
    specs: Policies,
    who: Caller,
    what: RequestView | typeof OPAQUE,
    notKept: readonly string[],
  ) => {
    const withheld = question(who, hidden(what, notKept), new Set(notKept));
    for (const [rule, action] of rulesOf(specs)) {
      const { is } = ruleOutcome(rule, withheld, action);
      seen[is === "unknown" ? "unknown" : "known"]++;
      if (is === "unknown") continue;
      const isTrue = ruleMiss(rule, question(who, what), action) === undefined;
      expect(is).toBe(isTrue ? "match" : "no_match");
    }
  };
  const names = fc.subarray([PATH, AUTHORITY, "x-team"], { minLength: 1 });
  fc.assert(fc.property(policies, caller, asked, names, holds), { numRuns: 3_000 });
  expect(Math.min(seen.known, seen.unknown)).toBeGreaterThan(20);
});

function rulesOf(specs: Policies): (readonly [AuthorizationRule, Action])[] {
  const { deny, allow } = judged(specs).authorization;
  return [
    ...deny.flatMap(({ rules }) => rules.map((rule) => [rule, "deny"] as const)),
    ...allow.flatMap(({ rules }) => rules.map((rule) => [rule, "allow"] as const)),
  ];
}

/** As a record would have it: cut, or absent. */
const hidden = (
  what: RequestView | typeof OPAQUE,
  notKept: readonly string[],
): RequestView | typeof OPAQUE =>
  what === OPAQUE
    ? OPAQUE
    : {
        ...what,
        path: notKept.includes(PATH) ? what.path.slice(0, 3) : what.path,
        authority: notKept.includes(AUTHORITY) ? what.authority.slice(0, 2) : what.authority,
        header: (name) => (notKept.includes(name) ? undefined : what.header(name)),
      };

function afterChanges(specs: Policies, changes: ReturnType<typeof explain>["admit"]): Policies {
  const after: Policies = { ...specs };
  for (const change of changes) {
    const resource = edited({ spec: after[change.name] }, change) as {
      spec: AuthorizationPolicySpec;
    };
    after[change.name] = resource.spec;
  }
  return after;
}

const problemsOf = (spec: AuthorizationPolicySpec) =>
  checkResource({
    apiVersion: "security.istio.io/v1",
    kind: "AuthorizationPolicy",
    metadata: { name: "p", namespace: "default" },
    spec,
  }).problems.map(({ path, reason }) => `${path} ${reason}`);
