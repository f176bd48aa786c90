// First come, first served. In a turn of its loop the runtime takes five steps of handshakes; what else is readable it puts aside, and takes
// those first that came last. Where more come than it does, the first wait for seconds. So it is given no more than it does at once
// (decision 39).
import type { Loop } from "./loop.ts";
import { HANDSHAKE_STEPS } from "./runtime.ts";

/** Who waited longer has given up, or will have before it is done: what there is goes to those who have not. */
const WAIT_MOST_MS = 2_000;

export interface HandshakeWaiter {
  /** Times it is going to be readable until it is done. */
  readonly handshakeSteps: number;
  /** Its turn has come. False: it is gone, and takes no steps. */
  beginHandshake(): boolean;
  /** It waited too long. Who has none waits until it is gone. */
  refuseHandshake?(): void;
}

interface Waiting {
  readonly since: number;
  readonly who: HandshakeWaiter;
}

export class HandshakeTurns {
  readonly #loop: Pick<Loop, "nowMs" | "yieldSoon">;
  readonly #stepsATurn: number;
  readonly #nextTurn: (call: () => void) => void;
  readonly #waiting: Waiting[] = [];
  #stepsLeft: number;
  #isTurnAwaited = false;

  constructor(
    loop: Pick<Loop, "nowMs" | "yieldSoon">,
    stepsATurn = HANDSHAKE_STEPS,
    nextTurn: (call: () => void) => void = setImmediate,
  ) {
    this.#loop = loop;
    this.#stepsATurn = stepsATurn;
    this.#stepsLeft = stepsATurn;
    this.#nextTurn = nextTurn;
  }

  /** True: it may begin at once, and is not called. */
  ask(who: HandshakeWaiter): boolean {
    const mayBegin = this.#waiting.length === 0 && who.handshakeSteps <= this.#stepsLeft;
    if (mayBegin) this.#stepsLeft -= who.handshakeSteps;
    else this.#waiting.push({ since: this.#loop.nowMs(), who });
    this.#awaitTurn();
    return mayBegin;
  }

  #awaitTurn(): void {
    if (this.#waiting.length > 0) this.#loop.yieldSoon();
    if (this.#isTurnAwaited) return;
    this.#isTurnAwaited = true;
    this.#nextTurn(this.#turn);
  }

  readonly #turn = (): void => {
    this.#isTurnAwaited = false;
    this.#stepsLeft = this.#stepsATurn;
    let served = 0;
    for (const { since, who } of this.#waiting) {
      if (who.handshakeSteps > this.#stepsLeft) break;
      served++;
      const isLate = this.#loop.nowMs() - since > WAIT_MOST_MS;
      if (isLate && who.refuseHandshake !== undefined) who.refuseHandshake();
      else if (who.beginHandshake()) this.#stepsLeft -= who.handshakeSteps;
    }
    this.#waiting.splice(0, served);
    if (this.#waiting.length > 0) this.#awaitTurn();
  };
}
