// RateLimits of a workload: those of its namespace and of the root namespace whose selector its labels hold, by name. All of them
// count, unlike policies of which one wins: who wrote a limit relies on it.
import { parseDuration } from "../api/duration.ts";
import type { RateLimitSpec } from "../api/rate-limit.ts";
import { compileOperation } from "./authorization.ts";
import type { SlotDraft } from "./books.ts";
import { labelsHold } from "./labels.ts";
import type { Labels, RateLimit } from "./snapshot.ts";
import type { ProblemList, Rule } from "./sources.ts";

interface Deps {
  readonly rootNamespace: string;
  readonly slots: SlotDraft;
  readonly problems: ProblemList;
}

interface Limited {
  readonly name: string;
  readonly namespace: string;
  readonly labels: Labels;
}

export const compileRateLimits = (
  policies: readonly Rule<RateLimitSpec>[],
  workload: Limited,
  deps: Deps,
): RateLimit[] =>
  policies
    .filter(
      ({ namespace, spec }) =>
        (namespace === workload.namespace || namespace === deps.rootNamespace) &&
        labelsHold(spec.selector?.matchLabels ?? {}, workload.labels),
    )
    .flatMap((policy) =>
      policy.spec.limits.map((limit) => compileLimit(policy, limit, workload, deps)),
    );

function compileLimit(
  policy: Rule<RateLimitSpec>,
  limit: RateLimitSpec["limits"][number],
  workload: Limited,
  { slots, problems }: Deps,
): RateLimit {
  const { requests, burst = requests } = limit;
  const per = parseDuration(limit.per ?? "1s");
  const perMs = per.ok ? per.value : 1_000;
  const name = `${policy.namespace}/${policy.name}:${limit.name}`;
  // What a bucket holds is counted in parts of its own rate: with another rate it begins anew.
  const key = `limit|${name}|${workload.namespace}/${workload.name}|${requests}/${perMs}/${burst}`;
  const slot = slots.take(key);
  if (slot === undefined)
    problems.error(policy.title, "", "finds no shared counter left on this agent: remove limits");
  return {
    name,
    to: (limit.to ?? []).map(({ operation }) => compileOperation(operation)),
    byIdentity: limit.by?.identity === true,
    byHeader: limit.by?.header?.toLowerCase(),
    requests,
    perMs,
    burst,
    slot: slot ?? 0,
  };
}
