// What is in Consul's catalog and what is in the mesh, each seen from the other side, against a real Consul.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseJoinToken } from "../agent/api/join-token.ts";
import type { CatalogEndpoint, JoinResponse, UnitBody } from "../agent/api/session.ts";
import { hostIdentity } from "../agent/api/spiffe.ts";
import { SILENT_LOG } from "../agent/base/log.ts";
import { systemClock, systemTimers } from "../agent/os/clock.ts";
import { createCsr } from "../agent/pki/x509.ts";
import { ask, TestAgent } from "../test/support/config-server-client.ts";
import { TestConsul } from "../test/support/consul.ts";
import { type Registry, startRegistry } from "./registry.ts";

const TRUST_DOMAIN = "mesh.test";
const WITHIN_MS = 40_000;
const stateDir = mkdtempSync(join(tmpdir(), "ironmesh-catalog-consul-"));
let consul: TestConsul;
let registry: Registry;
let operatorToken: string;
let agent: TestAgent;
/** Host -> service's endpoints, as the agent was last told. */
const endpoints = new Map<string, readonly CatalogEndpoint[]>();

const start = () =>
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
  registry = await start();
  operatorToken = readFileSync(registry.operatorTokenFile, "utf8").trim();
  agent = await connectedAgent();
}, 60_000);
afterAll(async () => {
  agent.socket.close();
  await registry.close();
  await consul.stop();
  rmSync(stateDir, { recursive: true });
});

const operate = <T>(method: string, path: string, body?: unknown) =>
  ask<T>(registry, method, path, body, { operator: operatorToken });

/** Acknowledges every version, and keeps what it says of endpoints. */
async function connectedAgent(): Promise<TestAgent> {
  const made = await operate<{ token: string }>("POST", "/v1/tokens", {
    host: "vm-1",
    serviceAccounts: ["default/pay"],
    address: "10.0.0.1",
  });
  const token = parseJoinToken(made.body.token);
  if (!token.ok) throw new Error(token.error);
  const { csrPem, keyPem } = await createCsr(hostIdentity(TRUST_DOMAIN, "vm-1"));
  const request = { secret: token.value.secret, host: "vm-1", csr: csrPem };
  const joined = await ask<JoinResponse>(registry, "POST", "/v1/join", request);
  const one = new TestAgent(registry, { cert: joined.body.certificates.join(""), key: keyPem });
  await one.opened();
  one.hello("vm-1");
  void follow(one).catch(() => undefined); // closed at the end
  return one;
}

async function follow(one: TestAgent): Promise<void> {
  for (;;) {
    const { bodies, manifest } = await one.manifest();
    for (const body of bodies) {
      const unit = JSON.parse(body) as UnitBody;
      if (unit.is === "endpoints") endpoints.set(unit.service, unit.endpoints);
    }
    one.say({ type: "ack", epoch: manifest.epoch, version: manifest.version });
  }
}

