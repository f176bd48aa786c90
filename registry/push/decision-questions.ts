// What one agent is being asked about its decisions. An answer that comes too late, or to nothing that was asked, is dropped.
import type { DecisionAnswer } from "../../agent/api/decisions.ts";
import type { DecisionReply, ServerMessage } from "../../agent/api/session.ts";
import type { Timer, Timers } from "../../agent/base/clock.ts";
import { err, ok, type Result } from "../../agent/base/result.ts";

/** The agent itself gives its threads a second. */
const ANSWER_WITHIN_MS = 3_000;
/** Questions to one agent at once. */
const QUESTIONS_MAX = 16;

/** The error says why there is no answer, and what to do. */
export type DecisionFound = Result<DecisionAnswer, string>;

export class DecisionQuestions {
  readonly #timers: Timers;
  readonly #open = new Map<number, { readonly timer: Timer; settle(found: DecisionFound): void }>();
  #turn = 0;

  constructor(timers: Timers) {
    this.#timers = timers;
  }

  ask(id: string, tell: (question: ServerMessage) => void): Promise<DecisionFound> {
    if (this.#open.size >= QUESTIONS_MAX)
      return Promise.resolve(err("its agent is being asked too much at once: ask again"));
    const turn = ++this.#turn;
    return new Promise((settle) => {
      const timer = this.#timers.after(ANSWER_WITHIN_MS, () =>
        this.#settle(turn, err("its agent did not answer in time: ask again")),
      );
      this.#open.set(turn, { timer, settle });
      tell({ type: "decision", turn, id });
    });
  }

  heard({ turn, answer, error }: DecisionReply): void {
    this.#settle(turn, answer === undefined ? err(error ?? "no answer") : ok(answer));
  }

  /** The session is over. */
  end(): void {
    for (const turn of [...this.#open.keys()])
      this.#settle(turn, err("its agent's session ended meanwhile: ask again"));
  }

  #settle(turn: number, found: DecisionFound): void {
    const open = this.#open.get(turn);
    if (open === undefined) return;
    this.#open.delete(turn);
    open.timer.cancel();
    open.settle(found);
  }
}
