import { expect, test } from "bun:test";
import { Naps } from "./naps.ts";

const WINDOW_MS = 25;

/** A thread under a load that is told how long it naps, window after window. */
class Thread {
  readonly naps = new Naps();
  nowMs = 0;
  /** Windows that began with naps, of all since it was last set to 0. */
  napping = 0;
  under(forMs: number, load: (micros: number) => { perSecond: number; aTurn: number }): void {
    for (const end = this.nowMs + forMs; this.nowMs < end; ) {
      if (this.naps.micros > 0) this.napping++;
      const { perSecond, aTurn } = load(this.naps.micros);
      const events = (perSecond * WINDOW_MS) / 1_000;
      this.nowMs += WINDOW_MS;
      this.naps.judge(this.nowMs, {
        ...{ ms: WINDOW_MS, events, messages: 0, turns: events / aTurn },
      });
    }
  }
}

/** As many arrive as without, and more of them a turn. */
const gathered = (micros: number) => ({ perSecond: 100_000, aTurn: micros > 0 ? 40 : 3 });
/** The others run out of work. */
const starved = (micros: number) => ({
  ...{ perSecond: micros > 0 ? 70_000 : 100_000, aTurn: micros > 0 ? 8 : 3 },
});

test("where naps cost nothing the thread naps nearly always, a twelfth of a turn", () => {
  const thread = new Thread();
  thread.under(25, gathered);
  expect(thread.naps.micros).toBe(50); // the first
  thread.under(25, gathered);
  expect(thread.naps.micros).toBe(33); // 400 us from turn to turn
  thread.napping = 0;
  thread.under(60_000, gathered);
  // Of 2,400 windows one in two seconds goes without, and the next begins with them again.
  expect(thread.napping).toBeGreaterThan(2_350);
  expect(thread.napping).toBeLessThan(2_400);
});

test("where fewer arrive with naps than without they end within three windows, and are tried again every few seconds", () => {
  const thread = new Thread();
  thread.under(125, starved);
  expect(thread.naps.micros).toBe(0);
  expect(thread.napping).toBe(2);
  thread.napping = 0;
  thread.under(60_000, starved); // tried after 1, 2 and 4 s, and then every 4 s
  expect(thread.napping).toBeGreaterThan(20);
  expect(thread.napping).toBeLessThan(2 * (3 + 60 / 4)); // of 2,400 windows
});

test("a load that no longer bears naps is noticed by the next comparison", () => {
  const thread = new Thread();
  thread.under(10_000, gathered);
  thread.under(2_200, starved);
  expect(thread.naps.micros).toBe(0);
});

test("naps that went well make earlier harm a matter of the past", () => {
  const thread = new Thread();
  thread.under(20_000, starved);
  thread.under(60_000, gathered);
  thread.under(2_200, starved);
  thread.napping = 0;
  thread.under(2_100, starved);
  expect(thread.napping).toBeGreaterThan(0); // it harmed once or twice: after 1 or 2 s, not after 4
});
