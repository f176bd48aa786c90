import { beforeEach, expect, test } from "bun:test";
import type { Manifest, SignedManifest, Unit, UnitBody } from "../api/session.ts";
import { SILENT_LOG } from "../base/log.ts";
import type { Problem } from "../base/result.ts";
import { compile } from "../policy/compile.ts";
import type { Snapshot } from "../policy/snapshot.ts";
import { ConfigPlane } from "./config-plane.ts";
import type { CompiledSources, SnapshotStore, Sources } from "./snapshot-store.ts";

const unitOf = (hash: string, body: UnitBody): Unit => ({ hash, body: JSON.stringify(body) });
const MESH = unitOf("mesh", {
  is: "mesh",
  mesh: { trustDomain: "mesh.test", rootNamespace: "istio-system", outboundPolicy: "allow_any" },
});
const EMPTY = unitOf("empty", { is: "endpoints", service: "a.default.mesh", endpoints: [] });

function versionOf(
  epoch: number,
  version: number,
  units: readonly string[],
): [Manifest, SignedManifest] {
  const manifest = { epoch, version, host: "vm-1", units, issuedAtMs: 0 };
  return [manifest, { payload: JSON.stringify(manifest), signature: "", certificates: [] }];
}
const arrived = (...units: readonly Unit[]) => new Map(units.map((unit) => [unit.hash, unit]));

class World {
  stored: { sources: Sources; compiled: CompiledSources } | undefined;
  compiledAnew = 0;
  problems: Problem[] = [];
  /** While set, writes wait for it. */
  disk: Promise<void> | undefined;
  saves = 0;
  readonly ran: Snapshot[] = [];

  readonly store: SnapshotStore = {
    save: async (sources, compiled) => {
      await this.disk;
      this.saves++;
      this.stored = { sources, compiled };
    },
    loadCompiled: async () => this.stored?.compiled,
    loadPorts: async () => [],
    loadSources: async () => this.stored?.sources,
  };

  open(): ConfigPlane {
    return new ConfigPlane(
      { host: "vm-1", slotFirst: 0, slotCapacity: 100 },
      {
        store: this.store,
        compile: (input) => {
          this.compiledAnew++;
          return { ...compile(input), problems: this.problems };
        },
        hostAddresses: () => [],
        clearSlots() {},
        onSnapshot: (snapshot) => void this.ran.push(snapshot),
        log: SILENT_LOG,
      },
    );
  }

  get versions(): string[] {
    return this.ran.map(({ epoch, version }) => `${epoch}.${version}`);
  }
}

let world: World;
let plane: ConfigPlane;
beforeEach(() => {
  world = new World();
  plane = world.open();
});

test("a version whose units are there is compiled, run and kept on disk", async () => {
  expect((await plane.accept(...versionOf(1, 5, ["mesh"]), arrived(MESH))).ok).toBe(true);
  await plane.settled();
  expect(world.versions).toEqual(["1.5"]);
  expect(plane.unitHashes).toEqual(["mesh"]);
  expect(world.stored?.sources.units).toEqual([MESH]);
});

test("units of the running version need not come again", async () => {
  await plane.accept(...versionOf(1, 5, ["mesh"]), arrived(MESH));
  expect((await plane.accept(...versionOf(1, 6, ["mesh", "empty"]), arrived(EMPTY))).ok).toBe(true);
  expect(plane.unitHashes).toEqual(["mesh", "empty"]);
});

test("a version with a unit that never came is not run", async () => {
  const refused = await plane.accept(...versionOf(1, 5, ["mesh", "empty"]), arrived(MESH));
  expect(refused).toEqual({ ok: false, error: { is: "unit_missing", count: 1 } });
  expect(world.ran).toEqual([]);
});

test("a lower version is refused unless the epoch rises, and a lower epoch always", async () => {
  await plane.accept(...versionOf(2, 5, ["mesh"]), arrived(MESH));
  expect((await plane.accept(...versionOf(2, 4, ["mesh"]), arrived(MESH))).ok).toBe(false);
  expect((await plane.accept(...versionOf(1, 9, ["mesh"]), arrived(MESH))).ok).toBe(false);
  expect((await plane.accept(...versionOf(3, 1, ["mesh"]), arrived(MESH))).ok).toBe(true);
  expect(world.versions).toEqual(["2.5", "3.1"]);
});

