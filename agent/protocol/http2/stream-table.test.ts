import { expect, test } from "bun:test";
import fc from "fast-check";
import { StreamTable } from "./stream-table.ts";

const sorted = (ids: readonly number[]): number[] => [...ids].sort((a, b) => a - b);

test("it keeps what a Map would, whatever numbers begin and end in what order", () => {
  // Few numbers of one remainder collide at every size; they and any others.
  const id = fc.oneof(
    fc.integer({ min: 0, max: 40 }).map((i) => 2 * i + 1),
    fc.integer({ min: 0, max: 40 }).map((i) => 1_024 * i + 1),
    fc.integer({ min: 1, max: 0x7fff_ffff }),
  );
  const step = fc.tuple(fc.boolean(), id);
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
      const table = new StreamTable<string>();
      const map = new Map<number, string>();
      steps.forEach(([isBegun, at], i) => {
        if (isBegun) {
          table.set(at, `${i}`);
          map.set(at, `${i}`);
        } else {
          table.delete(at);
          map.delete(at);
        }
        expect([table.size, table.has(at), table.get(at)]).toEqual([
          map.size,
          map.has(at),
          map.get(at),
        ]);
      });
      for (const [at, value] of map) expect(table.get(at)).toBe(value);
      expect(table.ids()).toEqual(sorted([...map.keys()]));
      expect(table.values()).toEqual(sorted([...map.keys()]).map((at) => map.get(at) ?? ""));
      table.clear();
      expect([table.size, table.ids(), table.values()]).toEqual([0, [], []]);
    }),
    { numRuns: 300, seed: 5 },
  );
});

test("streams that pass one after the other need no more places than are open at once", () => {
  const table = new StreamTable<number>();
  for (let id = 1; id < 20_001; id += 2) {
    table.set(id, id);
    if (id > 200) table.delete(id - 200);
  }
  expect(table.size).toBe(100);
  expect(table.ids()).toEqual(Array.from({ length: 100 }, (_, i) => 19_801 + 2 * i));
});
