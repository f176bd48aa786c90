// The whole config server over real sockets on loopback: a host joins, gets certificates, opens its session and follows changes.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseJoinToken } from "../agent/api/join-token.ts";
import type { MeshStatus } from "../agent/api/operator-api.ts";
import { SUPPORTED_KINDS } from "../agent/api/resource.ts";
import type { CertificateResponse, JoinResponse, SelfResponse } from "../agent/api/session.ts";
import { hostIdentity, serverIdentity } from "../agent/api/spiffe.ts";
import { SILENT_LOG } from "../agent/base/log.ts";
import { systemClock, systemTimers } from "../agent/os/clock.ts";
import { isSignedBy } from "../agent/pki/signature.ts";
import { verifyChain } from "../agent/pki/verify-chain.ts";
import { createCsr } from "../agent/pki/x509.ts";
import { ask, type Credentials, TestAgent } from "../test/support/config-server-client.ts";
import { VirtualClock } from "../test/support/virtual-clock.ts";
import { type Registry, startRegistry } from "./registry.ts";

const TRUST_DOMAIN = "mesh.test";
const stateDir = mkdtempSync(join(tmpdir(), "ironmesh-registry-"));
let registry: Registry;
let operatorToken: string;

beforeAll(async () => {
  registry = await startRegistry(
    {
      stateDir,
      listen: { address: "127.0.0.1", port: 0 },
      advertise: ["127.0.0.1"],
      trustDomain: TRUST_DOMAIN,
    },
    {
      clock: systemClock(),
      timers: systemTimers(),
      log: SILENT_LOG,
    },
  );
  operatorToken = readFileSync(registry.operatorTokenFile, "utf8").trim();
});
afterAll(async () => {
  await registry.close();
  rmSync(stateDir, { recursive: true });
});

const operate = <T>(method: string, path: string, body?: unknown) =>
  ask<T>(registry, method, path, body, { operator: operatorToken });

async function tokenFor(host: string, serviceAccounts: readonly string[]) {
  const made = await operate<{ token: string }>("POST", "/v1/tokens", {
    host,
    serviceAccounts,
    ttlSeconds: 600,
    address: "10.0.0.7",
  });
  expect(made.status).toBe(200);
  const parsed = parseJoinToken(made.body.token);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
}

async function joined(host: string, serviceAccounts: readonly string[]): Promise<Credentials> {
  const token = await tokenFor(host, serviceAccounts);
  const { csrPem, keyPem } = await createCsr(hostIdentity(TRUST_DOMAIN, host));
  const { secret } = token;
  const answer = await ask<JoinResponse>(registry, "POST", "/v1/join", {
    secret,
    host,
    csr: csrPem,
  });
  expect(answer.status).toBe(200);
  return { cert: answer.body.certificates.join(""), key: keyPem };
}

const workload = (name: string, host: string) => ({
  apiVersion: "ironmesh.dev/v1",
  kind: "Workload",
  metadata: { name, namespace: "default", labels: { app: name } },
  spec: {
    hosts: [host],
    serviceAccount: name,
    process: { user: name },
    services: [{ name, ports: [{ port: 80, protocol: "HTTP" }] }],
  },
});

test("keys and secrets of the state directory are for its owner alone", () => {
  for (const path of ["operator-token", "ca/root.pem", "ca/intermediate.pem"]) {
    expect(statSync(join(stateDir, path)).mode & 0o777).toBe(0o600);
  }
  expect(statSync(stateDir).mode & 0o777).toBe(0o700);
});