test("a version that does not compile is refused with its reasons, and the last good one goes on", async () => {
  await plane.accept(...versionOf(1, 5, ["mesh"]), arrived(MESH));
  world.problems = [
    { path: "spec.hosts", reason: "is wrong", severity: "error" },
    { path: "spec.http", reason: "is odd", severity: "warning" },
  ];
  const refused = await plane.accept(...versionOf(1, 6, ["mesh"]), arrived(MESH));
  expect(refused).toEqual({
    ok: false,
    error: { is: "refused", reasons: ["spec.hosts: is wrong"] },
  });
  expect(plane.position).toEqual({ epoch: 1, version: 5 });
  await plane.settled();
  expect(world.stored?.compiled.snapshot.version).toBe(5);
});

test("a unit of a kind that this agent does not know refuses the version by name", async () => {
  const odd = { hash: "odd", body: JSON.stringify({ is: "quota" }) };
  const refused = await plane.accept(...versionOf(1, 5, ["mesh", "odd"]), arrived(MESH, odd));
  expect(JSON.stringify(refused)).toContain("quota");
});

test("a start from disk runs the last good version without compiling, and knows its units after", async () => {
  await plane.accept(...versionOf(1, 5, ["mesh"]), arrived(MESH));
  await plane.settled();
  const again = world.open();
  expect(await again.bootCompiled()).toBe(true);
  await again.bootSources();
  expect(world.compiledAnew).toBe(1);
  expect([again.position, again.unitHashes]).toEqual([{ epoch: 1, version: 5 }, ["mesh"]]);
});

test("sources newer than the compiled snapshot, or without one, are compiled at the start", async () => {
  await plane.accept(...versionOf(1, 5, ["mesh"]), arrived(MESH));
  await plane.settled();
  const before = world.stored;
  await plane.accept(...versionOf(1, 6, ["mesh"]), arrived(MESH));
  await plane.settled();
  if (before === undefined || world.stored === undefined) throw new Error("not stored");
  world.stored = { sources: world.stored.sources, compiled: before.compiled };
  const again = world.open();
  await again.bootCompiled();
  expect(again.position.version).toBe(5);
  await again.bootSources();
  expect(again.position.version).toBe(6);
});

test("another host's state, copied here, is not run", async () => {
  await plane.accept(...versionOf(1, 5, ["mesh"]), arrived(MESH));
  await plane.settled();
  const { stored } = world;
  if (stored === undefined) throw new Error("not stored");
  const snapshot = {
    ...stored.compiled.snapshot,
    host: { name: "vm-2", identity: "", addresses: [] },
  };
  const [, manifest] = versionOf(1, 5, ["mesh"]);
  const payload = manifest.payload.replace("vm-1", "vm-2");
  world.stored = {
    sources: { ...stored.sources, manifest: { ...manifest, payload } },
    compiled: { ...stored.compiled, snapshot },
  };
  const again = world.open();
  expect(await again.bootCompiled()).toBe(false);
  await again.bootSources();
  expect(again.snapshot).toBeUndefined();
});

test("a burst of versions is written twice at most: the first and the newest", async () => {
  let release = (): void => undefined;
  world.disk = new Promise((resolve) => {
    release = resolve;
  });
  for (let version = 1; version <= 20; version++) {
    await plane.accept(...versionOf(1, version, ["mesh"]), arrived(MESH));
  }
  release();
  await plane.settled();
  expect(world.saves).toBe(2);
  expect(world.stored?.compiled.snapshot.version).toBe(20);
});

test("two versions that come at once are judged one after the other", async () => {
  const both = [6, 5].map((version) =>
    plane.accept(...versionOf(1, version, ["mesh"]), arrived(MESH)),
  );
  expect((await Promise.all(both)).map(({ ok }) => ok)).toEqual([true, false]);
  expect(world.versions).toEqual(["1.6"]);
});
