// Deadlines of the data path: a hashed wheel (Varghese and Lauck 1987), O(1) to set and to cancel, no allocation when a
// Deadline is reused. A connection owns one Deadline for its lifetime and moves it only when it fires too early
// ("lazy": the request path writes a number, it never touches the wheel).
import type { Timer, Timers } from "./clock.ts";

const SLOTS = 512;
const TICK_MS = 16;

/** What a deadline is for: an object, not a closure, since each connection has one. */
export interface Due {
  onDue(): void;
}

export class Deadline implements Timer {
  /** When it is due, on the wheel's clock; Infinity while not set. */
  atMs = Number.POSITIVE_INFINITY;
  next: Deadline | undefined;
  prev: Deadline | undefined;
  slot = -1;
  readonly owner: Due;
  readonly #wheel: TimerWheel;

  constructor(wheel: TimerWheel, owner: Due) {
    this.#wheel = wheel;
    this.owner = owner;
  }

  /** Sets or moves it. */
  set(atMs: number): void {
    this.#wheel.place(this, atMs);
  }

  cancel(): void {
    this.#wheel.remove(this);
  }
}

export class TimerWheel implements Timers {
  readonly #slots: (Deadline | undefined)[] = new Array(SLOTS).fill(undefined);
  readonly #now: () => number;
  #tick: number;
  #count = 0;

  constructor(now: () => number) {
    this.#now = now;
    this.#tick = Math.floor(now() / TICK_MS);
  }

  get pending(): number {
    return this.#count;
  }

  after(afterMs: number, task: () => void): Deadline {
    const deadline = new Deadline(this, { onDue: task });
    deadline.set(this.#now() + afterMs);
    return deadline;
  }

  place(deadline: Deadline, atMs: number): void {
    if (deadline.slot >= 0) this.remove(deadline);
    const tick = Math.max(this.#tick + 1, Math.ceil(atMs / TICK_MS));
    const slot = tick % SLOTS;
    const head = this.#slots[slot];
    deadline.atMs = atMs;
    deadline.slot = slot;
    deadline.next = head;
    deadline.prev = undefined;
    if (head !== undefined) head.prev = deadline;
    this.#slots[slot] = deadline;
    this.#count++;
  }

  remove(deadline: Deadline): void {
    if (deadline.slot < 0) return;
    if (deadline.prev === undefined) this.#slots[deadline.slot] = deadline.next;
    else deadline.prev.next = deadline.next;
    if (deadline.next !== undefined) deadline.next.prev = deadline.prev;
    deadline.next = undefined;
    deadline.prev = undefined;
    deadline.slot = -1;
    deadline.atMs = Number.POSITIVE_INFINITY;
    this.#count--;
  }

  /** How long the loop may sleep; at most `capMs`. Late by up to one tick, never early. */
  sleepMs(capMs: number): number {
    if (this.#count === 0) return capMs;
    const nowMs = this.#now();
    const nowTick = Math.floor(nowMs / TICK_MS);
    if (nowTick > this.#tick) return 0;
    const ticks = Math.min(SLOTS, Math.ceil(capMs / TICK_MS) + 1);
    for (let i = 1; i <= ticks; i++) {
      if (this.#slots[(this.#tick + i) % SLOTS] !== undefined) {
        return Math.min(capMs, Math.max(0, (this.#tick + i) * TICK_MS - nowMs));
      }
    }
    return capMs;
  }

  /** Runs what is due. A task may set and cancel deadlines, its own included. */
  runDue(): void {
    const nowMs = this.#now();
    const until = Math.floor(nowMs / TICK_MS);
    if (this.#count === 0) {
      this.#tick = Math.max(this.#tick, until);
      return;
    }
    const steps = Math.min(until - this.#tick, SLOTS);
    const from = this.#tick;
    if (until > this.#tick) this.#tick = until;
    for (let i = 1; i <= steps; i++) this.#runSlot((from + i) % SLOTS, nowMs);
  }

  #runSlot(slot: number, nowMs: number): void {
    const due: Deadline[] = [];
    for (let d = this.#slots[slot]; d !== undefined; d = d.next) if (d.atMs <= nowMs) due.push(d);
    for (const deadline of due) {
      if (deadline.slot !== slot || deadline.atMs > nowMs) continue; // cancelled or moved by a task before it
      this.remove(deadline);
      deadline.owner.onDue();
    }
  }
}
