// The real clock and timers, for the control plane. The data path takes its time from the loop.
import type { Clock, Timers } from "../base/clock.ts";

export const systemClock = (): Clock => ({
  nowMs: () => performance.now(),
  wallMs: () => Date.now(),
});

export const systemTimers = (): Timers => ({
  after(afterMs, task) {
    const timer = setTimeout(task, afterMs);
    return { cancel: () => clearTimeout(timer) };
  },
});
