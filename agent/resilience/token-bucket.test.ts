import { expect, test } from "bun:test";
import fc from "fast-check";
import { SharedSlots } from "../base/slots.ts";
import { rateOf, returnToken, takeToken } from "./token-bucket.ts";

const fresh = (): SharedSlots => new SharedSlots(new ArrayBuffer(8));

test("a bucket that nobody used is full, gives its burst at once, and says when there will be more", () => {
  const slots = fresh();
  const rate = rateOf(10, 1_000, 3);
  expect([0, 1, 2].map(() => takeToken(slots, 0, rate, 5_000))).toEqual([0, 0, 0]);
  expect(takeToken(slots, 0, rate, 5_000)).toBe(100);
  expect(takeToken(slots, 0, rate, 5_099)).toBe(1);
  expect(takeToken(slots, 0, rate, 5_100)).toBe(0);
  expect(takeToken(slots, 0, rate, 5_100)).toBe(100);
});

test("a token given back can be taken again", () => {
  const slots = fresh();
  const rate = rateOf(1, 60_000, 1);
  expect(takeToken(slots, 0, rate, 0)).toBe(0);
  returnToken(slots, 0, rate);
  expect(takeToken(slots, 0, rate, 0)).toBe(0);
  expect(takeToken(slots, 0, rate, 0)).toBe(60_000);
});

/** What `burst` and the rate allow from the first moment to the last, and not one more; nor much less, if one always asks. */
test("whatever the rate, exactly its tokens are granted in the long run", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 100_000 }),
      fc.integer({ min: 1, max: 3_600_000 }),
      fc.oneof(fc.integer({ min: 1, max: 500 }), fc.integer({ min: 1, max: 1_000_000 })),
      fc.integer({ min: -(2 ** 31), max: 2 ** 33 }),
      (requests, perMs, burst, startMs) => {
        const slots = fresh();
        const rate = rateOf(requests, perMs, burst);
        expect(rate.capacity).toBeLessThanOrEqual(2 ** 30);
        // 200 askings, each for as many as there are, spread over the time in which 300 tokens come.
        const spanMs = Math.min((300 * perMs) / requests, 2 ** 30);
        let granted = 0;
        for (let i = 0; i <= 200; i++) {
          const nowMs = startMs + (spanMs * i) / 200;
          let left = 1_000;
          while (left-- > 0 && takeToken(slots, 0, rate, nowMs) === 0) granted++;
        }
        const most = burst + (spanMs * requests) / perMs;
        expect(granted).toBeLessThanOrEqual(most * 1.001 + 1);
        // Nothing is lost where the bucket holds what comes between two askings, in whole milliseconds.
        if (burst >= 10 && burst < 500 && spanMs > 400)
          expect(granted).toBeGreaterThan((most - burst) * 0.99 - 2);
      },
    ),
    { numRuns: 200, seed: 7 },
  );
});

test("a thread whose clock was read a little earlier neither refills nor empties a bucket", () => {
  const slots = fresh();
  const rate = rateOf(1, 1_000, 1);
  expect(takeToken(slots, 0, rate, 10_000)).toBe(0);
  expect(takeToken(slots, 0, rate, 9_990)).toBe(1_000);
  expect(takeToken(slots, 0, rate, 11_000)).toBe(0);
});

test("threads that take at once are granted the burst together, and not one more", async () => {
  const memory = new SharedArrayBuffer(8);
  const burst = 5_000;
  const thread = new URL("../../test/support/bucket-thread.ts", import.meta.url);
  const workers = [1, 2, 3, 4].map(() => new Worker(thread));
  const granted = workers.map(
    (worker) =>
      new Promise<number>((resolve, reject) => {
        worker.onmessage = ({ data }) => resolve(Number(data));
        worker.onerror = ({ message }) => reject(new Error(message));
        worker.postMessage({ memory, burst, asks: 4_000 });
      }),
  );
  const counts = await Promise.all(granted);
  for (const worker of workers) worker.terminate();
  expect(counts.reduce((sum, n) => sum + n, 0)).toBe(burst);
});
