import { expect, test } from "bun:test";
import { bucketMemory, halfSipHash, KeyedBuckets } from "./keyed-buckets.ts";
import { rateOf } from "./token-bucket.ts";

const SEED = [0x1234_5678, 0x0bad_cafe] as const;
const RATE = rateOf(1, 1_000, 2);

test("each key has a bucket of its own, and the same one every time", () => {
  const buckets = new KeyedBuckets(SEED, bucketMemory(1_024));
  const places = new Set<number>();
  for (let i = 0; i < 200; i++) {
    const at = buckets.find(`key ${i}`, 0);
    if (at === undefined) throw new Error("no place in a table that is mostly empty");
    expect(buckets.find(`key ${i}`, 500)).toBe(at);
    expect([0, 1, 2].map(() => buckets.take(at, RATE, 0) === 0)).toEqual([true, true, false]);
    places.add(at);
  }
  expect(places.size).toBe(200);
});

test("two threads that share the memory and the seed mean the same bucket", () => {
  const memory = bucketMemory(64);
  const [one, other] = [new KeyedBuckets(SEED, memory), new KeyedBuckets(SEED, memory)];
  const at = one.find("a", 0) ?? -1;
  expect(one.take(at, RATE, 0)).toBe(0);
  expect(other.find("a", 0)).toBe(at);
  expect(other.take(at, RATE, 0)).toBe(0);
  expect(one.take(at, RATE, 0)).toBeGreaterThan(0);
});

test("a full table has no place for another key until a bucket has filled up again", () => {
  const buckets = new KeyedBuckets(SEED, bucketMemory(32));
  const placed: string[] = [];
  for (let i = 0; i < 500; i++) {
    const at = buckets.find(`key ${i}`, 0);
    if (at === undefined) continue;
    buckets.take(at, RATE, 0);
    placed.push(`key ${i}`);
  }
  expect(placed).toHaveLength(32);
  expect(buckets.find("late", 900)).toBeUndefined();
  expect(placed.map((key) => buckets.find(key, 900))).not.toContain(undefined); // nobody's bucket was taken away
  expect(buckets.find("late", 1_100)).toBeDefined();
});

test("what was found and not used yet is nobody else's, for a quarter of a second", () => {
  const memory = bucketMemory(8);
  const [one, other] = [new KeyedBuckets(SEED, memory), new KeyedBuckets(SEED, memory)];
  const all = Array.from({ length: 8 }, (_, i) => one.find(`key ${i}`, 0));
  expect(new Set(all).size).toBe(8);
  expect(other.find("late", 0)).toBeUndefined(); // new ones
  for (const at of all) one.take(at ?? -1, RATE, 0);
  for (let i = 0; i < 8; i++) expect(one.find(`key ${i}`, 5_000)).toBe(all[i]);
  expect(other.find("late", 5_000)).toBeUndefined(); // those that had filled up again
  expect(other.find("late", 5_300)).toBeDefined();
});

test("a bucket that two threads use is forgotten when the later of them says so", () => {
  const memory = bucketMemory(8);
  const [one, other] = [new KeyedBuckets(SEED, memory), new KeyedBuckets(SEED, memory)];
  const all = Array.from({ length: 8 }, (_, i) => one.find(`key ${i}`, 5_000));
  for (const at of all) expect(one.take(at ?? -1, RATE, 8_000)).toBe(0); // its clock is ahead
  for (const at of all) expect(other.take(at ?? -1, RATE, 5_000)).toBe(0);
  expect(other.find("late", 8_500)).toBeUndefined();
  expect(other.find("late", 9_100)).toBeDefined();
});

test("a bucket in use is not forgotten, however long it is used", () => {
  const buckets = new KeyedBuckets(SEED, bucketMemory(8));
  const at = buckets.find("busy", 0) ?? -1;
  let granted = 0;
  for (let nowMs = 0; nowMs < 100_000; nowMs += 250) {
    expect(buckets.find("busy", nowMs)).toBe(at);
    if (buckets.take(at, RATE, nowMs) === 0) granted++;
    for (let i = 0; i < 20; i++) buckets.find(`other ${i} ${nowMs}`, nowMs);
  }
  expect(granted).toBeLessThanOrEqual(2 + 100);
});

/** vectors_hsip64 of the authors' test vectors, those of an even length: key 00..07, input 00, 01, ... */
test("the hash is HalfSipHash-2-4", () => {
  const out = new Int32Array(2);
  const hash = (bytes: number): string => {
    let text = "";
    for (let i = 0; i < bytes; i += 2) text += String.fromCharCode(i | ((i + 1) << 8));
    halfSipHash(text, [0x03020100, 0x07060504], out);
    return Buffer.from(out.buffer).toString("hex");
  };
  expect(hash(0)).toBe("218d1f59b9b83cc8");
  expect(hash(2)).toBe("064f39ef7c50eb57");
  expect(hash(6)).toBe("ce3e91358aa2bc25");
  expect(hash(8)).toBe("edfee820bce4858c");
});

test("threads that meet a new key at once mean the same bucket: its burst is granted once", async () => {
  const [keys, burst, threads] = [5_000, 3, 2];
  const memory = bucketMemory(65_536);
  const arrivals = new SharedArrayBuffer(4);
  const thread = new URL("../../test/support/keyed-bucket-thread.ts", import.meta.url);
  const workers = Array.from({ length: threads }, () => new Worker(thread));
  const granted = workers.map(
    (worker) =>
      new Promise<number>((resolve, reject) => {
        worker.onmessage = ({ data }) => resolve(Number(data));
        worker.onerror = ({ message }) => reject(new Error(message));
        worker.postMessage({ memory, seed: SEED, arrivals, threads, keys, burst });
      }),
  );
  const counts = await Promise.all(granted);
  for (const worker of workers) worker.terminate();
  expect(counts.reduce((sum, n) => sum + n, 0)).toBe(keys * burst);
});
