// Asks all data threads for a decision: the id does not say which of them made it.
import type { Timers } from "../base/clock.ts";
import type { Decision } from "../observe/decision-book.ts";

/** A thread that does not answer in this time is busy dying. */
const ANSWER_WITHIN_MS = 1_000;
/** Questions at once; the next find nothing. */
const QUESTIONS_MAX = 64;

interface Asking {
  waitsFor: number;
  answer(found: Decision | undefined): void;
}

interface Asked {
  send(question: { readonly type: "decision"; readonly turn: number; readonly id: string }): void;
}

export class DecisionSearch {
  readonly #timers: Timers;
  readonly #asking = new Map<number, Asking>();
  #turn = 0;

  constructor(timers: Timers) {
    this.#timers = timers;
  }

  ask(threads: readonly Asked[], id: string): Promise<Decision | undefined> {
    if (threads.length === 0 || this.#asking.size >= QUESTIONS_MAX)
      return Promise.resolve(undefined);
    const turn = ++this.#turn;
    return new Promise((resolve) => {
      const timer = this.#timers.after(ANSWER_WITHIN_MS, () => answer(undefined));
      const answer = (found: Decision | undefined): void => {
        timer.cancel();
        this.#asking.delete(turn);
        resolve(found);
      };
      this.#asking.set(turn, { waitsFor: threads.length, answer });
      for (const thread of threads) thread.send({ type: "decision", turn, id });
    });
  }

  heard(turn: number, found: Decision | undefined): void {
    const asking = this.#asking.get(turn);
    if (asking === undefined) return;
    asking.waitsFor--;
    if (found !== undefined || asking.waitsFor === 0) asking.answer(found);
  }
}
