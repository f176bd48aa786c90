import { expect, test } from "bun:test";
import fc from "fast-check";
import { MessageCounter } from "./grpc-messages.ts";

const message = (length: number, flags = 0): number[] => [
  flags,
  ...[24, 16, 8, 0].map((shift) => (length >>> shift) & 255),
  ...new Array<number>(length).fill(0),
];

function countOf(bytes: readonly number[], cuts: readonly number[] = []): number {
  const counter = new MessageCounter();
  const all = Uint8Array.from(bytes);
  let count = 0;
  let from = 0;
  for (const to of [...cuts, all.length]) {
    counter.see(all, from, to);
    count += counter.takeNew();
    from = to;
  }
  return count;
}

test("messages are counted wherever the content is cut, empty and compressed ones too", () => {
  const bytes = [...message(3), ...message(0, 1), ...message(300), ...message(0)];
  for (let first = 0; first <= bytes.length; first++)
    for (const second of [first, Math.min(first + 4, bytes.length)])
      expect(countOf(bytes, [first, second])).toBe(4);
});

test("any messages in any pieces", () => {
  const lengths = fc.array(fc.nat(700), { maxLength: 12 });
  fc.assert(
    fc.property(lengths, fc.array(fc.nat(9_000), { maxLength: 12 }), (all, places) => {
      const bytes = all.flatMap((length) => message(length));
      const cuts = places.map((place) => Math.min(place, bytes.length)).toSorted((a, b) => a - b);
      return countOf(bytes, cuts) === all.length;
    }),
  );
});

test("a message counts once it is whole, however long it says it is", () => {
  const whole = message(2);
  for (let end = 0; end < whole.length; end++) expect(countOf(whole.slice(0, end))).toBe(0);
  const counter = new MessageCounter();
  counter.see(Uint8Array.of(0, 255, 255, 255, 255), 0, 5);
  const piece = new Uint8Array(1 << 20);
  for (let i = 0; i < 4_095; i++) counter.see(piece, 0, piece.length);
  counter.see(piece, 0, piece.length - 2);
  expect(counter.takeNew()).toBe(0);
  counter.see(piece, 0, 1);
  expect(counter.takeNew()).toBe(1);
});

test("another call begins at its first byte, and owes nothing to the one before", () => {
  const counter = new MessageCounter();
  const cut = Uint8Array.from([...message(1), ...message(5).slice(0, 7)]);
  counter.see(cut, 0, cut.length);
  counter.begin();
  counter.see(Uint8Array.from(message(1)), 0, 6);
  expect(counter.takeNew()).toBe(1);
});
