import { expect, test } from "bun:test";
import { OUTBOUND_PORT_FIRST, PortBook, SLOTS_PER_BLOCK, SlotBook } from "./books.ts";

test("an owner keeps its slots from one adopted draft to the next", () => {
  const book = new SlotBook(10, 1000);
  const first = book.draft();
  const before = [first.take("a"), first.take("b")];
  expect(first.take("a")).toBe(before[0] ?? -1);
  expect(book.adopt(first)).toEqual([]);
  const second = book.draft();
  expect([second.take("b"), second.take("c"), second.take("a")]).toEqual([
    before[1],
    10 + 2 * SLOTS_PER_BLOCK,
    before[0],
  ]);
});

test("a draft that is thrown away changes nothing", () => {
  const book = new SlotBook(0, 1000);
  book.adopt(withKeys(book, "a"));
  book.draft().take("thrown away");
  expect(book.draft().take("b")).toBe(SLOTS_PER_BLOCK);
});

test("blocks change hands only when no fresh one is left, longest given up first, and are told to be cleared", () => {
  const book = new SlotBook(0, 3 * SLOTS_PER_BLOCK);
  book.adopt(withKeys(book, "a", "b"));
  book.adopt(withKeys(book, "b"));
  book.adopt(withKeys(book, "b", "fresh"));
  book.adopt(withKeys(book, "fresh"));
  const draft = book.draft();
  expect([draft.take("fresh"), draft.take("next"), draft.take("last"), draft.take("none")]).toEqual(
    [10, 0, 5, undefined],
  );
  expect(book.adopt(draft)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
});

test("workloads keep their port over a restart, and 99 is all there are", () => {
  const book = new PortBook([
    ["default/a", 15105],
    ["default/outside", 80],
  ]);
  const draft = book.draft();
  expect(draft.take("default/a")).toBe(15105);
  const taken = Array.from({ length: 99 }, (_, i) => draft.take(`default/w${i}`));
  expect(new Set(taken).size).toBe(99);
  expect(taken.filter((port) => port === undefined).length).toBe(1);
  expect(taken.includes(15105)).toBe(false);
  expect(taken.includes(OUTBOUND_PORT_FIRST)).toBe(true);
});

function withKeys(book: SlotBook, ...keys: string[]) {
  const draft = book.draft();
  for (const key of keys) draft.take(key);
  return draft;
}

test("a book of many remembers all of them over a restart, and nothing that is no block of its own", () => {
  const known = Array.from(
    { length: 200_000 },
    (_, i) => [`${i}`, 3 + i * SLOTS_PER_BLOCK] as const,
  );
  const book = new SlotBook(3, 3 + 300_000 * SLOTS_PER_BLOCK, [
    ...known,
    ["askew", 4],
    ["low", -2],
  ]);
  const draft = book.draft();
  expect(draft.take("199999")).toBe(3 + 199_999 * SLOTS_PER_BLOCK);
  expect(draft.take("askew")).toBe(3 + 200_000 * SLOTS_PER_BLOCK);
});
