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

test("a thread that finds many messages in few events naps before it asks for more", async () => {
  const loop = new Loop();
  const alwaysReady = openSync("/dev/random", "r");
  const manyMessages = {
    onReady: () => {
      loop.messages += 39;
    },
  };
  loop.watch(alwaysReady, manyMessages, "level");
  await loop.start();
  while (loop.napMicros === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(loop.napMicros).toBeGreaterThan(90); // 40 arrivals a turn
  expect(loop.napMicros).toBeLessThan(110);
  loop.stop();
  closeSync(alwaysReady);
});
