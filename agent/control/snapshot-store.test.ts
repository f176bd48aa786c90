import { afterAll, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { LogFields } from "../base/log.ts";
import { SILENT_LOG } from "../base/log.ts";
import type { Snapshot } from "../policy/snapshot.ts";
import { writeDurably } from "./durable-file.ts";
import { type CompiledSources, DiskSnapshotStore, type Sources } from "./snapshot-store.ts";

const root = mkdtempSync(join(tmpdir(), "ironmesh-store-"));
afterAll(() => rmSync(root, { recursive: true }));

const snapshot: Snapshot = {
  epoch: 1,
  version: 7,
  trustDomain: "mesh.test",
  host: { name: "vm-1", identity: "", addresses: [] },
  workloads: [],
  services: [],
  clusters: [],
  endpoints: [],
  outboundPolicy: "allow_any",
};
const sources: Sources = {
  manifest: { payload: "{}", signature: "s", certificates: ["c"] },
  units: [{ hash: "h", body: "b" }],
};
const compiled: CompiledSources = { manifestHash: "m", snapshot, slots: [["k", 5]] };

let stateDir: string;
let told: (LogFields | undefined)[];
let store: DiskSnapshotStore;
const open = (agentVersion = "1.0.0") =>
  new DiskSnapshotStore(
    { stateDir, agentVersion },
    { log: { ...SILENT_LOG, error: (_message, fields) => told.push(fields) } },
  );
beforeEach(() => {
  stateDir = mkdtempSync(join(root, "state-"));
  told = [];
  store = open();
});
const path = (name: string): string => join(stateDir, "snapshot", name);

test("what was saved is there for the next start, for its owner alone", async () => {
  expect(await store.loadCompiled()).toBeUndefined();
  expect(await store.loadSources()).toBeUndefined();
  await store.save(sources, compiled);
  expect(await open().loadCompiled()).toEqual(compiled);
  expect(await open().loadSources()).toEqual(sources);
  expect(readdirSync(path("")).sort()).toEqual(["compiled.json", "sources.json"]);
  for (const name of readdirSync(path(""))) expect(statSync(path(name)).mode & 0o777).toBe(0o600);
  expect(told).toEqual([]);
});

test("an agent of another version compiles the sources anew instead of running the old one's result", async () => {
  await store.save(sources, compiled);
  const updated = open("1.1.0");
  expect(await updated.loadCompiled()).toBeUndefined();
  expect(await updated.loadSources()).toEqual(sources);
});

test("an update of the agent keeps the workloads' ports, which the rules in the kernel still name", async () => {
  expect(await store.loadPorts()).toEqual([]);
  const workloads = [
    { namespace: "default", name: "b", outboundPort: 15102 },
    { namespace: "default", name: "a", outboundPort: 15101 },
  ];
  const snapshot = { ...compiled.snapshot, workloads } as unknown as typeof compiled.snapshot;
  await store.save(sources, { ...compiled, snapshot });
  expect(await open("9.9.9").loadPorts()).toEqual([
    ["default/b", 15102],
    ["default/a", 15101],
  ]);
});

test("a torn, a changed and an empty file are each passed over and told, wherever the damage is", async () => {
  await store.save(sources, compiled);
  const whole = readFileSync(path("compiled.json"), "utf8");
  const damaged = [whole.replace("vm-1", "vm-2"), "", "\n", "rubbish\n{}"];
  for (let end = 1; end < whole.length; end += 13) damaged.push(whole.slice(0, end));
  for (const text of damaged) {
    writeFileSync(path("compiled.json"), text);
    expect(await store.loadCompiled()).toBeUndefined();
  }
  expect(told).toHaveLength(damaged.length);
  expect(told[0]).toEqual({ path: path("compiled.json") });
  expect(await store.loadSources()).toEqual(sources);
});

test("a file that takes the other's place is not taken for it", async () => {
  await store.save(sources, compiled);
  writeFileSync(path("compiled.json"), readFileSync(path("sources.json")));
  expect(await store.loadCompiled()).toBeUndefined();
});

test("a write that was cut off leaves the last good version, and its rest is cleared away", async () => {
  await store.save(sources, compiled);
  writeFileSync(path("sources.json.abc.draft"), "half a fi");
  expect(await open().loadSources()).toEqual(sources);
  expect(readdirSync(path("")).sort()).toEqual(["compiled.json", "sources.json"]);
});

test("a durable write that fails says so and leaves nothing behind", async () => {
  const blocked = join(stateDir, "file", "below");
  writeFileSync(join(stateDir, "file"), "");
  await expect(writeDurably(blocked, "text")).rejects.toThrow();
  expect(readdirSync(stateDir)).toEqual(["file"]);
});
