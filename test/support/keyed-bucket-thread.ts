// A thread that meets each of many new keys at the same moment as another one, asks for a token of each twice, and tells how many it was granted.
import { KeyedBuckets } from "../../agent/resilience/keyed-buckets.ts";
import { rateOf } from "../../agent/resilience/token-bucket.ts";

declare function postMessage(granted: number): void;
declare const self: { onmessage: ((event: { data: Asked }) => void) | null };

interface Asked {
  readonly memory: SharedArrayBuffer;
  readonly seed: readonly [number, number];
  /** Of one Int32: how often a thread came to the next key. */
  readonly arrivals: SharedArrayBuffer;
  readonly threads: number;
  readonly keys: number;
  readonly burst: number;
}

self.onmessage = ({ data: { memory, seed, arrivals, threads, keys, burst } }) => {
  const buckets = new KeyedBuckets(seed, memory);
  const rate = rateOf(1, 86_400_000 / burst, burst); // nothing comes back while the test runs
  const arrived = new Int32Array(arrivals);
  let granted = 0;
  for (let key = 0; key < keys; key++) {
    Atomics.add(arrived, 0, 1);
    while (Atomics.load(arrived, 0) < threads * (key + 1)); // until all are here
    for (let i = 0; i < 2; i++) {
      const at = buckets.find(`key ${key}`, 1_000);
      if (at === undefined || buckets.take(at, rate, 1_000) === 0) granted++;
    }
  }
  postMessage(granted);
};
