import { expect, test } from "bun:test";
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
