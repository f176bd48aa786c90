import { describe, expect, test } from "bun:test";
import { type Candidate, keyHash, PLACES, Rendezvous } from "./rendezvous.ts";

const KEYS = Array.from({ length: 20_000 }, (_, i) => keyHash(`192.0.2.${i}`));
const addresses = (count: number): string[] =>
  Array.from({ length: count }, (_, i) => `10.0.${i >> 8}.${i & 255}:80`);
const equal = (ids: readonly string[]): Candidate[] => ids.map((id) => ({ id, weight: 1 }));

/** The endpoint of each key, by its id. */
function owners(candidates: readonly Candidate[], up = candidates): string[] {
  const table = new Rendezvous(candidates);
  const from = Int32Array.from(up, (one) => candidates.indexOf(one));
  return KEYS.map((key) => candidates[table.pick(key, from, up.length)]?.id ?? "none");
}

const shares = (of: readonly string[]): number[] => {
  const counts = new Map<string, number>();
  for (const id of of) counts.set(id, (counts.get(id) ?? 0) + 1);
  return [...counts.values()].map((count) => count / of.length);
};

describe("keys", () => {
  test("are spread evenly, over few endpoints and over many", () => {
    for (const count of [2, 3, 10, 100]) {
      const found = shares(owners(equal(addresses(count))));
      expect(found).toHaveLength(count);
      expect(Math.max(...found) * count).toBeLessThan(1.5);
      expect(Math.min(...found) * count).toBeGreaterThan(0.6);
    }
  });

  test("are spread by weight, and an endpoint of weight 0 gets none", () => {
    const [a, b, c] = [5, 3, 0].map((weight, i) => ({ id: `10.0.0.${i}:80`, weight }));
    const found = owners([a, b, c] as Candidate[]);
    const of = (id: string): number => found.filter((one) => one === id).length / found.length;
    expect(of("10.0.0.0:80")).toBeCloseTo(5 / 8, 1);
    expect(of("10.0.0.1:80")).toBeCloseTo(3 / 8, 1);
    expect(of("10.0.0.2:80")).toBe(0);
  });

  test("have the same endpoint for every agent, in whatever order it knows the endpoints", () => {
    const candidates = equal(addresses(7));
    expect(owners(candidates.toReversed())).toEqual(owners(candidates));
  });

  test("of others do not move when an endpoint leaves or comes, is away or is back", () => {
    for (const weights of [undefined, [4, 1, 2, 3, 9]]) {
      const all = addresses(5).map((id, i) => ({ id, weight: weights?.[i] ?? 1 }));
      const before = owners(all);
      const rest = all.slice(1);
      const gone = owners(rest);
      before.forEach((id, i) => {
        if (id !== all[0]?.id) expect(gone[i]).toBe(id);
      });
      expect(new Set(gone.filter((_, i) => before[i] === all[0]?.id)).size).toBe(4);
      expect(owners(all, rest)).toEqual(gone);
      const back = new Rendezvous(all);
      const [some, whole] = [Int32Array.of(1, 2, 3, 4), Int32Array.of(0, 1, 2, 3, 4)];
      for (const key of KEYS) back.pick(key, some, 4);
      back.forget();
      expect(KEYS.map((key) => all[back.pick(key, whole, 5)]?.id ?? "")).toEqual(before);
    }
  });

  test("that fall into one place are scored once, whatever comes of it", () => {
    const table = new Rendezvous(equal(addresses(3)));
    const all = Int32Array.of(0, 1, 2);
    const first = table.pick(5, all, 3);
    const another = Int32Array.of((first + 1) % 3);
    expect(table.pickOnce(5, another, 1)).toBe((first + 1) % 3);
    expect(table.pick(5 + PLACES, another, 1)).toBe(first);
  });
});
