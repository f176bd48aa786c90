import { describe, expect, test } from "bun:test";
import { VirtualClock } from "../../test/support/virtual-clock.ts";
import { collectGarbage, collectShortLived, giveBack, MemoryTidy } from "./memory.ts";

function world() {
  const timers = new VirtualClock();
  const done: string[] = [];
  let filesKib = 0;
  const tidy = new MemoryTidy({
    timers,
    collectGarbage: () => done.push("collect"),
    dropCleanPages: () => done.push("drop"),
    filePagesKib: () => filesKib,
  });
  return {
    timers,
    tidy,
    take: () => done.splice(0),
    touch: (kib: number) => {
      filesKib = kib;
    },
  };
}

test("a while after the last change, once, garbage is collected and pages are dropped", () => {
  const w = world();
  w.tidy.soon();
  w.timers.pass(3_000);
  w.tidy.soon();
  w.timers.pass(4_000);
  expect(w.take()).toEqual([]);
  w.timers.pass(60_000);
  expect(w.take()).toEqual(["collect", "drop"]);
});

test("pages that pile up under load are dropped within 10 s, and not after stop()", () => {
  const w = world();
  w.touch(30_000);
  w.tidy.soon();
  w.timers.pass(60_000);
  w.take();
  w.touch(40_000);
  w.timers.pass(10_000);
  expect(w.take()).toEqual(["drop"]);
  w.touch(20_000);
  w.timers.pass(60_000);
  expect(w.take()).toEqual([]);
  w.touch(40_000);
  w.tidy.stop();
  w.timers.pass(60_000);
  expect(w.take()).toEqual([]);
});

test("pages that come back at once after a drop are needed and stay", () => {
  const w = world();
  w.touch(30_000);
  w.tidy.soon();
  w.timers.pass(60_000);
  w.take();
  w.touch(36_000);
  w.timers.pass(120_000);
  expect(w.take()).toEqual(["drop"]);
  w.touch(39_000);
  w.timers.pass(60_000);
  expect(w.take()).toEqual([]);
});

test("garbage is collected at once", async () => {
  let collected = 0;
  const gone = new FinalizationRegistry(() => collected++);
  const make = (): void => {
    for (let i = 0; i < 64; i++) gone.register({ i }, i);
  };
  make();
  collectGarbage();
  await new Promise((resolve) => setTimeout(resolve, 50));
  expect(collected).toBeGreaterThan(30);
});

test("buffers of events that are over are collected when there are 4 MiB of them", () => {
  let collected = 0;
  const gone = new FinalizationRegistry(() => collected++);
  const loop = { shortLivedBytes: 0 };
  const make = (): void => {
    for (let i = 0; i < 64; i++) gone.register(new Uint8Array(65_536), i);
  };
  make();
  loop.shortLivedBytes = (4 << 20) - 1;
  collectShortLived(loop);
  expect(loop.shortLivedBytes).toBe((4 << 20) - 1);
  loop.shortLivedBytes++;
  collectShortLived(loop);
  expect(loop.shortLivedBytes).toBe(0);
  return new Promise<void>((resolve) => {
    setTimeout(() => {
      expect(collected).toBeGreaterThan(30);
      resolve();
    }, 50);
  });
});

describe("a chunk that was made for one event", () => {
  test("is free at once where it is large, whatever kind the runtime made", () => {
    const loop = { shortLivedBytes: 0 };
    const chunks = [new Uint8Array(32_768), Buffer.allocUnsafeSlow(500_000)];
    for (const chunk of chunks) giveBack(chunk, loop);
    expect(chunks.map(({ length }) => length)).toEqual([0, 0]);
    expect(loop.shortLivedBytes).toBe(0);
  });

  test("is left to a collection where it is small, or lies in what others may use", () => {
    const loop = { shortLivedBytes: 0 };
    const whole = new Uint8Array(100_000).fill(7);
    const chunks = [new Uint8Array(32_767), whole.subarray(10, 50_010)];
    for (const chunk of chunks) giveBack(chunk, loop);
    expect(chunks.map(({ length }) => length)).toEqual([32_767, 50_000]);
    expect(whole[60_000]).toBe(7);
    expect(loop.shortLivedBytes).toBe(82_767);
  });
});
