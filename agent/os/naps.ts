// How long a busy thread naps before it asks for events (decision 37). What waits meanwhile is served in one turn: fewer switches, and fewer
// wake-ups of those it sends to.
//
// A nap must not leave the others without work: they would fall asleep, and each had to be woken by what is sent to it. Then fewer arrive
// than without naps. So each time naps begin, and every few seconds, the thread compares.

/** Arrivals a second from which the thread naps; it goes on down to half of that. */
const FROM = 10_000;
/** And a turn: events of many connections, or messages that few bring. It goes on down to three quarters of the latter. */
const FROM_EVENTS = 2.2;
const FROM_ARRIVALS = 4;
/** Many connections: of the time from one turn to the next. Longer naps find hardly more; a shorter first one may not find enough to go on. */
const PART_OF_TURN = 1 / 12;
const FIRST_MICROS = 50;
const LEAST_MICROS = 20;
/** Few connections that bring many messages: about a quarter of what a turn's work takes. */
const MICROS_PER_MESSAGE = 2.5;
const MOST_MICROS = 200;
/** So many arrive with naps, of those that arrived without, or the naps end. */
const KEPT_SHARE = 0.88;
const TRIAL_MS = 50;
/** From one comparison to the next. */
const TRUSTED_MS = 2_000;
/** After naps did harm; twice as long after each further time. */
const PAUSE_MS = 1_000;
const PAUSE_MOST_MS = 4_000;

/** What a window of time brought: counts. */
export interface Arrived {
  readonly ms: number;
  readonly turns: number;
  readonly events: number;
  /** Within events: many in one perhaps. */
  readonly messages: number;
}

export class Naps {
  /** 0: none. */
  micros = 0;
  /** Arrivals a millisecond without naps, just before they began. */
  #before = 0;
  #trial: { ms: number; arrivals: number } | undefined;
  #trustedUntil = 0;
  #pausedUntil = 0;
  #pauseMs = PAUSE_MS;

  /** At the end of each window. */
  judge(nowMs: number, arrived: Arrived): void {
    if (this.micros === 0) this.#begin(nowMs, arrived);
    else this.micros = this.#isOver(nowMs, arrived) ? 0 : microsFor(arrived);
  }

  #begin(nowMs: number, arrived: Arrived): void {
    const isMany = arrived.events >= arrived.turns * FROM_EVENTS;
    if (nowMs < this.#pausedUntil || !isEnough(arrived, FROM, isMany ? 0 : FROM_ARRIVALS)) return;
    this.micros = FIRST_MICROS;
    this.#before = (arrived.events + arrived.messages) / arrived.ms;
    this.#trial = { ms: 0, arrivals: 0 };
  }

  #isOver(nowMs: number, arrived: Arrived): boolean {
    if (!isEnough(arrived, FROM / 2, FROM_ARRIVALS * 0.75)) return true;
    if (this.#trial !== undefined) return this.#isHarm(nowMs, arrived, this.#trial);
    return nowMs >= this.#trustedUntil; // a window without, to compare with
  }

  #isHarm(nowMs: number, arrived: Arrived, trial: { ms: number; arrivals: number }): boolean {
    trial.ms += arrived.ms;
    trial.arrivals += arrived.events + arrived.messages;
    if (trial.ms < TRIAL_MS) return false;
    this.#trial = undefined;
    const isHarm = trial.arrivals < this.#before * trial.ms * KEPT_SHARE;
    if (isHarm) this.#pausedUntil = nowMs + this.#pauseMs;
    else this.#trustedUntil = nowMs + TRUSTED_MS;
    this.#pauseMs = isHarm ? Math.min(this.#pauseMs * 2, PAUSE_MOST_MS) : PAUSE_MS;
    return isHarm;
  }
}

function isEnough(
  { ms, turns, events, messages }: Arrived,
  perSecond: number,
  perTurn: number,
): boolean {
  const arrivals = events + messages;
  return arrivals * 1_000 >= perSecond * ms && arrivals >= perTurn * turns;
}

function microsFor({ ms, turns, events, messages }: Arrived): number {
  const isMany = events >= turns * FROM_EVENTS;
  const ofTurn = isMany ? Math.max(LEAST_MICROS, ((ms * 1_000) / turns) * PART_OF_TURN) : 0;
  const ofMessages = ((isMany ? messages : events + messages) / turns) * MICROS_PER_MESSAGE;
  return Math.min(MOST_MICROS, Math.round(Math.max(ofTurn, ofMessages)));
}
