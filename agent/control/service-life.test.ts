import { expect, test } from "bun:test";
import { VirtualClock } from "../../test/support/virtual-clock.ts";
import { ServiceLife } from "./service-life.ts";

function start(watchdogMs: number | undefined) {
  const clock = new VirtualClock();
  const told: string[] = [];
  const threads = { asked: 0, areAnswering: true, ask: () => void threads.asked++ };
  const tell = (assignments: readonly string[]): void => void told.push(assignments.join(" "));
  const life = new ServiceLife({ watchdogMs }, { tell, timers: clock, threads });
  return { clock, told, threads, life };
}

test("the watchdog is fed four times a period while all data threads answer", () => {
  const { clock, told, threads, life } = start(4_000);
  life.ready();
  clock.pass(3_500);
  expect(told).toEqual(["READY=1", ...Array.from({ length: 4 }, () => "WATCHDOG=1")]);
  expect(threads.asked).toBe(4);
});

test("a thread that does not answer starves the watchdog, and one that answers again feeds it", () => {
  const { clock, told, threads, life } = start(4_000);
  life.ready();
  threads.areAnswering = false;
  told.length = 0;
  clock.pass(10_000);
  expect(told).toEqual([]);
  threads.areAnswering = true;
  clock.pass(1_000);
  expect(told).toEqual(["WATCHDOG=1"]);
});

test("without a watchdog nothing is asked, and after the end nothing is told", () => {
  const without = start(undefined);
  without.life.ready();
  without.clock.pass(60_000);
  expect(without.told).toEqual(["READY=1"]);
  expect(without.threads.asked).toBe(0);
  const ended = start(1_000);
  ended.life.ready();
  ended.life.end();
  ended.told.length = 0;
  ended.clock.pass(5_000);
  expect(ended.told).toEqual([]);
});

test("a status is one line, told once, and the end says how long it may take", () => {
  const { told, life } = start(undefined);
  life.status("version 7\n2 workloads");
  life.status("version 7\n2 workloads");
  life.stopping(11_000);
  expect(told).toEqual(["STATUS=version 7 2 workloads", "STOPPING=1 EXTEND_TIMEOUT_USEC=11000000"]);
});
