// A thread that asks one shared bucket for tokens, as often and as fast as it is told, and tells how many it was granted.
import { SharedSlots } from "../../agent/base/slots.ts";
import { rateOf, takeToken } from "../../agent/resilience/token-bucket.ts";

declare function postMessage(granted: number): void;
declare const self: { onmessage: ((event: { data: Asked }) => void) | null };

interface Asked {
  readonly memory: SharedArrayBuffer;
  readonly burst: number;
  readonly asks: number;
}

self.onmessage = ({ data: { memory, burst, asks } }) => {
  const slots = new SharedSlots(memory);
  const rate = rateOf(1, 86_400_000 / burst, burst); // nothing comes back while the test runs
  let granted = 0;
  for (let i = 0; i < asks; i++) if (takeToken(slots, 0, rate, 1_000) === 0) granted++;
  postMessage(granted);
};
