// A token bucket that all threads of the agent share, without locks: two slots hold how much is in use and when the last refill was.
// A zeroed bucket is a full one, so nothing has to be set up, and one that was not used for long is as good as none.
import type { Slots } from "../base/slots.ts";

/** A rate in whole parts of a token, so that 32 bits are exact: each stepMs gives back `gain` parts, a token is `cost` of them. */
export interface Rate {
  readonly gain: number;
  readonly stepMs: number;
  readonly cost: number;
  readonly capacity: number;
}

const PARTS_MAX = 2 ** 30;
/** Where a rate has no exact parts, so many a step make it right to a thousandth. */
const PARTS_A_STEP = 1_000;
/** Threads read the clock at moments of their own: an earlier reading than the last refill's is none, up to this. */
const CLOCK_SKEW_MS = 60_000;

/** `burst` at most 1,000,000. */
export function rateOf(requests: number, perMs: number, burst: number): Rate {
  const shared = gcd(requests, perMs);
  const exact = perMs / shared;
  if (burst * exact <= PARTS_MAX) {
    return { gain: requests / shared, stepMs: 1, cost: exact, capacity: burst * exact };
  }
  const cost = Math.floor(PARTS_MAX / burst);
  const stepMs = Math.max(1, Math.ceil((PARTS_A_STEP * perMs) / (cost * requests)));
  const gain = Math.round((cost * requests * stepMs) / perMs);
  return { gain, stepMs, cost, capacity: burst * cost };
}

const gcd = (a: number, b: number): number => (b === 0 ? a : gcd(b, a % b));

/** Takes a token of the bucket at slots `at` and `at + 1`. Returns 0, or in how many milliseconds there may be one. */
export function takeToken(slots: Slots, at: number, rate: Rate, nowMs: number): number {
  refill(slots, at, rate, nowMs);
  for (;;) {
    const used = slots.read(at);
    const over = used + rate.cost - rate.capacity;
    if (over > 0) return Math.ceil(over / rate.gain) * rate.stepMs;
    if (slots.exchange(at, used, used + rate.cost) === used) return 0;
  }
}

/** Puts back what takeToken took: the request was refused by another bucket. */
export function returnToken(slots: Slots, at: number, rate: Rate): void {
  release(slots, at, rate.cost);
}

/** In how many milliseconds the bucket is full again, if nobody takes any more. */
export const restMs = (slots: Slots, at: number, rate: Rate): number =>
  Math.ceil(slots.read(at) / rate.gain) * rate.stepMs;

/** Who moves the time forward gives back what became free since. Between the two another thread may refuse a token too many, never
 *  grant one. */
function refill(slots: Slots, at: number, { gain, stepMs }: Rate, nowMs: number): void {
  const last = slots.read(at + 1);
  const now = Math.floor(nowMs) | 0;
  const passedMs = (now - last) | 0;
  if (passedMs < stepMs && passedMs > -CLOCK_SKEW_MS) return;
  if (passedMs < 0) {
    // The 32 bits went round: longer ago than any bucket takes to fill.
    if (slots.exchange(at + 1, last, now) === last) slots.write(at, 0);
    return;
  }
  const steps = Math.floor(passedMs / stepMs);
  if (slots.exchange(at + 1, last, (last + steps * stepMs) | 0) === last) {
    release(slots, at, steps * gain);
  }
}

function release(slots: Slots, at: number, parts: number): void {
  for (;;) {
    const used = slots.read(at);
    if (used === 0 || slots.exchange(at, used, Math.max(0, used - parts)) === used) return;
  }
}
