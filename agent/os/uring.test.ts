import { expect, test } from "bun:test";
import { mapArena, openLibrary } from "./ffi.ts";
import { EAGAIN, MSG_NOSIGNAL } from "./libc.ts";
import { NOT_RUN, RING_ENTRIES, Ring } from "./uring.ts";

const { socketpair } = openLibrary("libc.so.6", { socketpair: "i32 i32 i32 i32 at" });
const arena = mapArena(65_536);
const PARAMS_AT = 0;
const PAIR_AT = 4_096;
const SEND_AT = 8_192;
const RECEIVE_AT = 16_384;
const ring = Ring.open({ address: arena.base + PARAMS_AT, words: arena.words.subarray(0, 64) });

function pair(): [number, number] {
  expect(socketpair(1, 1, 0, arena.base + PAIR_AT)).toBe(0);
  return [arena.words[PAIR_AT >> 2] as number, arena.words[(PAIR_AT >> 2) + 1] as number];
}

// Where the kernel refuses io_uring there is nothing to test; everything else runs without it.
test.skipIf(ring === undefined)(
  "one submit makes many calls, in order, each with its own result",
  () => {
    if (ring === undefined) return;
    const [a, b] = pair();
    const [idle] = pair();
    arena.bytes.set([1, 2, 3, 4, 5], SEND_AT);
    for (let round = 0; round < 300; round++) {
      ring.send(a, arena.base + SEND_AT, 2, MSG_NOSIGNAL, 0);
      ring.send(a, arena.base + SEND_AT + 2, 3, MSG_NOSIGNAL, 1);
      ring.receive(b, arena.base + RECEIVE_AT, 100, 2);
      ring.receive(idle, arena.base + RECEIVE_AT + 100, 100, 3);
      ring.receive(-1, arena.base + RECEIVE_AT + 100, 100, 4);
      expect(ring.queued).toBe(5);
      ring.submit();
      expect([...ring.results.subarray(0, 5)]).toEqual([2, 3, 5, -EAGAIN, -9]);
      expect([...arena.bytes.subarray(RECEIVE_AT, RECEIVE_AT + 5)]).toEqual([1, 2, 3, 4, 5]);
    }
  },
);

test.skipIf(ring === undefined)("a full ring of entries runs whole", () => {
  if (ring === undefined) return;
  const [a, b] = pair();
  for (let i = 0; i < RING_ENTRIES; i++) ring.send(a, arena.base + SEND_AT, 1, MSG_NOSIGNAL, i);
  expect(ring.results.every((result) => result === NOT_RUN)).toBe(true);
  ring.submit();
  expect(ring.results.every((result) => result === 1)).toBe(true);
  ring.receive(b, arena.base + RECEIVE_AT, 1_000, 0);
  ring.submit();
  expect(ring.results[0]).toBe(RING_ENTRIES);
});
