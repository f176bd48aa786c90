import { expect, test } from "bun:test";
import { WakeGathering } from "./wake-gathering.ts";

/** A thread that is woken so often a second, for so long. */
class Thread {
  readonly asked: boolean[] = [];
  isRefused = false;
  isUncounted = false;
  waitMs = 0.03;
  nowMs = 1_000;
  #waits = { ms: 0, times: 0 };
  readonly gathering = new WakeGathering({
    gather: (isWanted) => {
      this.asked.push(isWanted);
      return !this.isRefused;
    },
    waits: () => (this.isUncounted ? undefined : this.#waits),
  });
  woken(perSecond: number, forMs: number, events = 1, messages = 0): void {
    for (const end = this.nowMs + forMs; this.nowMs < end; this.nowMs += 1_000 / perSecond) {
      this.#waits = { ms: this.#waits.ms + this.waitMs, times: this.#waits.times + 1 };
      this.gathering.noteWake(this.nowMs, events, messages);
    }
  }
  /** Something on the core never sleeps: whoever gathers waits for it. */
  beside(forMs: number): void {
    for (const end = this.nowMs + forMs; this.nowMs < end; ) {
      this.waitMs = this.gathering.isGathering ? 1.3 : 0.05;
      this.woken(this.gathering.isGathering ? 700 : 8_000, 0.1); // one wake-up
    }
    this.waitMs = 0.03;
  }
}

test("a thread that is woken a few times a second does not gather", () => {
  const thread = new Thread();
  thread.woken(2_000, 5_000);
  expect(thread.asked).toEqual([]);
});

test("a thread that is woken very often gathers, until it is woken less", () => {
  const thread = new Thread();
  thread.woken(8_000, 2_000);
  expect(thread.asked).toEqual([true]);
  thread.woken(2_500, 1_000); // gathered, there are fewer
  expect(thread.asked).toEqual([true]);
  thread.woken(1_000, 1_000);
  expect(thread.asked).toEqual([true, false]);
});

test("load that ended and comes back is gathered again at once", () => {
  const thread = new Thread();
  for (let i = 0; i < 5; i++) {
    thread.woken(8_000, 500);
    thread.woken(100, 500);
  }
  expect(thread.asked).toEqual([true, false, true, false, true, false, true, false, true, false]);
});

test("beside something that never sleeps it gives up at once, and tries again ever more rarely", () => {
  const thread = new Thread();
  thread.beside(60);
  expect(thread.asked).toEqual([true, false]);
  thread.beside(65_000); // tries at 0, 1, 3, 7, 15, 31, 63 s
  expect(thread.asked.length).toBe(14);
  thread.beside(3_600_000);
  expect(thread.asked.length).toBeLessThan(40);
  expect(thread.gathering.isGathering).toBeFalse();
});

test("gathering that went well makes earlier harm a matter of the past", () => {
  const thread = new Thread();
  thread.beside(35_000);
  thread.woken(8_000, 60_000); // the other has ended
  expect(thread.gathering.isGathering).toBeTrue();
  thread.beside(5_000);
  const before = thread.asked.length;
  thread.beside(8_000);
  expect(thread.asked.length).toBe(before + 2);
});

test("a kernel that refuses is asked once", () => {
  const thread = new Thread();
  thread.isRefused = true;
  thread.woken(8_000, 5_000);
  expect(thread.asked).toEqual([true]);
});

test("a kernel that counts no waits is not asked: harm could not be seen", () => {
  const thread = new Thread();
  thread.isUncounted = true;
  thread.woken(8_000, 5_000);
  expect(thread.asked).toEqual([]);
});

test("many arrivals a turn make the thread nap, until they are few or rare", () => {
  const thread = new Thread();
  thread.woken(3_900, 1_000, 2);
  expect(thread.gathering.napMicros).toBe(0); // few a turn
  thread.woken(1_000, 1_000, 8);
  expect(thread.gathering.napMicros).toBe(0); // rare
  thread.woken(2_000, 1_000, 6);
  expect(thread.gathering.napMicros).toBeGreaterThan(0);
  thread.woken(1_500, 1_000, 4);
  expect(thread.gathering.napMicros).toBeGreaterThan(0);
  thread.woken(3_900, 1_000, 2);
  expect(thread.gathering.napMicros).toBe(0);
  thread.woken(2_000, 100, 6);
  thread.woken(800, 1_000, 6);
  expect(thread.gathering.napMicros).toBe(0);
  expect(thread.asked).toEqual([]);
});

test("a nap is a twelfth of a turn where events are many, and where messages are a quarter of their work, up to 200 us", () => {
  const thread = new Thread();
  const napAt = (perSecond: number, events: number, messages: number): number => {
    thread.woken(perSecond, 100, events, messages);
    return thread.gathering.napMicros;
  };
  const turnsPerSecond = [5_000, 2_500, 1_000, 200];
  expect(turnsPerSecond.map((turns) => napAt(turns, 60, 0))).toEqual([20, 33, 83, 200]);
  expect([5, 19, 39, 79, 999].map((messages) => napAt(2_000, 1, messages))).toEqual([
    ...[15, 50, 100, 200, 200],
  ]);
});