test("a host joins, gets its workload's certificate, and follows changes by signed manifests", async () => {
  const credentials = await joined("vm-1", ["default/reviews"]);
  const identity = "spiffe://mesh.test/ns/default/sa/reviews";
  const csr = await createCsr(identity);
  const certified = await ask<CertificateResponse>(
    registry,
    "POST",
    "/v1/certificates",
    { csrs: [csr.csrPem] },
    { host: credentials },
  );
  expect(certified.body.issued[0]?.identity).toBe(identity);
  const trust = { trustDomain: TRUST_DOMAIN, roots: certified.body.trustBundle };
  const chain = certified.body.issued[0]?.certificates ?? [];
  expect(await verifyChain(chain, trust, Date.now())).toEqual({ ok: true, value: identity });

  const agent = new TestAgent(registry, credentials);
  await agent.opened();
  agent.hello("vm-1");
  const first = await agent.manifest();
  expect(first.manifest.host).toBe("vm-1");
  const { epoch, version } = first.manifest;
  agent.say({ type: "ack", epoch, version });

  const applied = await operate<{ version: number }>("POST", "/v1/apply", {
    documents: [workload("reviews", "vm-1")],
  });
  expect(applied.status).toBe(200);
  const second = await agent.manifest();
  expect(second.manifest.version).toBe(applied.body.version);
  expect(second.bodies.map((body) => JSON.parse(body).is).sort()).toEqual([
    "endpoints",
    "resource",
    "service",
  ]);
  const endpoints = second.bodies.map((body) => JSON.parse(body)).find((b) => b.is === "endpoints");
  expect(endpoints.endpoints[0]).toMatchObject({ address: "10.0.0.7", host: "vm-1" });

  const { payload, signature, certificates } = second.signed;
  expect(await verifyChain(certificates, trust, Date.now())).toEqual({
    ok: true,
    value: serverIdentity(TRUST_DOMAIN),
  });
  expect(await isSignedBy(certificates[0] ?? "", payload, signature)).toBe(true);
  expect(await isSignedBy(certificates[0] ?? "", `${payload} `, signature)).toBe(false);

  agent.say({ type: "nack", epoch, version: second.manifest.version, reasons: ["no slots left"] });
  const refused = await operate<MeshStatus>("GET", "/v1/status");
  expect(refused.body.hosts.find((host) => host.name === "vm-1")).toMatchObject({
    isConnected: true,
    ackedVersion: version,
    nack: { version: second.manifest.version, reasons: ["no slots left"] },
  });
  agent.socket.close();
});

test("an agent that has everything is sent nothing when it comes back, and only what is new later", async () => {
  const credentials = await joined("vm-resume", ["default/a"]);
  const agent = new TestAgent(registry, credentials);
  await agent.opened();
  agent.hello("vm-resume");
  const { manifest } = await agent.manifest();
  agent.socket.close();
  const again = new TestAgent(registry, credentials);
  await again.opened();
  const { epoch, version, units } = manifest;
  again.hello("vm-resume", { epoch, version, units });
  await operate("POST", "/v1/apply", { documents: [workload("resumed", "vm-resume")] });
  const next = await again.manifest();
  expect(next.bodies).toHaveLength(3);
  expect(next.manifest.version).toBe(version + 1);
  again.socket.close();
});

test("a change reaches a connected agent within 50 ms of being asked for", async () => {
  const agent = new TestAgent(registry, await joined("vm-fast", []));
  await agent.opened();
  agent.hello("vm-fast");
  const { manifest } = await agent.manifest();
  agent.say({ type: "ack", epoch: manifest.epoch, version: manifest.version });
  const times: number[] = [];
  for (let i = 0; i < 10; i++) {
    const startedMs = performance.now();
    const applied = operate("POST", "/v1/apply", { documents: [workload(`fast-${i}`, "vm-fast")] });
    const { manifest: next } = await agent.manifest();
    times.push(performance.now() - startedMs);
    agent.say({ type: "ack", epoch: next.epoch, version: next.version });
    await applied;
  }
  // The best of ten: a loaded machine must not fail it, a poll interval would.
  expect(Math.min(...times)).toBeLessThan(50);
  agent.socket.close();
});

