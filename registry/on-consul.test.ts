// Config servers over one real Consul: one logical server to agents and operators, whatever happens to Consul.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseJoinToken } from "../agent/api/join-token.ts";
import type { ApplyResponse, ListResponse } from "../agent/api/operator-api.ts";
import type { CertificateResponse, JoinResponse, Manifest } from "../agent/api/session.ts";
import { hostIdentity } from "../agent/api/spiffe.ts";
import { SILENT_LOG } from "../agent/base/log.ts";
import { systemClock, systemTimers } from "../agent/os/clock.ts";
import { createCsr } from "../agent/pki/x509.ts";
import { ask, type Credentials, TestAgent } from "../test/support/config-server-client.ts";
import { TestConsul } from "../test/support/consul.ts";
import { type Registry, startRegistry } from "./registry.ts";

const TRUST_DOMAIN = "mesh.test";
const root = mkdtempSync(join(tmpdir(), "ironmesh-on-consul-"));
let consul: TestConsul;
let first: Registry;
let second: Registry;
let operatorToken: string;

const start = (stateDir: string) =>
  startRegistry(
    {
      stateDir,
      listen: { address: "127.0.0.1", port: 0 },
      advertise: ["127.0.0.1"],
      trustDomain: TRUST_DOMAIN,
      consul: { url: consul.url },
    },
    { clock: systemClock(), timers: systemTimers(), log: SILENT_LOG },
  );

beforeAll(async () => {
  consul = await TestConsul.start();
  first = await start(join(root, "one"));
  // What an operator does for a second server: the same authority, and nothing else.
  mkdirSync(join(root, "two"), { mode: 0o700 });
  cpSync(join(root, "one/ca"), join(root, "two/ca"), { recursive: true });
  second = await start(join(root, "two"));
  operatorToken = readFileSync(first.operatorTokenFile, "utf8").trim();
}, 60_000);
afterAll(async () => {
  await first.close();
  await second.close();
  await consul.stop();
  rmSync(root, { recursive: true });
});

const operate = <T>(server: Registry, method: string, path: string, body?: unknown) =>
  ask<T>(server, method, path, body, { operator: operatorToken });

async function joined(madeBy: Registry, joins: Registry, host: string): Promise<Credentials> {
  const made = await operate<{ token: string }>(madeBy, "POST", "/v1/tokens", {
    host,
    serviceAccounts: ["default/reviews"],
    address: "10.0.0.7",
  });
  const token = parseJoinToken(made.body.token);
  if (!token.ok) throw new Error(token.error);
  const { csrPem, keyPem } = await createCsr(hostIdentity(TRUST_DOMAIN, host));
  const { secret } = token.value;
  const request = { secret, host, csr: csrPem };
  const answer = await ask<JoinResponse>(joins, "POST", "/v1/join", request);
  expect(answer.status).toBe(200);
  return { cert: answer.body.certificates.join(""), key: keyPem };
}

const workload = (name: string) => ({
  apiVersion: "ironmesh.dev/v1",
  kind: "Workload",
  metadata: { name, namespace: "default", labels: { app: name } },
  spec: { hosts: ["vm-1"], serviceAccount: "reviews", process: { user: name } },
});

/** Answers every version until one is at least this. */
async function upTo(agent: TestAgent, version: number): Promise<Manifest> {
  for (;;) {
    const { manifest } = await agent.manifest();
    agent.say({ type: "ack", epoch: manifest.epoch, version: manifest.version });
    if (manifest.version >= version) return manifest;
  }
}

async function connected(server: Registry, host: string, as: Credentials): Promise<TestAgent> {
  const agent = new TestAgent(server, as);
  await agent.opened();
  agent.hello(host);
  await upTo(agent, 0);
  return agent;
}

test("a host joins at one server with another's token, and both push the same version of what either was told", async () => {
  const credentials = await joined(first, second, "vm-1");
  const other = await joined(second, first, "vm-2");
  const agents = [
    await connected(first, "vm-1", credentials),
    await connected(second, "vm-2", other),
  ];
  const applied = await operate<ApplyResponse>(first, "POST", "/v1/apply", {
    documents: [workload("reviews")],
  });
  expect(applied.status).toBe(200);
  const manifests = await Promise.all(agents.map((a) => upTo(a, applied.body.version)));
  expect(manifests.map((m) => [m.epoch, m.version])).toEqual([
    [applied.body.epoch, applied.body.version],
    [applied.body.epoch, applied.body.version],
  ]);
  const listed = await operate<ListResponse>(second, "GET", "/v1/resources");
  expect(listed.body.resources.map((r) => r.metadata.name)).toEqual(["reviews"]);
  for (const agent of agents) agent.socket.close();
});

