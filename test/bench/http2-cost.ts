// What our own code costs a request of HTTP/2, without the kernel: a client of HTTP/2, an agent in plaintext, an app of HTTP/2, a hundred
// streams at once. `bun test/bench/http2-cost.ts [pages|calls]`: nanoseconds a request; --cpu-prof shows where they go.
import { nanosOf } from "./cost-plane.ts";
import { STREAMS, turnsOf } from "./http2-turns.ts";

const TURNS = 1_000;

const isCalls = process.argv[2] === "calls";
const turn = turnsOf(isCalls);
const turns = (): void => {
  for (let i = 0; i < TURNS; i++) turn();
};
const cost = nanosOf(turns, TURNS * STREAMS);
console.log(`${isCalls ? "gRPC call" : "page"}, HTTP/2 on both sides: ${cost} ns a request`);
