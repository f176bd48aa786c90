// Against a whole config server on loopback.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { MeshStatus } from "../../agent/api/operator-api.ts";
import { SILENT_LOG } from "../../agent/base/log.ts";
import { joinHost } from "../../agent/control/join.ts";
import { systemClock, systemTimers } from "../../agent/os/clock.ts";
import { type Registry, startRegistry } from "../../registry/registry.ts";
import { meshctl } from "../../test/support/cli-terminal.ts";
import { ask } from "../../test/support/config-server-client.ts";

const directory = mkdtempSync(join(tmpdir(), "ironmesh-farewell-"));
const env = { IRONMESH_CONFIG: join(directory, "contexts.json") };
let registry: Registry;
let operator: string;

beforeAll(async () => {
  registry = await startRegistry(
    {
      stateDir: `${directory}/server`,
      listen: { address: "127.0.0.1", port: 0 },
      advertise: ["127.0.0.1"],
      trustDomain: "mesh.test",
    },
    { clock: systemClock(), timers: systemTimers(), log: SILENT_LOG },
  );
  operator = readFileSync(registry.operatorTokenFile, "utf8").trim();
  const context = { server: registry.url, caPem: registry.trustBundle.join("\n"), token: operator };
  writeFileSync(env.IRONMESH_CONFIG, JSON.stringify({ current: "x", contexts: { x: context } }));
  chmodSync(env.IRONMESH_CONFIG, 0o600);
});
afterAll(async () => {
  await registry.close();
  rmSync(directory, { recursive: true });
});

async function joined(host: string): Promise<string> {
  const request = { host, serviceAccounts: [], ttlSeconds: 3_600 };
  const made = await ask<{ token: string }>(registry, "POST", "/v1/tokens", request, { operator });
  const stateDir = `${directory}/${host}`;
  const deps = { wallMs: () => Date.now(), log: SILENT_LOG };
  const done = await joinHost(made.body.token, stateDir, deps);
  if (!done.ok) throw new Error(done.error.message);
  return stateDir;
}
const members = async (): Promise<readonly string[]> =>
  (await ask<MeshStatus>(registry, "GET", "/v1/status", undefined, { operator })).body.hosts.map(
    ({ name }) => name,
  );
const leave = (stateDir: string, ...words: readonly string[]) => {
  const redirect = () => Promise.resolve({ is: "done", text: "" } as const);
  const places = ["--state-dir", stateDir, "--admin-socket", `${stateDir}/admin.sock`];
  return meshctl(["leave", ...words, ...places], { programs: { redirect } });
};

test("a host that leaves is forgotten by its server, and says so", async () => {
  const [first, second] = [await joined("vm-1"), await joined("vm-2")];
  expect(await members()).toEqual(["vm-1", "vm-2"]);
  const left = await leave(first, "--purge");
  expect(left).toMatchObject({ exitCode: 0, err: "" });
  expect(left.out.split("\n")).toEqual([
    "no agent runs here",
    "the redirect is cleared",
    "the config server has forgotten vm-1",
    `removed ${first}`,
  ]);
  expect(await members()).toEqual(["vm-2"]);
  expect((await leave(second)).exitCode).toBe(0);
  expect(await members()).toEqual([]);
  const again = await leave(second, "--purge"); // its files are still there, and the server knows it no more
  expect(again.exitCode).toBe(0);
  expect(again.err).toContain("this host is not a member any more");
});

test("without its server a host leaves all the same, and an operator is told what is left to do", async () => {
  const stateDir = await joined("vm-3");
  const state = JSON.parse(readFileSync(`${stateDir}/host.json`, "utf8"));
  writeFileSync(
    `${stateDir}/host.json`,
    JSON.stringify({ ...state, servers: ["https://127.0.0.1:1"] }),
  );
  const left = await leave(stateDir, "--purge");
  expect(left.exitCode).toBe(0);
  expect(left.err).toContain(
    "could not be told that this host leaves: https://127.0.0.1:1: cannot reach",
  );
  expect(left.err).toEndWith("an operator runs: meshctl expel vm-3");
  expect(left.out).toContain(`removed ${stateDir}`);
  expect(await members()).toEqual(["vm-3"]);
  const expelled = await meshctl(["expel", "vm-3"], { env });
  expect(expelled.out).toMatch(/^vm-3 is a member no more, as of version \d+\.\d+$/);
  expect(await members()).toEqual([]);
  const nobody = await meshctl(["expel", "vm-3"], { env });
  expect(nobody).toMatchObject({ exitCode: 1, err: expect.stringContaining('no host "vm-3"') });
});

test("a host that never joined tells nobody", async () => {
  expect((await leave(`${directory}/nowhere`)).err).toBe("");
});
