import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { SeededRandom } from "../base/clock.ts";
import { SILENT_LOG } from "../base/log.ts";
import { startControl } from "./control.ts";

/** Packages that files import without `await`, from this one on. Types are gone by then. */
async function loadedAtStart(file: string, seen = new Set<string>()): Promise<Set<string>> {
  const transpiler = new Bun.Transpiler({ loader: "ts" });
  const packages = new Set<string>();
  const waiting = [file];
  for (let path = waiting.pop(); path !== undefined; path = waiting.pop()) {
    if (seen.has(path)) continue;
    seen.add(path);
    for (const { kind, path: target } of transpiler.scanImports(await Bun.file(path).text())) {
      if (kind !== "import-statement") continue;
      if (target.startsWith(".")) waiting.push(join(dirname(path), target));
      else packages.add(target);
    }
  }
  return packages;
}

test("an agent's start loads no ASN.1, no schemas and no compiler: they would cost it 60 ms and 20 MB", async () => {
  const packages = [...(await loadedAtStart(join(import.meta.dir, "control.ts")))];
  expect(packages.filter((name) => !name.startsWith("node:")).sort()).toEqual([]);
});

test("nor does what wires an agent and its data threads, down to the command line", async () => {
  const atStart = async (file: string): Promise<string[]> => {
    const packages = [...(await loadedAtStart(join(import.meta.dir, "../..", file)))];
    return packages.filter((name) => !/^(?:node|bun):/.test(name)).sort();
  };
  expect(await atStart("agent/main.ts")).toEqual([]);
  // The data path's own: names, address blocks, RE2 of routes.
  expect(await atStart("agent/worker.ts")).toEqual(["dns-packet", "ipaddr.js", "re2js"]);
  expect(await atStart("cli/main.ts")).toEqual([]);
  expect(await atStart("cli/agent-options.ts")).toEqual([]);
});

test("nor the runtime's own larger modules: each is 3 to 13 ms of a start, on whose end traffic waits", async () => {
  const packages = await loadedAtStart(join(import.meta.dir, "../main.ts"));
  expect([...packages].filter((name) => /^(?:node|bun):/.test(name)).sort()).toEqual([
    "node:fs",
    "node:fs/promises",
    "node:os",
    "node:path",
  ]);
});

test("a host that has not joined, or whose trust is damaged, is told what to do", async () => {
  const stateDir = mkdtempSync(join(tmpdir(), "ironmesh-control-"));
  const start = () =>
    startControl(
      { stateDir, agentVersion: "1", slotFirst: 0, slotCapacity: 100 },
      {
        clock: { nowMs: () => 0, wallMs: () => 0 },
        timers: { after: () => ({ cancel() {} }) },
        random: new SeededRandom(1),
        log: SILENT_LOG,
        hostAddresses: () => [],
        clearSlots() {},
        series: () => [],
        onKeys() {},
        onSnapshot() {},
      },
    );
  await expect(start()).rejects.toThrow(/meshctl join TOKEN/);
  const host = {
    host: "vm-1",
    trustDomain: "mesh.test",
    servers: ["https://127.0.0.1:1"],
    joinedAtMs: 0,
  };
  writeFileSync(join(stateDir, "host.json"), JSON.stringify(host));
  await expect(start()).rejects.toThrow(/trust.json is missing or damaged/);
  writeFileSync(join(stateDir, "host.json"), '{"host":');
  await expect(start()).rejects.toThrow(/host.json is damaged/);
  rmSync(stateDir, { recursive: true });
});