test("a token used twice, another host's token and a wrong identity are refused", async () => {
  const token = await tokenFor("vm-2", ["default/details"]);
  const { secret } = token;
  const other = await createCsr(hostIdentity(TRUST_DOMAIN, "vm-1"));
  const wrong = await ask(registry, "POST", "/v1/join", {
    secret,
    host: "vm-2",
    csr: other.csrPem,
  });
  expect([wrong.status, wrong.body.error.code]).toEqual([403, "identity_not_granted"]);
  const wrongHost = await ask(registry, "POST", "/v1/join", {
    secret,
    host: "vm-1",
    csr: other.csrPem,
  });
  expect(wrongHost.body.error.code).toBe("token_wrong_host");
  const { csrPem } = await createCsr(hostIdentity(TRUST_DOMAIN, "vm-2"));
  expect(
    (await ask(registry, "POST", "/v1/join", { secret, host: "vm-2", csr: csrPem })).status,
  ).toBe(200);
  // Looked at before anything is signed: a bad token is told even where the rest could not be signed either.
  const unsigned = { secret: "x".repeat(43), host: "vm-2", csr: "no request" };
  const unknown = await ask(registry, "POST", "/v1/join", unsigned);
  expect([unknown.status, unknown.body.error.code]).toEqual([403, "token_unknown"]);
  const twice = await ask(registry, "POST", "/v1/join", { secret, host: "vm-2", csr: csrPem });
  expect([twice.status, twice.body.error.code]).toEqual([403, "token_used"]);
  expect(twice.body.error.next).toContain("meshctl token create");
});

test("a certificate outside the host's grant is refused, and so is one without the host's own certificate", async () => {
  const host = await joined("vm-3", ["default/ratings"]);
  const asked = async (identity: string, as: { host?: Credentials }) => {
    const { csrPem } = await createCsr(identity);
    return ask(registry, "POST", "/v1/certificates", { csrs: [csrPem] }, as);
  };
  for (const identity of [
    "spiffe://mesh.test/ns/default/sa/reviews",
    "spiffe://mesh.test/ns/other/sa/ratings",
    "spiffe://elsewhere/ns/default/sa/ratings",
    hostIdentity(TRUST_DOMAIN, "vm-1"),
    serverIdentity(TRUST_DOMAIN),
  ]) {
    const refused = await asked(identity, { host });
    expect([refused.status, refused.body.error.code]).toEqual([403, "identity_not_granted"]);
  }
  const granted = "spiffe://mesh.test/ns/default/sa/ratings";
  expect((await asked(granted, {})).body.error.code).toBe("not_a_host");
  const { csrPem, keyPem } = await createCsr(granted);
  const issued = await ask<CertificateResponse>(
    registry,
    "POST",
    "/v1/certificates",
    { csrs: [csrPem] },
    { host },
  );
  const cert = issued.body.issued[0]?.certificates.join("") ?? "";
  const asWorkload = await asked(granted, { host: { cert, key: keyPem } });
  expect([asWorkload.status, asWorkload.body.error.code]).toEqual([401, "not_a_host"]);
});

test("a session needs a member host's certificate and speaks for that host only", async () => {
  const stranger = new TestAgent(registry, { cert: "", key: "" });
  expect(await stranger.next()).toBeUndefined();
  const agent = new TestAgent(registry, await joined("vm-4", []));
  await agent.opened();
  agent.hello("vm-1");
  expect(await agent.next()).toBeUndefined();
  expect(agent.closed).toMatchObject({ code: 4403 });
});

test("an apply with one wrong document changes nothing and tells every problem", async () => {
  const before = await operate<{ version: number }>("GET", "/v1/resources");
  const broken = { ...workload("broken", "vm-1"), spec: { hosts: [], surprise: 1 } };
  const answer = await operate("POST", "/v1/apply", {
    documents: [workload("fine", "vm-1"), broken],
  });
  expect([answer.status, answer.body.error.code]).toEqual([400, "invalid_resource"]);
  const paths = answer.body.error.problems?.map(({ path }) => path) ?? [];
  expect(paths).toContain("spec.surprise");
  expect(paths).toContain("spec.hosts");
  expect(await operate<{ version: number }>("GET", "/v1/resources")).toEqual(before);
});

