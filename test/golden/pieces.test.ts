import { expect, test } from "bun:test";
import fc from "fast-check";
import { compile } from "../../agent/policy/compile.ts";
import type { Snapshot } from "../../agent/policy/snapshot.ts";
import {
  PIECE_ITEMS_MAX,
  SnapshotAssembly,
  type SnapshotPiece,
  splitSnapshot,
} from "../../agent/policy/snapshot-pieces.ts";
import { anyInput } from "./random-sources.ts";

const assemble = (assembly: SnapshotAssembly, pieces: Iterable<SnapshotPiece>) =>
  [...pieces].map((piece) => assembly.add(structuredClone(piece))).at(-1);

test("a snapshot that travels in pieces arrives whole, also after one that was broken off", () => {
  const travels = fc.property(anyInput, anyInput, (first, second) => {
    const assembly = new SnapshotAssembly();
    assemble(assembly, [...splitSnapshot(compile(first).snapshot, 2)].slice(0, -1));
    const { snapshot } = compile(second);
    expect(assemble(assembly, splitSnapshot(snapshot, 3))).toEqual(snapshot);
    expect(assemble(assembly, splitSnapshot(snapshot))).toEqual(snapshot);
  });
  fc.assert(travels, { numRuns: 50 });
});

test("no piece holds more than its bound, a small snapshot is one, and an end without a beginning is nothing", () => {
  const many = (count: number) => Array.from({ length: count }, (_, i) => ({ id: `${i}` }));
  const whole = (services: number, clusters: number, endpoints: number) =>
    ({
      services: many(services),
      clusters: many(clusters),
      endpoints: many(endpoints),
    }) as unknown as Snapshot;
  const sizes = (snapshot: Snapshot) =>
    [...splitSnapshot(snapshot)].map((piece) => [
      piece.services.length,
      piece.clusters.length,
      piece.endpoints.length,
      piece.isLast,
    ]);
  expect(sizes(whole(1, 2, 3))).toEqual([[1, 2, 3, true]]);
  expect(sizes(whole(0, 0, 0))).toEqual([[0, 0, 0, true]]);
  expect(sizes(whole(100, 100, 2 * PIECE_ITEMS_MAX))).toEqual([
    [100, PIECE_ITEMS_MAX - 100, 0, false],
    [0, 200 - PIECE_ITEMS_MAX, 2 * PIECE_ITEMS_MAX - 200, false],
    [0, 0, PIECE_ITEMS_MAX, false],
    [0, 0, 200 - PIECE_ITEMS_MAX, true],
  ]);
  const end = { services: [], clusters: [], endpoints: [], isLast: true };
  expect(new SnapshotAssembly().add(end)).toBeUndefined();
});
