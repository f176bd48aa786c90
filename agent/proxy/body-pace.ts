// Whether a client that announced a body keeps sending it, for as long as the app waits for it: who trickles one holds an app's
// worker with it. Counted in windows, so that a piece costs an addition. It rests while the wait is not the client's fault: the
// upstream does not keep up, the app has not said 100 (Continue) yet, or an answer has begun.
//
//   resting <-> running
import type { BodyKind } from "../protocol/http1/head.ts";

const NEVER = Number.POSITIVE_INFINITY;
/** What a body of a given length must bring in each window, or its rest. A chunked one may be a slow stream of events: a byte. */
const LENGTH_BYTES_MIN = 1024;

export class BodyPace {
  readonly #windowMs: number;
  #bytesMin = 1;
  #count = 0;
  #isWanted = false;
  #waitsForContinue = false;
  /** When the window at hand is over. */
  dueMs = NEVER;

  /** `windowMs` 0: bodies may take as long as they like. */
  constructor(windowMs: number) {
    this.#windowMs = windowMs;
  }

  /** A body is to come. */
  begin(kind: BodyKind, nowMs: number, waitsForContinue: boolean): void {
    this.#isWanted = this.#windowMs > 0;
    this.#bytesMin = kind === "length" ? LENGTH_BYTES_MIN : 1;
    this.#waitsForContinue = waitsForContinue;
    this.resume(nowMs);
  }

  came(bytes: number, nowMs: number): void {
    this.#waitsForContinue = false;
    const count = this.#count + bytes;
    if (count >= this.#bytesMin || this.dueMs === NEVER) this.resume(nowMs);
    // What came beyond counts for the next window: where windows begin must not decide.
    this.#count = count % this.#bytesMin;
  }

  /** The app said 100 (Continue). */
  continued(nowMs: number): void {
    this.#waitsForContinue = false;
    this.resume(nowMs);
  }

  /** The upstream does not keep up. */
  rest(): void {
    this.dueMs = NEVER;
  }

  /** A new window, if it is the client's turn. */
  resume(nowMs: number): void {
    this.#count = 0;
    const isClients = this.#isWanted && !this.#waitsForContinue;
    this.dueMs = isClients ? nowMs + this.#windowMs : NEVER;
  }

  /** The body came whole, or is not waited for any more. */
  end(): void {
    this.#isWanted = false;
    this.dueMs = NEVER;
  }
}
