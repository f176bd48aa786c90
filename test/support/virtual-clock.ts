// Time that passes only when a test says so. Tasks run in the order of their times, ties in the order they were set.
import type { Clock, Timer, Timers } from "../../agent/base/clock.ts";
import type { TimerWheel } from "../../agent/base/timer-wheel.ts";

interface Task extends Timer {
  readonly atMs: number;
  readonly turn: number;
  run: (() => void) | undefined;
}

const EPOCH_MS = 1_750_000_000_000;

export class VirtualClock implements Clock, Timers {
  readonly #tasks: Task[] = [];
  readonly #wheels: TimerWheel[] = [];
  #nowMs = 1_000;
  #turns = 0;

  nowMs(): number {
    return this.#nowMs;
  }

  wallMs(): number {
    return EPOCH_MS + this.#nowMs;
  }

  after(afterMs: number, task: () => void): Timer {
    const entry: Task = {
      atMs: this.#nowMs + Math.max(0, afterMs),
      turn: this.#turns++,
      run: task,
      cancel() {
        this.run = undefined;
      },
    };
    this.#push(entry);
    return entry;
  }

  /** The wheel's deadlines run as time passes. */
  drive(wheel: TimerWheel): void {
    this.#wheels.push(wheel);
  }

  /** Lets `ms` pass, running what falls due on the way. */
  pass(ms: number): void {
    const untilMs = this.#nowMs + ms;
    for (;;) {
      const next = Math.min(this.#nextTaskMs(), this.#nextWheelMs(untilMs));
      if (next > untilMs) break;
      this.#nowMs = Math.max(this.#nowMs, next);
      this.#runDue();
    }
    this.#nowMs = untilMs;
    this.#runDue();
  }

  /** Lets time pass until the claim holds; throws when it does not within `limitMs`. */
  until(claim: () => boolean, limitMs = 60_000): void {
    const untilMs = this.#nowMs + limitMs;
    while (!claim()) {
      const next = Math.min(this.#nextTaskMs(), this.#nextWheelMs(untilMs));
      if (next > untilMs) throw new Error(`does not hold after ${limitMs} ms of virtual time`);
      this.#nowMs = Math.max(this.#nowMs, next);
      this.#runDue();
    }
  }

  #nextTaskMs(): number {
    while (this.#tasks[0] !== undefined && this.#tasks[0].run === undefined) this.#pop();
    return this.#tasks[0]?.atMs ?? Number.POSITIVE_INFINITY;
  }

  #nextWheelMs(untilMs: number): number {
    let next = Number.POSITIVE_INFINITY;
    for (const wheel of this.#wheels) {
      if (wheel.pending === 0) continue;
      // sleepMs may be early (a later round of the wheel), so time moves by at least a millisecond.
      next = Math.min(next, this.#nowMs + Math.max(1, wheel.sleepMs(untilMs - this.#nowMs + 1)));
    }
    return next;
  }

  #runDue(): void {
    for (;;) {
      const task = this.#tasks[0];
      if (task === undefined || task.atMs > this.#nowMs) break;
      this.#pop();
      task.run?.();
    }
    for (const wheel of this.#wheels) wheel.runDue();
  }

  #push(task: Task): void {
    const heap = this.#tasks;
    let at = heap.push(task) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(task, heap[parent] as Task)) break;
      heap[at] = heap[parent] as Task;
      at = parent;
    }
    heap[at] = task;
  }

  #pop(): void {
    const heap = this.#tasks;
    const last = heap.pop() as Task;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1] as Task, heap[child] as Task)) child++;
      if (!before(heap[child] as Task, last)) break;
      heap[at] = heap[child] as Task;
      at = child;
    }
    heap[at] = last;
  }
}

const before = (a: Task, b: Task): boolean =>
  a.atMs < b.atMs || (a.atMs === b.atMs && a.turn < b.turn);
