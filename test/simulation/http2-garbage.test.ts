// A request of HTTP/2 in steady state makes next to no objects: at tens of thousands a second the collector, on threads of its own, was a third of
// what one cost (record 33).
import { heapStats } from "bun:jsc";
import { expect, test } from "bun:test";
import { STREAMS, turnsOf } from "../bench/http2-turns.ts";

const TURNS_BEFORE = 60;
const TURNS = 10;
/** What a request may leave: views of what is copied in one piece, scopes of code that is not compiled yet, and what the peers here make. It was
 *  about 50. */
const OBJECTS_MAX = 8;

const objectsNow = (): number =>
  Object.values(heapStats().objectTypeCounts).reduce((sum, count) => sum + count, 0);

test.each([
  ["a page, whose answers enter the table of their connection", false],
  ["a gRPC call", true],
])("%s leaves the collector no more than a few objects", (_name, isCalls) => {
  const turn = turnsOf(isCalls);
  for (let i = 0; i < TURNS_BEFORE; i++) turn();
  Bun.gc(true);
  const before = objectsNow();
  for (let i = 0; i < TURNS; i++) turn();
  expect((objectsNow() - before) / (TURNS * STREAMS)).toBeLessThan(OBJECTS_MAX);
});
