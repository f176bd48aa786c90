// What a client is told of a refusal: the decision's id, under which the host that refused knows why.
import type { LocalAnswer } from "./traffic-plan.ts";

const DECISION_FIELD = "x-ironmesh-decision";

export const withDecision = (answer: LocalAnswer, decision: string): LocalAnswer => ({
  ...answer,
  decision,
  fields: [...answer.fields, [DECISION_FIELD, decision]],
  body: `${answer.body === "" ? "" : `${answer.body.trimEnd()}; `}why: meshctl explain ${decision}\n`,
});