async function until<T>(
  what: string,
  look: () => Promise<T | undefined> | T | undefined,
): Promise<T> {
  const deadline = performance.now() + WITHIN_MS;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    if (performance.now() > deadline) throw new Error(`${what} did not come`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const register = (name: string, id: string, address: string, port: number, more: object = {}) =>
  consul.ask("PUT", "/v1/agent/service/register", {
    Name: name,
    ID: id,
    Address: address,
    Port: port,
    Check: { TTL: "1h", Status: "passing" },
    ...more,
  });
const told = (host: string, ...addresses: readonly string[]) =>
  until(`${host} at ${addresses.join(", ")}`, () => {
    const found = endpoints.get(host);
    const there = (found ?? []).map(({ address }) => address).join();
    return there === addresses.join() ? found : undefined;
  });

interface Seen {
  readonly Node: { readonly Node: string };
  readonly Service: {
    readonly Address: string;
    readonly Port: number;
    readonly Tags: readonly string[];
    readonly Meta: { readonly [name: string]: string };
  };
  readonly Checks: readonly { readonly Status: string }[];
}
const inConsul = (service: string) => consul.ask<Seen[]>("GET", `/v1/health/service/${service}`);

const PAY = {
  apiVersion: "ironmesh.dev/v1",
  kind: "Workload",
  metadata: { name: "pay-v1", namespace: "default", labels: { app: "pay", version: "v1" } },
  spec: {
    hosts: ["vm-1"],
    serviceAccount: "pay",
    process: { user: "pay" },
    services: [{ name: "pay", ports: [{ port: 80, targetPort: 9080, protocol: "HTTP" }] }],
  },
};

test("a service of Consul reaches agents with no re-declaration, follows health, and keeps its last instances when none is healthy", async () => {
  await register("web", "web-1", "10.0.0.8", 8080, { Meta: { protocol: "http", version: "v1" } });
  await register("web", "web-2", "10.0.0.9", 8080);
  const found = await told("web.default.mesh", "10.0.0.8", "10.0.0.9");
  expect(found[0]).toMatchObject({ hasAgent: false, labels: { version: "v1" } });
  await consul.ask("PUT", "/v1/agent/check/fail/service:web-1");
  await told("web.default.mesh", "10.0.0.9");
  await consul.ask("PUT", "/v1/agent/check/fail/service:web-2");
  await register("later", "later-1", "10.0.0.10", 1);
  await told("later.default.mesh", "10.0.0.10");
  expect(endpoints.get("web.default.mesh")?.map(({ address }) => address)).toEqual(["10.0.0.9"]);
}, 60_000);

test("an instance that only other hosts' loopback could mean is left out, whatever it says of who it is", async () => {
  await register("bad", "bad-1", "127.0.0.1", 15001);
  await register("bad", "bad-2", "10.0.0.11", 80, {
    Meta: { "ironmesh-service-account": "pay", identity: "spiffe://mesh.test/ns/default/sa/pay" },
  });
  const found = await told("bad.default.mesh", "10.0.0.11");
  expect(found[0]).toMatchObject({ hasAgent: false, serviceAccount: "", workload: "" });
}, 60_000);

test("the mesh's services appear in Consul with meta and the health of their agent", async () => {
  expect((await operate("POST", "/v1/apply", { documents: [PAY] })).status).toBe(200);
  const healthy = await until("pay in Consul", async () => {
    const seen = await inConsul("pay");
    return seen[0]?.Checks.every(({ Status }) => Status === "passing") === true ? seen : undefined;
  });
  expect(healthy).toHaveLength(1);
  expect(healthy[0]).toMatchObject({
    Node: { Node: "ironmesh-vm-1" },
    Service: {
      Address: "10.0.0.1",
      Port: 9080,
      Tags: ["v1"],
      Meta: {
        "ironmesh-workload": "pay-v1",
        "ironmesh-service-account": "pay",
        "label-app": "pay",
      },
    },
  });
  agent.socket.close();
  await until("critical", async () =>
    (await inConsul("pay"))[0]?.Checks.some(({ Status }) => Status === "critical") === true
      ? true
      : undefined,
  );
  agent = await connectedAgent();
  await until("passing", async () =>
    (await inConsul("pay"))[0]?.Checks.every(({ Status }) => Status === "passing") === true
      ? true
      : undefined,
  );
  // What we wrote there is not found as somebody else's.
  const mine = await told("pay.default.mesh", "10.0.0.1");
  expect(mine[0]).toMatchObject({ hasAgent: true, workload: "pay-v1" });
}, 60_000);

test("an instance in Consul at a workload's port is dialled by mesh, as the resource says who it is", async () => {
  await register("payments", "payments-1", "10.0.0.1", 9080);
  const found = await told("payments.default.mesh", "10.0.0.1");
  expect(found[0]).toMatchObject({
    hasAgent: true,
    workload: "pay-v1",
    serviceAccount: "pay",
    calledAs: "pay",
  });
}, 60_000);

test("what is registered in Consul under a declared service's name gets no traffic", async () => {
  await register("pay", "pay-evil", "10.6.6.6", 80);
  await register("sign", "sign-1", "10.0.0.12", 1);
  await told("sign.default.mesh", "10.0.0.12");
  expect(endpoints.get("pay.default.mesh")?.map(({ address }) => address)).toEqual(["10.0.0.1"]);
}, 60_000);

test("Consul away, and back with an empty catalog, takes no service from the mesh", async () => {
  const before = endpoints.get("later.default.mesh");
  await consul.kill();
  await consul.resume();
  for (const id of ["later-1", "sign-1", "web-1"])
    await consul.ask("PUT", `/v1/agent/service/deregister/${id}`);
  await register("after", "after-1", "10.0.0.13", 1);
  await told("after.default.mesh", "10.0.0.13");
  expect(endpoints.get("later.default.mesh")).toEqual(before ?? []);
  expect(endpoints.get("sign.default.mesh")?.map(({ address }) => address)).toEqual(["10.0.0.12"]);
}, 60_000);

test("a service that is deleted goes from Consul, and what is left there of an older server too", async () => {
  const stray = { Node: "ironmesh-gone", Address: "10.0.0.99", NodeMeta: { ironmesh: "1" } };
  await consul.ask("PUT", "/v1/catalog/register", stray);
  const path = "/v1/resources/ironmesh.dev%2Fv1/Workload/default/pay-v1";
  expect((await operate("DELETE", path)).status).toBe(200);
  await until("pay gone", async () =>
    (await inConsul("pay")).every(({ Node }) => Node.Node !== "ironmesh-vm-1") ? true : undefined,
  );
  await registry.close();
  registry = await start();
  await until("the stray gone", async () => {
    const nodes = await consul.ask<{ Node: string }[]>("GET", "/v1/catalog/nodes");
    return nodes.some(({ Node }) => Node === "ironmesh-gone") ? undefined : true;
  });
}, 60_000);
