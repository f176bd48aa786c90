// One edge's last hour, of fixed size: slots of SLOT_MS for the last minutes, one of a minute for the hour. What a report tells of
// [from, to) is spread over the slots it overlaps, so that a steady rate shows as steady, however reports and slots fall.
import { type EdgeSample, type FailedAnswer, HISTOGRAM_BOUNDS } from "../../agent/api/edges.ts";

export const SLOT_MS = 5_000;
const SLOTS = 64;
/** Windows up to this are read from the fine slots. */
export const FINE_WINDOW_MS_MAX = 300_000;
export const MINUTE_MS = 60_000;
/** An hour, and the two that a window of an hour may reach over it. */
export const MINUTES = 62;
/** Kinds of failed answers of the last reports that are remembered by name. */
const ANSWERS_KEPT = 48;

/** Where each number stands in a slot; latencies follow. */
export const FIELD = {
  requests: 0,
  failed: 1,
  /** Answered 401, 403 or 429: somebody may not, or not so often. */
  refused: 2,
  opened: 3,
  broken: 4,
  sentBytes: 5,
  receivedBytes: 6,
  latencies: 7,
} as const;
export const FIELDS = FIELD.latencies + HISTOGRAM_BOUNDS.length + 1;

const REFUSALS = [401, 403, 429];

interface HeardAnswer extends FailedAnswer {
  readonly atMs: number;
}

/** A ring of slots, each stamped with the time it stands for, so that an old one is never taken for a new one. */
class Ring {
  readonly #slotMs: number;
  readonly #stamps: Float64Array;
  readonly #numbers: Float32Array;

  constructor(slotMs: number, slots: number) {
    this.#slotMs = slotMs;
    this.#stamps = new Float64Array(slots).fill(-1);
    this.#numbers = new Float32Array(slots * FIELDS);
  }

  /** Spreads `amounts` evenly over [fromMs, toMs). */
  add(amounts: Float64Array, fromMs: number, toMs: number): void {
    const spanMs = toMs - fromMs;
    const last = Math.ceil(toMs / this.#slotMs) - 1;
    for (let slot = Math.floor(fromMs / this.#slotMs); slot <= last; slot++) {
      const startMs = slot * this.#slotMs;
      const overlapMs = Math.min(toMs, startMs + this.#slotMs) - Math.max(fromMs, startMs);
      this.#addTo(slot, amounts, overlapMs / spanMs);
    }
  }

  #addTo(slot: number, amounts: Float64Array, share: number): void {
    const at = slot % this.#stamps.length;
    const first = at * FIELDS;
    if (this.#stamps[at] !== slot) {
      this.#stamps[at] = slot;
      this.#numbers.fill(0, first, first + FIELDS);
    }
    for (let i = 0; i < FIELDS; i++) {
      const amount = amounts[i] as number;
      if (amount !== 0)
        this.#numbers[first + i] = (this.#numbers[first + i] as number) + amount * share;
    }
  }

  /** Adds to `sum` the slots [first, last). */
  sum(sum: Float64Array, first: number, last: number): void {
    for (let slot = first; slot < last; slot++) {
      const at = slot % this.#stamps.length;
      if (this.#stamps[at] !== slot) continue;
      for (let i = 0; i < FIELDS; i++) {
        sum[i] = (sum[i] as number) + (this.#numbers[at * FIELDS + i] as number);
      }
    }
  }
}

export type EdgeFacts = Pick<
  EdgeSample,
  "reporter" | "source" | "destination" | "service" | "protocol" | "security"
>;

export class EdgeRecord {
  /** The host whose word it is. */
  readonly host: string;
  readonly facts: EdgeFacts;
  heardAtMs = 0;
  readonly #fine = new Ring(SLOT_MS, SLOTS);
  readonly #minutes = new Ring(MINUTE_MS, MINUTES);
  #answers: HeardAnswer[] = [];

  constructor(host: string, sample: EdgeSample) {
    const { reporter, source, destination, service, protocol, security } = sample;
    this.host = host;
    this.facts = { reporter, source, destination, service, protocol, security };
  }

  add(sample: EdgeSample, fromMs: number, toMs: number): void {
    const amounts = amountsOf(sample);
    this.#fine.add(amounts, fromMs, toMs);
    this.#minutes.add(amounts, fromMs, toMs);
    const heard = sample.answers.map((answer) => ({ ...answer, atMs: toMs }));
    this.#answers = [...this.#answers, ...heard].slice(-ANSWERS_KEPT);
  }

  /** Adds this window to `sum` (FIELDS numbers). */
  sum(sum: Float64Array, window: Window): void {
    const ring = window.slotMs === SLOT_MS ? this.#fine : this.#minutes;
    ring.sum(sum, window.firstSlot, window.endSlot);
  }

  /** Failed answers told of within the window, as far as they are remembered. */
  answersSince(fromMs: number): readonly FailedAnswer[] {
    return this.#answers.filter(({ atMs }) => atMs >= fromMs);
  }
}

function amountsOf(sample: EdgeSample): Float64Array {
  const amounts = new Float64Array(FIELDS);
  for (const name of [
    "requests",
    "failed",
    "opened",
    "broken",
    "sentBytes",
    "receivedBytes",
  ] as const) {
    amounts[FIELD[name]] = sample[name];
  }
  amounts[FIELD.refused] = sample.answers
    .filter(({ status }) => REFUSALS.includes(status))
    .reduce((sum, { count }) => sum + count, 0);
  for (const [bucket, count] of sample.latencies) {
    const at = FIELD.latencies + bucket;
    amounts[at] = (amounts[at] as number) + count;
  }
  return amounts;
}

/** Whole slots: [firstSlot, endSlot). */
export interface Window {
  readonly slotMs: number;
  readonly firstSlot: number;
  readonly endSlot: number;
}

/** The last `windowMs` of which every report has come: agents tell every `lagMs`. */
export function windowBefore(nowMs: number, windowMs: number, lagMs: number): Window {
  const slotMs = windowMs <= FINE_WINDOW_MS_MAX ? SLOT_MS : MINUTE_MS;
  const endSlot = Math.floor((nowMs - lagMs) / slotMs);
  return { slotMs, firstSlot: endSlot - Math.max(1, Math.round(windowMs / slotMs)), endSlot };
}
