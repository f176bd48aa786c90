import { expect, test } from "bun:test";
import fc from "fast-check";
import { Deadline, TimerWheel } from "./timer-wheel.ts";

function wheelAt(): { wheel: TimerWheel; at(ms: number): void } {
  let now = 1_000;
  const wheel = new TimerWheel(() => now);
  return {
    wheel,
    at(ms) {
      now = ms;
      wheel.runDue();
    },
  };
}

test("a task runs once, never early and at most two ticks late", () => {
  const { wheel, at } = wheelAt();
  const ran: number[] = [];
  let now = 1_000;
  wheel.after(250, () => ran.push(now));
  for (now = 1_001; now < 2_000; now++) at(now);
  expect(ran.length).toBe(1);
  expect(ran[0]).toBeGreaterThanOrEqual(1_250);
  expect(ran[0]).toBeLessThanOrEqual(1_282);
});

test("a deadline further away than one turn of the wheel waits for its own turn", () => {
  const { wheel, at } = wheelAt();
  let hasRun = false;
  wheel.after(60_000, () => {
    hasRun = true;
  });
  for (let now = 1_000; now < 60_900; now += 10) at(now);
  expect(hasRun).toBe(false);
  for (let now = 60_900; now < 61_100; now += 10) at(now);
  expect(hasRun).toBe(true);
});

test("a cancelled deadline never runs, and a moved one runs at its new time only", () => {
  const { wheel, at } = wheelAt();
  const ran: string[] = [];
  const gone = new Deadline(wheel, { onDue: () => ran.push("gone") });
  const moved = new Deadline(wheel, { onDue: () => ran.push("moved") });
  gone.set(1_100);
  moved.set(1_100);
  gone.cancel();
  moved.set(1_500);
  at(1_200);
  expect(ran).toEqual([]);
  at(1_600);
  expect(ran).toEqual(["moved"]);
  expect(wheel.pending).toBe(0);
});

test("a task may cancel another that is due in the same tick", () => {
  const { wheel, at } = wheelAt();
  const ran: string[] = [];
  const a: Deadline = new Deadline(wheel, {
    onDue: () => {
      ran.push("a");
      b.cancel();
    },
  });
  const b: Deadline = new Deadline(wheel, {
    onDue: () => {
      ran.push("b");
      a.cancel();
    },
  });
  a.set(1_100);
  b.set(1_100);
  at(1_300);
  expect(ran.length).toBe(1);
});

test("however deadlines are set, sleeping as long as the wheel says never misses one by more than two ticks", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 20_000 }), { maxLength: 40 }), (delays) => {
      let now = 1_000;
      const wheel = new TimerWheel(() => now);
      const late: number[] = [];
      for (const delay of delays) {
        const due = now + delay;
        wheel.after(delay, () => late.push(now - due));
      }
      for (let turns = 0; turns < 5_000 && wheel.pending > 0; turns++) {
        now += Math.max(0.5, wheel.sleepMs(100));
        wheel.runDue();
      }
      expect(late.length).toBe(delays.length);
      for (const by of late) {
        expect(by).toBeGreaterThanOrEqual(0);
        expect(by).toBeLessThanOrEqual(33);
      }
    }),
    { numRuns: 50 },
  );
});