test("a dry run tells what would change and stores nothing; a deletion is by URL", async () => {
  const documents = [workload("deleted", "vm-1")];
  const dry = await operate<{ results: unknown[] }>("POST", "/v1/apply?dryRun=1", { documents });
  expect(dry.body.results).toEqual([
    { ref: "ironmesh.dev/Workload/default/deleted", change: "created" },
  ]);
  const path = "/v1/resources/ironmesh.dev%2Fv1/Workload/default/deleted";
  expect((await operate("DELETE", path)).status).toBe(404);
  await operate("POST", "/v1/apply", { documents });
  const again = await operate<{ results: unknown[] }>("POST", "/v1/apply", { documents });
  expect(again.body.results).toEqual([
    { ref: "ironmesh.dev/Workload/default/deleted", change: "unchanged" },
  ]);
  expect((await operate("DELETE", path)).status).toBe(200);
  const list = await operate<{ resources: unknown[] }>("GET", "/v1/resources?name=deleted");
  expect(list.body.resources).toEqual([]);
});

test("a kind that a connected agent cannot run is refused, naming the host", async () => {
  const agent = new TestAgent(registry, await joined("vm-old", []));
  await agent.opened();
  agent.hello("vm-old", { runs: SUPPORTED_KINDS.filter((kind) => !kind.endsWith("/Workload")) });
  const { manifest } = await agent.manifest();
  agent.say({ type: "ack", epoch: manifest.epoch, version: manifest.version });
  const refused = await operate("POST", "/v1/apply", { documents: [workload("new", "vm-1")] });
  expect([refused.status, refused.body.error.code]).toEqual([409, "agents_cannot_run"]);
  expect(refused.body.error.problems?.[0]?.reason).toContain("vm-old");
  agent.socket.close();
});

test("operators' requests need an operator's token, and bodies are bounded", async () => {
  for (const operator of [undefined, "", "A".repeat(43)]) {
    const refused = await ask(
      registry,
      "GET",
      "/v1/status",
      undefined,
      operator === undefined ? {} : { operator },
    );
    expect([refused.status, refused.body.error.code]).toEqual([401, "unauthorized"]);
  }
  const large = await ask(registry, "POST", "/v1/join", { secret: "x".repeat(1_100_000) });
  expect([large.status, large.body.error.code]).toEqual([413, "body_too_large"]);
  const reserved = await operate("POST", "/v1/tokens", {
    host: "vm-9",
    serviceAccounts: ["ironmesh-system/host.vm-1"],
  });
  expect([reserved.status, reserved.body.error.code]).toEqual([400, "invalid_grant"]);
});

test("a host that leaves is forgotten at once: session, endpoints and certificate end, and its name is free", async () => {
  const credentials = await joined("leaver", ["default/leaver"]);
  const stays = await joined("stayer", ["default/leaver"]);
  const as = { host: credentials };
  expect(await ask<SelfResponse>(registry, "GET", "/v1/self", undefined, as)).toMatchObject({
    status: 200,
    body: { host: "leaver", serviceAccounts: ["default/leaver"] },
  });
  const agent = new TestAgent(registry, credentials);
  await agent.opened();
  agent.hello("leaver");
  await agent.manifest();
  const left = await ask(registry, "DELETE", "/v1/self", undefined, as);
  expect([left.status, left.body]).toEqual([200, { host: "leaver" } as never]);
  while (agent.closed === undefined) await agent.next();
  expect(agent.closed.reason).toBe("this host is not a member any more");
  const status = await operate<MeshStatus>("GET", "/v1/status");
  const names = status.body.hosts.map(({ name }) => name);
  expect([names.includes("leaver"), names.includes("stayer")]).toEqual([false, true]);
  for (const method of ["GET", "DELETE"])
    expect((await ask(registry, method, "/v1/self", undefined, as)).status).toBe(401);
  expect((await ask(registry, "DELETE", "/v1/self")).status).toBe(401);
  expect((await ask(registry, "GET", "/v1/self", undefined, { host: stays })).status).toBe(200);
});

