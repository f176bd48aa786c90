// Wake-ups gather while a thread is busy, so that one turn of the loop finds what would have been several: fewer switches, and fewer
// wake-ups of those it sends to. There are two ways, for two kinds of load (decision 37).
//
// Many at once: each turn brings several events as it is, or one event brings several messages. The thread naps before it asks for more
// (naps.ts).
//
// Few, each waiting for its answer: the kernel lets whoever wakes run on before a thread of SCHED_BATCH, instead of putting the woken one
// in its place. An idle core runs the thread at once either way. The price is paid where something else on the core never sleeps: the
// woken thread then waits for the end of the other's slice, some milliseconds. The kernel counts that wait, and this ends where it shows.

import { Naps } from "./naps.ts";

const WINDOW_MS = 25;
/** Wake-ups a second. A thread woken this often spends more on being woken than on its work. */
const GATHER_FROM = 4_000;
const GATHER_UNTIL = 2_000;
/** From a wake-up to running, on average. Two busy agents on one core wait 0.03 to 0.35 ms for each other. */
const WAIT_MOST_MS = 0.4;
/** After gathering did harm; twice as long after each further time. */
const PAUSE_MS = 1_000;
const PAUSE_MOST_MS = 600_000;
/** Gathering that went well this long makes earlier harm a matter of the past. */
const PROVEN_MS = 1_000;

/** Of a thread since it began. */
export interface Waits {
  /** Between being woken and running. */
  readonly ms: number;
  readonly times: number;
}

export interface ThreadScheduling {
  /** Puts the calling thread into SCHED_BATCH or back; false: the kernel refused, and is not asked again. */
  gather(isWanted: boolean): boolean;
  /** Undefined: this kernel does not count them, and the thread does not gather. */
  waits(): Waits | undefined;
}

export class WakeGathering {
  readonly #scheduling: ThreadScheduling;
  #isPossible = true;
  /** While gathering: at the last window's end. */
  #waits: Waits | undefined;
  readonly #naps = new Naps();
  #wakes = 0;
  #events = 0;
  #messages = 0;
  #windowFrom = 0;
  #gatheringFrom = 0;
  #pausedUntil = 0;
  #pauseMs = PAUSE_MS;

  constructor(scheduling: ThreadScheduling) {
    this.#scheduling = scheduling;
  }

  /** So long the thread is to sleep before it waits for events. 0: it does not. */
  get napMicros(): number {
    return this.#naps.micros;
  }

  get isGathering(): boolean {
    return this.#waits !== undefined;
  }

  /** To be called each time the thread comes back from waiting with something to do. `messages` came within events, many in one perhaps. */
  noteWake(nowMs: number, events: number, messages = 0): void {
    this.#wakes++;
    this.#events += events;
    this.#messages += messages;
    if (nowMs - this.#windowFrom >= WINDOW_MS) this.#endWindow(nowMs);
  }

  #endWindow(nowMs: number): void {
    const ms = nowMs - this.#windowFrom;
    const perSecond = (this.#wakes * 1_000) / ms;
    const [turns, events, messages] = [this.#wakes, this.#events, this.#messages];
    this.#naps.judge(nowMs, { ms, turns, events, messages });
    this.#wakes = 0;
    this.#events = 0;
    this.#messages = 0;
    this.#windowFrom = nowMs;
    if (this.#waits !== undefined) this.#consider(this.#waits, perSecond, nowMs);
    else if (perSecond >= GATHER_FROM && this.#isPossible && nowMs >= this.#pausedUntil)
      this.#begin(nowMs);
  }

  #begin(nowMs: number): void {
    const waits = this.#scheduling.waits();
    this.#isPossible = waits !== undefined && this.#scheduling.gather(true);
    if (!this.#isPossible) return;
    this.#waits = waits;
    this.#gatheringFrom = nowMs;
  }

  #consider(before: Waits, perSecond: number, nowMs: number): void {
    const waits = this.#scheduling.waits() ?? before;
    const isHarm = waits.ms - before.ms > WAIT_MOST_MS * Math.max(1, waits.times - before.times);
    if (isHarm) this.#pause(nowMs);
    else if (nowMs - this.#gatheringFrom >= PROVEN_MS) this.#pauseMs = PAUSE_MS;
    this.#waits = waits;
    if (!isHarm && perSecond >= GATHER_UNTIL) return;
    this.#scheduling.gather(false);
    this.#waits = undefined;
  }

  #pause(nowMs: number): void {
    this.#pausedUntil = nowMs + this.#pauseMs;
    this.#pauseMs = Math.min(this.#pauseMs * 2, PAUSE_MOST_MS);
  }
}
