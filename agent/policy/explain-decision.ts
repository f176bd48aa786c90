// A recorded refusal in people's words: by the policies of its moment, which decided, and by those that hold now.
import {
  DECISION_ANSWER_CHARS_MAX,
  type DecisionAnswer,
  type DecisionRecord,
} from "../api/decisions.ts";
import type { Explanation } from "../api/explain.ts";
import { explain, limitPath } from "./explain.ts";
import type { Question } from "./question.ts";
import { refusalText } from "./refusal-words.ts";
import type { RequestView } from "./request-view.ts";
import type { InboundPort, LocalWorkload, Snapshot } from "./snapshot.ts";

export interface Recorded {
  readonly record: DecisionRecord;
  /** The called workload as it was; undefined: none was, or it is not kept any more. */
  readonly workload: LocalWorkload | undefined;
}

/** What runs now on the host that decided. */
export type Now = Pick<Snapshot, "epoch" | "version" | "workloads"> & {
  readonly host: { readonly name: string };
};

export function explainDecision({ record, workload }: Recorded, now: Now): DecisionAnswer {
  const host = now.host.name;
  if (record.cause === "connection") return { host, record, ...refusalText(record.by) };
  const then = workload && byPolicies(record, workload);
  const current = now.workloads.find(
    (one) => `${one.namespace}/${one.name}` === record.to.workload,
  );
  const isSame = record.epoch === now.epoch && record.version === now.version;
  const later = isSame || current === undefined ? undefined : byPolicies(record, current);
  const answer: DecisionAnswer = {
    host,
    record,
    ...(then === undefined
      ? forgotten(record)
      : { reason: then.reason, explanation: asDenied(then) }),
    ...(later === undefined ? {} : { now: later }),
  };
  return bounded(answer);
}

/** A limit that had no room then may have some now: what is said of now is whether policy lets it come that far. */
function byPolicies(record: DecisionRecord, workload: LocalWorkload): Explanation | undefined {
  const port = workload.ports.find(({ appPort }) => appPort === record.to.port);
  if (port === undefined) return undefined;
  const explanation = explain(workload, port, questionOf(record, port));
  return record.cause === "rate_limit" ? withoutRoom(explanation, record, workload) : explanation;
}

function questionOf({ from, to, request }: DecisionRecord, port: InboundPort): Question {
  return {
    caller: { identity: from.identity, address: from.address },
    destination: { port: port.appPort, address: port.appAddress },
    request: request && viewOf(request),
    service: to.service,
    serverName: to.serverName,
    notKept: new Set(request?.notKept ?? []),
  };
}

function viewOf(request: NonNullable<DecisionRecord["request"]>): RequestView {
  const { method, path, host: authority } = request;
  const fields = new Map(request.headers);
  return { method, path, authority, scheme: "http", header: (name) => fields.get(name) };
}

/** What was not kept may leave open which rule it was; that it was refused is certain. */
function asDenied(explanation: Explanation): Explanation {
  if (explanation.verdict === "denied") return explanation;
  return { ...explanation, verdict: "denied" };
}

function withoutRoom(
  explanation: Explanation,
  { by }: DecisionRecord,
  { rateLimits = [] }: LocalWorkload,
): Explanation {
  if (explanation.verdict === "denied") return explanation;
  const limit = rateLimits.find(({ name }) => name === by);
  if (limit === undefined) return explanation;
  const { policy, path } = limitPath(rateLimits, by);
  const each = [
    ...(limit.byIdentity ? ["identity"] : []),
    ...(limit.byHeader === undefined ? [] : [`value of ${limit.byHeader}`]),
  ].join(" and ");
  const rate = `${limit.requests} requests in ${limit.perMs} ms, ${limit.burst} at once`;
  return {
    ...explanation,
    verdict: "denied",
    reason: `RateLimit ${policy} had no room left: ${path} takes ${rate}${each === "" ? "" : ` for each ${each}`}`,
    steps: explanation.steps.map((step) =>
      step.kind === "RateLimit" && step.name === policy && step.rules[0]?.path === path
        ? { ...step, outcome: "refuses" }
        : step,
    ),
    notes: [
      ...explanation.notes,
      `wait as \`retry-after\` says, or raise \`requests\` or \`burst\` in RateLimit ${policy} at ${path}`,
    ],
  };
}

const forgotten = ({ by, to }: DecisionRecord): Pick<DecisionAnswer, "reason" | "next"> => ({
  reason: `${by} refused it; the policies of that moment are not kept any more`,
  next: `what holds at ${to.workload ?? "the host"} now: \`meshctl config policies\` there, or ask again and explain the new id`,
});

/** Policies of any size, an answer of bounded size. */
function bounded(answer: DecisionAnswer): DecisionAnswer {
  const isFit = (one: DecisionAnswer): boolean =>
    JSON.stringify(one).length <= DECISION_ANSWER_CHARS_MAX;
  if (isFit(answer)) return answer;
  for (const rulesMax of [4, 1, 0]) {
    const less = {
      ...answer,
      explanation: answer.explanation && withRules(answer.explanation, rulesMax),
      now: answer.now && withRules(answer.now, rulesMax),
    };
    if (isFit(less)) return less;
  }
  const { explanation: _, now: __, ...rest } = answer;
  return {
    ...rest,
    next: "its policies are too large to be shown: `meshctl config policies` there",
  };
}

const withRules = (explanation: Explanation, rulesMax: number): Explanation => ({
  ...explanation,
  steps: explanation.steps.map((step) => ({
    ...step,
    rules: step.rules.slice(0, rulesMax),
    rulesOmitted: step.rulesOmitted + Math.max(0, step.rules.length - rulesMax),
  })),
});
