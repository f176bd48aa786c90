// Against the whole config server on loopback, its clock shifted.
import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SILENT_LOG } from "../../../agent/base/log.ts";
import { joinHost } from "../../../agent/control/join.ts";
import { systemClock, systemTimers } from "../../../agent/os/clock.ts";
import { type Registry, startRegistry } from "../../../registry/registry.ts";
import { healthyFacts } from "../../../test/support/check-facts.ts";
import { ask } from "../../../test/support/config-server-client.ts";
import { checkClock } from "../checks/clock.ts";
import { checkTrust } from "../checks/trust.ts";
import { readServer, type ServerFacts } from "./server.ts";
import { readHostFiles } from "./state.ts";

const directory = mkdtempSync(join(tmpdir(), "ironmesh-check-server-"));
const open: Registry[] = [];
afterEach(async () => {
  for (const registry of open.splice(0)) await registry.close();
  rmSync(directory, { recursive: true, force: true });
});

const TIMES = { nowMs: () => Date.now(), timeoutMs: 5_000 };
const clockGroup = (server: ServerFacts) =>
  checkClock(healthyFacts({ nowMs: Date.now(), servers: [server] })).filter(
    ({ check }) => check === "offset",
  );

/** Its clock and ours differ by this. */
async function serverAhead(ms: number): Promise<Registry> {
  const registry = await startRegistry(
    {
      stateDir: `${directory}/server`,
      listen: { address: "127.0.0.1", port: 0 },
      advertise: ["127.0.0.1"],
      trustDomain: "mesh.test",
    },
    {
      clock: { nowMs: () => systemClock().nowMs(), wallMs: () => Date.now() + ms },
      timers: systemTimers(),
      log: SILENT_LOG,
    },
  );
  open.push(registry);
  return registry;
}

async function joined(registry: Registry, stateDir: string) {
  const operator = readFileSync(registry.operatorTokenFile, "utf8").trim();
  const request = { host: "vm1", serviceAccounts: [], ttlSeconds: 3_600 };
  const made = await ask<{ token: string }>(registry, "POST", "/v1/tokens", request, { operator });
  const done = await joinHost(made.body.token, stateDir, {
    wallMs: () => Date.now(),
    log: SILENT_LOG,
  });
  if (!done.ok) throw new Error(done.error.message);
  const files = readHostFiles(stateDir);
  if (files?.ok !== true) throw new Error("it joined, and its files are not there");
  return files.value;
}

test("a member is known by its certificate, and the server's clock is told to the millisecond", async () => {
  const registry = await serverAhead(60_000);
  const files = await joined(registry, `${directory}/agent`);
  const asked = { url: registry.url, roots: files.rootsPem, own: files.own };
  const server = await readServer(asked, TIMES);
  expect(server.outcome).toMatchObject({
    is: "answered",
    self: { host: "vm1", serviceAccounts: [], serverVersion: "0.0.0-dev" },
  });
  const clock = server.outcome.is === "answered" ? server.outcome.clock : undefined;
  expect(Math.abs((clock?.aheadMs ?? 0) - 60_000)).toBeLessThanOrEqual((clock?.withinMs ?? 0) + 2);
  expect(clockGroup(server)).toMatchObject([
    { level: "warning", found: expect.stringContaining("this clock is 60 s behind") },
  ]);
  const judged = checkTrust(
    healthyFacts({ nowMs: Date.now(), agent: undefined, files: { ok: true, value: files } }),
  );
  expect(judged.filter(({ level }) => level !== "ok")).toEqual([]);
  expect(judged.map(({ check }) => check)).toEqual(["modes", "roots", "certificate"]);
});

test("without a certificate the clock is read from the answer's date", async () => {
  const registry = await serverAhead(0);
  const roots = registry.trustBundle.join("\n");
  const server = await readServer({ url: registry.url, roots, own: undefined }, TIMES);
  expect(server.outcome).toMatchObject({
    is: "answered",
    self: undefined,
    refusal: "401: this needs the host's client certificate",
  });
  expect(clockGroup(server)).toMatchObject([{ level: "ok" }]);
});

test("a clock that is off by more than certificates bear: measured, or told by the certificate that TLS refuses", async () => {
  const behind = await serverAhead(-600_000);
  const files = await joined(behind, `${directory}/agent-2`);
  const { rootsPem: roots, own } = files;
  const measured = await readServer({ url: behind.url, roots, own }, TIMES);
  expect(clockGroup(measured)).toMatchObject([
    { level: "error", found: expect.stringContaining("600 s ahead of") },
  ]);
  await open.pop()?.close();
  const ahead = await serverAhead(3_600_000);
  const refused = await readServer({ url: ahead.url, roots, own }, TIMES);
  expect(refused.outcome).toMatchObject({ is: "not_trusted", why: "CERT_NOT_YET_VALID" });
  expect(clockGroup(refused)).toMatchObject([{ level: "error" }]);
  expect(clockGroup(refused)[0]?.found).toMatch(/at least 3[23]\d\d s behind/);
});

test("another mesh's server gets nothing, and nobody at all is told as that", async () => {
  const registry = await serverAhead(0);
  const { rootsPem: roots, own } = await joined(registry, `${directory}/agent-3`);
  const { url } = registry;
  await open.pop()?.close();
  expect((await readServer({ url, roots, own }, TIMES)).outcome.is).toBe("unreachable");
  rmSync(`${directory}/server`, { recursive: true });
  const other = await serverAhead(0);
  expect((await readServer({ url: other.url, roots, own }, TIMES)).outcome.is).toBe("not_trusted");
});
