// The CLI against a real config server over TLS on loopback.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseJoinToken } from "../agent/api/join-token.ts";
import type { JoinResponse } from "../agent/api/session.ts";
import { hostIdentity } from "../agent/api/spiffe.ts";
import { SILENT_LOG } from "../agent/base/log.ts";
import { systemClock, systemTimers } from "../agent/os/clock.ts";
import { createCsr } from "../agent/pki/x509.ts";
import { type Registry, startRegistry } from "../registry/registry.ts";
import { meshctl as runMeshctl } from "../test/support/cli-terminal.ts";
import { ask, TestAgent } from "../test/support/config-server-client.ts";

const directory = mkdtempSync(join(tmpdir(), "ironmesh-cli-"));
const examples = new URL("../docs/examples/", import.meta.url).pathname;
const env = { IRONMESH_CONFIG: join(directory, "contexts.json") };
const meshctl = (...words: string[]) => runMeshctl(words, { env });
let server: Registry;

const start = (name: string): Promise<Registry> =>
  startRegistry(
    {
      stateDir: join(directory, name),
      listen: { address: "127.0.0.1", port: 0 },
      advertise: ["127.0.0.1"],
      trustDomain: "mesh.test",
    },
    { clock: systemClock(), timers: systemTimers(), log: SILENT_LOG },
  );

beforeAll(async () => {
  server = await start("server");
  const { url, caSha256, operatorTokenFile } = server;
  const words = [
    "login",
    url,
    "--ca-sha256",
    caSha256,
    "--token-file",
    operatorTokenFile,
    "--context",
    "test",
  ];
  const ran = await meshctl(...words);
  expect(ran).toMatchObject({
    exitCode: 0,
    out: expect.stringContaining("as admin; context test"),
  });
});
afterAll(async () => {
  await server.close();
  rmSync(directory, { recursive: true });
});

test("login keeps the context 0600, and refuses a wrong CA hash before it sends the token", async () => {
  expect(statSync(env.IRONMESH_CONFIG).mode & 0o777).toBe(0o600);
  const before = readFileSync(env.IRONMESH_CONFIG, "utf8");
  expect(before).toContain("BEGIN CERTIFICATE");
  const hash = "00".repeat(32);
  const ran = await meshctl(
    "login",
    server.url,
    "--ca-sha256",
    hash,
    "--token-file",
    server.operatorTokenFile,
  );
  expect(ran).toMatchObject({
    exitCode: 1,
    err: expect.stringContaining(`no certificate with SHA-256 ${hash}`),
  });
  expect(readFileSync(env.IRONMESH_CONFIG, "utf8")).toBe(before);
});

test("login with a wrong operator token is refused and keeps nothing", async () => {
  const file = join(directory, "wrong-token");
  writeFileSync(file, "not-the-operators-token");
  const words = [
    "login",
    server.url,
    "--ca-sha256",
    server.caSha256,
    "--token-file",
    file,
    "--context",
    "wrong",
  ];
  const ran = await meshctl(...words);
  expect(ran).toMatchObject({ exitCode: 1, err: expect.stringContaining("operator's token") });
  expect(readFileSync(env.IRONMESH_CONFIG, "utf8")).not.toContain("wrong");
});

test("a server of another CA at the context's address is refused before a byte is sent", async () => {
  const other = await start("other");
  const contexts = JSON.parse(readFileSync(env.IRONMESH_CONFIG, "utf8"));
  const file = join(directory, "hijacked.json");
  contexts.contexts.test.server = other.url;
  writeFileSync(file, JSON.stringify(contexts), { mode: 0o600 });
  const ran = await runMeshctl(["status"], { env: { IRONMESH_CONFIG: file } });
  await other.close();
  expect(ran).toMatchObject({
    exitCode: 1,
    err: expect.stringContaining("is not the config server this context trusts"),
  });
});

test("resources are applied, shown, compared and deleted", async () => {
  const canary = join(examples, "canary.yaml");
  expect((await meshctl("diff", "-f", canary)).exitCode).toBe(1);
  const dry = await meshctl("apply", "-f", canary, "--dry-run");
  expect(dry).toMatchObject({ exitCode: 0, out: expect.stringContaining("created (dry run)") });
  expect((await meshctl("get", "all")).out).toBe("no resources");

  const applied = await meshctl("apply", "-f", canary, "--wait", "5s");
  expect(applied.exitCode).toBe(0);
  expect(applied.out).toMatch(/DestinationRule +default +reviews +created/);
  expect(applied.err).toMatch(/0 connected agents run version \d+ after \d+ ms/);
  expect((await meshctl("apply", "-f", canary)).out).toMatch(/VirtualService .* unchanged/);
  expect(await meshctl("diff", "-f", canary)).toEqual({ exitCode: 0, out: "", err: "" });

  const changed = readFileSync(canary, "utf8").replace("weight: 90", "weight: 50");
  const diff = await runMeshctl(["diff", "-f", "-"], { env, stdin: changed });
  expect(diff.exitCode).toBe(1);
  expect(diff.out).toContain("-           weight: 90\n+           weight: 50");

  const shown = await meshctl("get", "vs");
  expect(shown.out).toMatch(/VirtualService +default +reviews +reviews: 1 rule/);
  const yaml = (await meshctl("get", "all", "-o", "yaml")).out;
  const again = await runMeshctl(["apply", "-f", "-"], { env, stdin: yaml });
  expect(again.out).not.toMatch(/created|configured/);
  const json = (await meshctl("get", "all", "-o", "json")).out;
  const third = await runMeshctl(["diff", "-f", "-"], { env, stdin: json });
  expect(third).toEqual({ exitCode: 0, out: "", err: "" });

  expect((await meshctl("delete", "vs", "reviews")).out).toBe(
    "VirtualService default/reviews deleted",
  );
  const twice = await meshctl("delete", "vs", "reviews");
  expect(twice).toMatchObject({ exitCode: 1, err: expect.stringContaining("no such resource") });
  const ignored = await meshctl("delete", "-f", canary, "--ignore-not-found");
  expect(ignored).toMatchObject({ exitCode: 0, out: expect.stringContaining("was not there") });
  expect(await meshctl("get", "vs", "reviews")).toMatchObject({ exitCode: 1 });
});

