// What is asked of an inbound connection or request, clause by clause, with the functions that enforce it (clauses.ts): peer
// authentication, then DENY, then ALLOW, then rate limits. For people, so off the data path; it is pure and total.
import {
  type AskedView,
  type ExplainStep,
  type Explanation,
  SHOWN_POLICIES_MAX,
  SHOWN_RULES_MAX,
} from "../api/explain.ts";
import { whatWouldAdmit } from "./admit.ts";
import type { AuthorizationRules } from "./authorization-rules.ts";
import { type Action, barePath, operationMiss } from "./clauses.ts";
import { type Judged, type Question, type RuleOutcome, ruleOutcome } from "./question.ts";
import { operationMisses, traceRule } from "./rule-trace.ts";
import type { InboundPort, RateLimit } from "./snapshot.ts";

export function explain(workload: Judged, port: InboundPort, question: Question): Explanation {
  const { authorization, rateLimits = [] } = workload;
  const peer = peerStep(port, question);
  const deny = authorization.deny.map((policy) => judge(policy, "deny", question));
  const allow = authorization.allow.map((policy) => judge(policy, "allow", question));
  const { verdict, reason } = verdictOf(peer, deny, allow);
  const isAllowed = verdict === "allowed";
  const limits = isAllowed && question.request !== undefined ? rateLimits : [];
  const admit = isAllowed ? NO_CHANGE : whatWouldAdmit(workload, port, question);
  const policies = policySteps([...deny, ...allow], question);
  const shownLimits = limitSteps(limits, question).slice(0, SHOWN_POLICIES_MAX);
  const omitted = deny.length + allow.length - policies.length + limits.length - shownLimits.length;
  return {
    verdict,
    reason,
    asked: askedView(workload, port, question),
    steps: [peer, ...policies, ...shownLimits],
    admit: admit.changes,
    notes:
      omitted > 0 ? [...admit.notes, `${omitted} further policies are not shown`] : admit.notes,
  };
}

const NO_CHANGE = { changes: [], notes: [] };

export const askedView = (
  workload: Judged,
  port: InboundPort,
  { caller, request, service, serverName }: Question,
): AskedView => ({
  from: { identity: caller.identity, address: caller.address || undefined },
  to: {
    workload: `${workload.namespace}/${workload.name}`,
    identity: workload.identity,
    port: port.appPort,
    service,
    ...(serverName === undefined ? {} : { serverName }),
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
  deny: readonly JudgedPolicy[],
  allow: readonly JudgedPolicy[],
): Pick<Explanation, "verdict" | "reason"> {
  if (peer.outcome === "refuses") {
    const by = peer.name === undefined ? "PeerAuthentication" : `PeerAuthentication ${peer.name}`;
    return { verdict: "denied", reason: `${by} is STRICT, and the caller comes in plaintext` };
  }
  const denies = deny.find(({ outcome }) => outcome === "refuses");
  if (denies !== undefined)
    return { verdict: "denied", reason: `${nameOf(denies)} denies it: ${matchOf(denies)}` };
  if (allow.length === 0)
    return {
      verdict: "allowed",
      reason: "no ALLOW policy holds for the workload, so all may call",
    };
  const allows = allow.find(({ outcome }) => outcome === "allows");
  if (allows !== undefined)
    return { verdict: "allowed", reason: `${nameOf(allows)} allows it: ${matchOf(allows)}` };
  return { verdict: "denied", reason: noneOf(allow.map(({ policy }) => policy.policy)) };
}

const nameOf = ({ policy }: JudgedPolicy): string => `AuthorizationPolicy ${policy.policy}`;
const matchOf = ({ outcomes }: JudgedPolicy): string =>
  `spec.rules[${outcomes.findIndex(({ is }) => is === "match")}] matches`;

function noneOf(names: readonly string[]): string {
  const more = names.length > NAMED_MAX ? ` and ${names.length - NAMED_MAX} more` : "";
  const named = `${names.slice(0, NAMED_MAX).join(", ")}${more}`;
  return names.length === 1
    ? `AuthorizationPolicy ${named} does not allow it: no rule matches`
    : `AuthorizationPolicies ${named} do not allow it: no rule matches`;
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

/** A policy and what each of its rules comes to. */
interface JudgedPolicy {
  readonly policy: AuthorizationRules;
  readonly action: Action;
  readonly outcomes: readonly RuleOutcome[];
  readonly outcome: ExplainStep["outcome"];
}

function judge(policy: AuthorizationRules, action: Action, question: Question): JudgedPolicy {
  const outcomes = policy.rules.map((rule) => ruleOutcome(rule, question, action));
  const has = (is: RuleOutcome["is"]): boolean => outcomes.some((one) => one.is === is);
  const decides = action === "deny" ? "refuses" : "allows";
  const outcome = has("match") ? decides : has("unknown") ? "unknown" : "no_match";
  return { policy, action, outcomes, outcome };
}

/** In their order. Where there are too many to show, those that decided go first, and in each the rules that match. */
function policySteps(judged: readonly JudgedPolicy[], question: Question): ExplainStep[] {
  const decided = judged.filter(({ outcome }) => outcome !== "no_match");
  const others = judged.filter(({ outcome }) => outcome === "no_match");
  const steps = new Map<JudgedPolicy, ExplainStep>();
  let room = SHOWN_RULES_MAX;
  for (const one of [...decided, ...others].slice(0, SHOWN_POLICIES_MAX)) {
    const step = policyStep(one, question, room);
    room -= step.rules.length;
    steps.set(one, step);
  }
  return judged.flatMap((one) => steps.get(one) ?? []);
}

function policyStep(
  { policy, action, outcomes, outcome }: JudgedPolicy,
  question: Question,
  rulesMax: number,
): ExplainStep {
  const indices = [...outcomes.keys()];
  const isMatch = (i: number): boolean => outcomes[i]?.is === "match";
  const shown = [...indices.filter(isMatch), ...indices.filter((i) => !isMatch(i))];
  const rules = shown.slice(0, rulesMax).flatMap((i) => {
    const [rule, found] = [policy.rules[i], outcomes[i]];
    return rule && found ? traceRule(rule, `spec.rules[${i}]`, found, question) : [];
  });
  return {
    kind: "AuthorizationPolicy",
    name: policy.policy,
    says: action.toUpperCase(),
    outcome,
    rules,
    rulesOmitted: outcomes.length - rules.length,
  };
}

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