test("an operator expels a host; nobody else does, and a host that is none is told", async () => {
  const credentials = await joined("expelled", []);
  const as = { host: credentials };
  expect((await ask(registry, "DELETE", "/v1/hosts/expelled", undefined, as)).status).toBe(401);
  expect((await operate("DELETE", "/v1/hosts/expelled")).status).toBe(200);
  const again = await operate("DELETE", "/v1/hosts/expelled");
  expect([again.status, again.body.error.code]).toEqual([404, "not_found"]);
  expect((await ask(registry, "GET", "/v1/self", undefined, as)).status).toBe(401);
});

test("what a machine holds of a name it had before is worth nothing to whoever has the name now", async () => {
  const clock = new VirtualClock();
  const dir = mkdtempSync(join(tmpdir(), "ironmesh-registry-"));
  const config = { listen: { address: "127.0.0.1", port: 0 }, advertise: ["127.0.0.1"] };
  const deps = { clock: { ...systemClock(), wallMs: () => Date.now() + shiftMs }, timers: clock };
  let shiftMs = -120_000;
  const other = await startRegistry(
    { stateDir: dir, trustDomain: TRUST_DOMAIN, ...config },
    { ...deps, log: SILENT_LOG },
  );
  const operator = readFileSync(other.operatorTokenFile, "utf8").trim();
  const join1 = async () => {
    const request = { host: "vm-1", serviceAccounts: [], ttlSeconds: 600 };
    const made = await ask<{ token: string }>(other, "POST", "/v1/tokens", request, { operator });
    const parsed = parseJoinToken(made.body.token);
    if (!parsed.ok) throw new Error(parsed.error);
    const { csrPem: csr, keyPem: key } = await createCsr(hostIdentity(TRUST_DOMAIN, "vm-1"));
    const { secret } = parsed.value;
    const answer = await ask<JoinResponse>(other, "POST", "/v1/join", {
      secret,
      host: "vm-1",
      csr,
    });
    return { cert: answer.body.certificates.join(""), key };
  };
  const self = async (host: Credentials) =>
    (await ask(other, "GET", "/v1/self", undefined, { host })).status;
  const first = await join1();
  shiftMs = 0;
  const again = await join1(); // the same member, with a new token
  expect([await self(first), await self(again)]).toEqual([200, 200]);
  await ask(other, "DELETE", "/v1/hosts/vm-1", undefined, { operator });
  const successor = await join1();
  expect([await self(first), await self(successor)]).toEqual([401, 200]);
  await other.close();
  rmSync(dir, { recursive: true });
});

test("the server renews its own certificate at half of its life, counted from its issue and not from its backdated start", async () => {
  const clock = new VirtualClock();
  const renewals: string[] = [];
  const log = {
    ...SILENT_LOG,
    info: (message: string) => {
      if (message.includes("renewed")) renewals.push(message);
    },
  };
  const dir = mkdtempSync(join(tmpdir(), "ironmesh-registry-"));
  const short = await startRegistry(
    {
      stateDir: dir,
      listen: { address: "127.0.0.1", port: 0 },
      advertise: ["127.0.0.1"],
      trustDomain: TRUST_DOMAIN,
      certificateLifetimeMs: 20_000,
    },
    { clock, timers: clock, log },
  );
  for (let count = 1; count <= 3; count++) {
    clock.pass(9_900);
    expect(renewals).toHaveLength(count - 1);
    clock.pass(100);
    while (renewals.length < count) await new Promise((resolve) => setImmediate(resolve));
  }
  await short.close();
  rmSync(dir, { recursive: true });
});
