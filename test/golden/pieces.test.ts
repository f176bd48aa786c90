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
    assemble(assembly, [...splitSnapshot(compile(first).snapshot)].slice(0, -1));
    const { snapshot } = compile(second);
    expect(assemble(assembly, splitSnapshot(snapshot))).toEqual(snapshot);
  });
  fc.assert(travels, { numRuns: 50 });
});

test("no piece holds more than its bound, and an end without a beginning is nothing", () => {
  const endpoints = Array.from({ length: 3 * PIECE_ITEMS_MAX + 1 }, (_, i) => ({ id: `${i}` }));
  const whole = { services: [], clusters: [], endpoints } as unknown as Snapshot;
  const pieces = [...splitSnapshot(whole)];
  expect(pieces.map((p) => (p.is === "endpoints" ? p.endpoints.length : p.is))).toEqual([
    "begin",
    PIECE_ITEMS_MAX,
    PIECE_ITEMS_MAX,
    PIECE_ITEMS_MAX,
    1,
    "end",
  ]);
  expect(new SnapshotAssembly().add({ is: "end" })).toBeUndefined();
});
