// How the kernel schedules the thread that calls: its class, and how long it had to wait.
import { readFileSync } from "node:fs";
import { type Libc, SCHED_BATCH, SCHED_OTHER } from "./libc.ts";
import type { ThreadScheduling, Waits } from "./wake-gathering.ts";

/** Any thread may choose between these two classes for itself. `parameters` is the address of four zero bytes: struct sched_param. */
export const threadScheduling = (libc: Libc, parameters: number): ThreadScheduling => ({
  gather: (isWanted) =>
    libc.sched_setscheduler(0, isWanted ? SCHED_BATCH : SCHED_OTHER, parameters) === 0,
  waits: threadWaits,
});

/** proc(5), schedstat: nanoseconds on a CPU, nanoseconds of waiting for one, times it ran. Kernels without CONFIG_SCHED_INFO show zeros. */
function threadWaits(): Waits | undefined {
  try {
    const [ran = "0", waited, times] = readFileSync("/proc/thread-self/schedstat", "latin1").split(
      " ",
    );
    return Number(ran) > 0 ? { ms: Number(waited) / 1e6, times: Number(times) } : undefined;
  } catch {
    return undefined;
  }
}
