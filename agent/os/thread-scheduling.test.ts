import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { mapArena } from "./ffi.ts";
import { openLibc, SCHED_BATCH, SCHED_OTHER } from "./libc.ts";
import { threadScheduling } from "./thread-scheduling.ts";

/** proc(5), stat: field 41, counted behind the name. */
const classNow = (): number => {
  const stat = readFileSync("/proc/thread-self/stat", "latin1");
  return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[38]);
};

test("a thread gathers, and goes back, by the kernel's own word; its waits are counted", () => {
  const scheduling = threadScheduling(openLibc(), mapArena(4_096).base);
  scheduling.gather(false); // whatever class the tests were started in
  expect(classNow()).toBe(SCHED_OTHER);
  expect(scheduling.gather(true)).toBe(true);
  expect(classNow()).toBe(SCHED_BATCH);
  expect(scheduling.gather(false)).toBe(true);
  expect(classNow()).toBe(SCHED_OTHER);
  const waits = scheduling.waits();
  expect(waits?.times).toBeGreaterThan(0);
  expect(waits?.ms).toBeGreaterThanOrEqual(0);
});
