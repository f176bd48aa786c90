// Wake-ups gather while a thread is busy, so that one turn of the loop finds what would have been several: fewer switches, and fewer
// wake-ups of those it sends to. There are two ways, for two kinds of load (decision 37).
//
// Many at once: each turn brings several events as it is, or one event brings several messages. The thread naps before it asks for more, the
// longer the more a turn has to do; what waits has waited longer.
//
// Few, each waiting for its answer: the kernel lets whoever wakes run on before a thread of SCHED_BATCH, instead of putting the woken one
// in its place. An idle core runs the thread at once either way. The price is paid where something else on the core never sleeps: the
// woken thread then waits for the end of the other's slice, some milliseconds. The kernel counts that wait, and this ends where it shows.

const WINDOW_MS = 25;
/** Arrivals a second, and arrivals a turn, from which the thread naps; it goes on down to half of the first and three quarters of the other. */
const NAP_FROM = 10_000;
const NAP_FROM_PER_TURN = 4;
/** About a quarter of what a turn's work takes. */
const NAP_MICROS_PER_ARRIVAL = 2.5;
const NAP_MICROS_MOST = 200;
/** Where that many are events: a shorter nap of many connections does not find enough to go on. */
const NAP_MICROS_OF_EVENTS = 50;
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
  /** So long the thread is to sleep before it waits for events. 0: it does not. */
  napMicros = 0;
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
    const perSecond = (this.#wakes * 1_000) / (nowMs - this.#windowFrom);
    this.napMicros = this.#napFor(perSecond);
    this.#wakes = 0;
    this.#events = 0;
    this.#messages = 0;
    this.#windowFrom = nowMs;
    if (this.#waits !== undefined) this.#consider(this.#waits, perSecond, nowMs);
    else if (perSecond >= GATHER_FROM && this.#isPossible && nowMs >= this.#pausedUntil)
      this.#begin(nowMs);
  }

  #napFor(wakesPerSecond: number): number {
    const events = this.#events / this.#wakes;
    const arrivals = events + this.#messages / this.#wakes;
    const [perSecond, perTurn] =
      this.napMicros === 0
        ? [NAP_FROM, NAP_FROM_PER_TURN]
        : [NAP_FROM / 2, NAP_FROM_PER_TURN * 0.75];
    if (wakesPerSecond * arrivals < perSecond || arrivals < perTurn) return 0;
    const least = events >= perTurn ? NAP_MICROS_OF_EVENTS : 0;
    return Math.min(
      NAP_MICROS_MOST,
      Math.max(least, Math.round(arrivals * NAP_MICROS_PER_ARRIVAL)),
    );
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