test("with Consul stopped changes are refused naming it, certificates are renewed, and its return brings a change to all agents", async () => {
  const credentials = await joined(first, second, "vm-3");
  const [here, there] = [
    await connected(first, "vm-3", credentials),
    await connected(second, "vm-1", await joined(first, first, "vm-1")),
  ];
  await consul.kill();
  const refused = await operate(first, "POST", "/v1/apply", { documents: [workload("late")] });
  expect([refused.status, refused.body.error.code]).toEqual([503, "store_unavailable"]);
  expect(refused.body.error.message).toContain(`Consul at ${consul.url}`);
  expect(refused.body.error.message).toContain("nothing was stored");
  expect(refused.body.error.next).toContain("traffic goes on");
  const { csrPem } = await createCsr(hostIdentity(TRUST_DOMAIN, "vm-3"));
  const renewed = await ask<CertificateResponse>(
    first,
    "POST",
    "/v1/certificates",
    { csrs: [csrPem] },
    { host: credentials },
  );
  expect(renewed.status).toBe(200);
  expect((await operate<ListResponse>(second, "GET", "/v1/resources")).status).toBe(200);
  await consul.resume();
  const applied = await operate<ApplyResponse>(second, "POST", "/v1/apply", {
    documents: [workload("late")],
  });
  expect(applied.status).toBe(200);
  const { version } = applied.body;
  const manifests = await Promise.all([upTo(here, version), upTo(there, version)]);
  expect(manifests.map((m) => m.version)).toEqual([version, version]);
  for (const agent of [here, there]) agent.socket.close();
}, 60_000);

test("a Consul that takes connections and never answers refuses changes within 10 s", async () => {
  consul.pause();
  const startedMs = performance.now();
  const refused = await operate(first, "POST", "/v1/apply", { documents: [workload("frozen")] });
  expect(performance.now() - startedMs).toBeLessThan(10_000);
  consul.unpause();
  expect([refused.status, refused.body.error.code]).toEqual([503, "store_unavailable"]);
  const after = await operate(first, "POST", "/v1/apply", { documents: [workload("thawed")] });
  expect(after.status).toBe(200);
}, 60_000);

test("a server that knew the mesh does not start on a Consul that forgot it", async () => {
  const forgetful = await TestConsul.start();
  const config = {
    stateDir: join(root, "three"),
    listen: { address: "127.0.0.1", port: 0 },
    advertise: ["127.0.0.1"],
    trustDomain: TRUST_DOMAIN,
    consul: { url: forgetful.url },
  };
  const deps = { clock: systemClock(), timers: systemTimers(), log: SILENT_LOG };
  await (await startRegistry(config, deps)).close();
  await forgetful.wipe();
  await expect(startRegistry(config, deps)).rejects.toThrow("holds no mesh under ironmesh/head");
  await (await startRegistry({ ...config, isNewEpoch: true }, deps)).close();
  await forgetful.stop();
}, 60_000);

test("a token file that others can read, or that holds none, is refused", async () => {
  const tokenFile = join(root, "consul-token");
  const starting = () =>
    startRegistry(
      {
        stateDir: join(root, "four"),
        listen: { address: "127.0.0.1", port: 0 },
        advertise: ["127.0.0.1"],
        trustDomain: TRUST_DOMAIN,
        consul: { url: consul.url, tokenFile },
      },
      { clock: systemClock(), timers: systemTimers(), log: SILENT_LOG },
    );
  writeFileSync(tokenFile, "secret-id\n", { mode: 0o644 });
  await expect(starting()).rejects.toThrow(`chmod 600 ${tokenFile}`);
  rmSync(tokenFile);
  writeFileSync(tokenFile, "two words\n", { mode: 0o600 });
  await expect(starting()).rejects.toThrow("does not hold one token");
});
