import { expect, test } from "bun:test";
import { closeSync, openSync } from "node:fs";
import { Loop } from "./loop.ts";

const THREAD = new URL("../../test/support/clock-thread.ts", import.meta.url);

test("a thread that starts later reads the same time: ejections and buckets of the agent outlive a thread", async () => {
  const before = new Loop().nowMs();
  const worker = new Worker(THREAD, { type: "module" });
  const there = await new Promise<number>((resolve, reject) => {
    worker.onmessage = ({ data }) => resolve(Number(data));
    worker.onerror = ({ message }) => reject(new Error(message));
  });
  worker.terminate();
  expect(there).toBeGreaterThanOrEqual(before);
  expect(there).toBeLessThanOrEqual(new Loop().nowMs());
});

test("a thread that finds many messages in few events naps before it asks for more, until it sees that fewer come so", async () => {
  const loop = new Loop();
  const alwaysReady = openSync("/dev/random", "r");
  const naps: number[] = [];
  const manyMessages = {
    onReady: () => {
      loop.messages += 39;
      if (naps.at(-1) !== loop.napMicros) naps.push(loop.napMicros);
    },
  };
  try {
    loop.watch(alwaysReady, manyMessages, "level");
    await loop.start();
    const deadline = Date.now() + 20_000;
    while (naps.length < 4 && Date.now() < deadline)
      await new Promise((resolve) => setTimeout(resolve, 5));
    // The first, then 2.5 us for each of 40 arrivals a turn; what is always ready comes less often with them.
    expect(naps.slice(0, 4)).toEqual([0, 50, 100, 0]);
  } finally {
    loop.stop();
    closeSync(alwaysReady);
  }
});

test("a sender that throws is told as a bug, once, and keeps back no other", async () => {
  const loop = new Loop();
  const bugs: unknown[] = [];
  loop.onBug = (error) => bugs.push(error);
  await loop.start();
  const sent: string[] = [];
  await new Promise<void>((resolve) => {
    loop.sendSoon({ run: () => sent.push("first") });
    loop.sendSoon({
      run: () => {
        throw new Error("in its run");
      },
    });
    loop.sendSoon({ run: () => sent.push("last") });
    loop.wheel.after(5, resolve);
  });
  loop.stop();
  expect(sent).toEqual(["first", "last"]);
  expect(bugs.map(String)).toEqual(["Error: in its run"]);
});
