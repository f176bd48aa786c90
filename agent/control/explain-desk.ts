// Answers for decisions of this host: on its admin socket, and to its config server. What it explains with is loaded when somebody asks.
import { type DecisionAnswer, tagOf } from "../api/decisions.ts";
import { err, ok, type Result } from "../base/result.ts";
import type { Recorded } from "../policy/explain-decision.ts";
import type { Snapshot } from "../policy/snapshot.ts";

export interface ExplainDeskDeps {
  /** From the data threads; undefined: none knows it. */
  find(id: string): Promise<Recorded | undefined>;
  snapshot(): Snapshot | undefined;
}

const GONE =
  "this agent does not know that decision: it keeps the last few hundred kinds of refusals, and none over a restart; let the call be refused again and explain the new id";

export class ExplainDesk {
  readonly #deps: ExplainDeskDeps;

  constructor(deps: ExplainDeskDeps) {
    this.#deps = deps;
  }

  /** The error is one sentence with what to do. */
  async explain(id: string): Promise<Result<DecisionAnswer, string>> {
    if (tagOf(id) === undefined)
      return err("that is no decision id: it stands in x-ironmesh-decision, and in the log");
    const recorded = await this.#deps.find(id);
    const snapshot = this.#deps.snapshot();
    if (recorded === undefined || snapshot === undefined) return err(GONE);
    const { explainDecision } = await import("../policy/explain-decision.ts");
    return ok(explainDecision(recorded, snapshot));
  }
}