test("what the server alone can see is told too", async () => {
  const ran = await runMeshctl(["apply", "-f", "-"], {
    env,
    stdin: readFileSync(join(examples, "workloads.yaml"), "utf8"),
  });
  expect(ran.exitCode).toBe(0);
  expect(ran.err).toMatch(
    /stdin:\d+: warning: Workload default\/productpage: .* names host host-1, which has not joined/,
  );
  const clash = await runMeshctl(["apply", "-f", "-"], {
    env,
    stdin: `apiVersion: ironmesh.dev/v1
kind: Workload
metadata: {name: zz-other}
spec:
  hosts: [host-1]
  serviceAccount: other
  process: {user: other}
  services: [{name: productpage, ports: [{port: 9080, protocol: TCP}]}]
`,
  });
  expect(clash).toMatchObject({
    exitCode: 1,
    err: expect.stringMatching(/stdin:4: error: .*write the same protocol in both/),
  });
  const valid = await meshctl("validate", "-f", examples, "--server");
  expect(valid.err).not.toContain("bug:");
});

test("a token is made for a host, and only the token is on standard output", async () => {
  const words = [
    "token",
    "create",
    "--host",
    "db-1",
    "--service-account",
    "ratings",
    "--ttl",
    "10m",
  ];
  const { exitCode, out, err } = await meshctl(...words);
  expect(exitCode).toBe(0);
  const token = parseJoinToken(out);
  expect(token).toMatchObject({
    ok: true,
    value: { host: "db-1", serviceAccounts: ["default/ratings"], caSha256: server.caSha256 },
  });
  expect(err).toContain("meshctl join TOKEN");
});

test("status tells an empty mesh what to do, and programs in JSON", async () => {
  expect((await meshctl("status")).out).toContain("meshctl token create");
  expect(JSON.parse((await meshctl("status", "-o", "json")).out)).toMatchObject({ hosts: [] });
});

test("a server that is away is told with its address", async () => {
  const contexts = JSON.parse(readFileSync(env.IRONMESH_CONFIG, "utf8"));
  contexts.contexts.test.server = "https://127.0.0.1:1";
  const file = join(directory, "away.json");
  writeFileSync(file, JSON.stringify(contexts), { mode: 0o600 });
  const ran = await runMeshctl(["get", "all"], { env: { IRONMESH_CONFIG: file } });
  expect(ran).toMatchObject({
    exitCode: 1,
    err: expect.stringContaining("cannot reach the config server at 127.0.0.1:1"),
  });
});

test("apply --wait returns when the connected agents run it, and fails when one refuses", async () => {
  const made = await meshctl("token", "create", "--host", "vm-1", "--service-account", "reviews");
  const token = parseJoinToken(made.out);
  if (!token.ok) throw new Error(token.error);
  const { csrPem, keyPem } = await createCsr(hostIdentity("mesh.test", "vm-1"));
  const { secret } = token.value;
  const joined = await ask<JoinResponse>(server, "POST", "/v1/join", {
    secret,
    host: "vm-1",
    csr: csrPem,
  });
  const agent = new TestAgent(server, { cert: joined.body.certificates.join(""), key: keyPem });
  await agent.opened();
  agent.hello("vm-1");
  const first = await agent.manifest();
  agent.say({ type: "ack", epoch: first.manifest.epoch, version: first.manifest.version });

  const strict = join(examples, "strict-mtls.yaml");
  const applying = meshctl("apply", "-f", strict, "--wait", "10s");
  const { manifest } = await agent.manifest();
  agent.say({ type: "ack", epoch: manifest.epoch, version: manifest.version });
  const applied = await applying;
  expect(applied).toMatchObject({
    exitCode: 0,
    err: expect.stringMatching(/1 connected agent runs version \d+ after \d+ ms/),
  });
  expect((await meshctl("status")).out).toMatch(/vm-1 .* yes +0\.1\.0 +\d+ +24h left/);

  const text = readFileSync(strict, "utf8").replace("STRICT", "PERMISSIVE");
  const refused = runMeshctl(["apply", "-f", "-", "--wait", "10s"], { env, stdin: text });
  const next = (await agent.manifest()).manifest;
  agent.say({ type: "nack", epoch: next.epoch, version: next.version, reasons: ["no such thing"] });
  expect(await refused).toMatchObject({
    exitCode: 1,
    err: expect.stringContaining("vm-1: no such thing"),
  });
  expect(await meshctl("status")).toMatchObject({
    exitCode: 1,
    out: expect.stringContaining("REFUSED"),
  });

  const late = await runMeshctl(["apply", "-f", "-", "--wait", "50ms"], {
    env,
    stdin: text.replace("PERMISSIVE", "DISABLE"),
  });
  expect(late).toMatchObject({ exitCode: 1, err: expect.stringContaining("not on version") });
  agent.socket.close();
});
