import { beforeEach, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { parseAllDocuments } from "yaml";
import type { UnitBody } from "../../agent/api/session.ts";
import { SILENT_LOG } from "../../agent/base/log.ts";
import { VirtualClock } from "../../test/support/virtual-clock.ts";
import { EmbeddedCatalog } from "../catalog/embedded.ts";
import { SqliteStore } from "../store/sqlite.ts";
import { Hub } from "./hub.ts";
import { Mesh } from "./mesh.ts";

let clock: VirtualClock;
let store: SqliteStore;
let hub: Hub;
let mesh: Mesh;

beforeEach(async () => {
  clock = new VirtualClock();
  store = new SqliteStore({ path: ":memory:", epoch: 5 });
  const signer = { sign: () => Promise.reject(new Error("nobody is connected")) };
  hub = new Hub({ signer, clock, timers: clock, log: SILENT_LOG });
  const settings = {
    trustDomain: "mesh.test",
    rootNamespace: "istio-system",
    outboundPolicy: "allow_any" as const,
  };
  const catalog = new EmbeddedCatalog();
  mesh = new Mesh({ settings }, { store, catalog, hub, clock, log: SILENT_LOG });
  await mesh.open();
});

const example = (name: string): unknown[] =>
  parseAllDocuments(readFileSync(`docs/examples/${name}.yaml`, "utf8")).map((d) => d.toJS());
const apply = (documents: readonly unknown[], isDryRun = false) =>
  mesh.apply({ documents, who: "ann", isDryRun });

async function join(host: string, serviceAccounts: readonly string[], address = "10.0.0.1") {
  const secretSha256 = `hash of ${host}`;
  const expiresAtMs = clock.wallMs() + 1000;
  const made = { createdBy: "ann", createdAtMs: 0, expiresAtMs, addresses: [address] };
  await store.addToken({ secretSha256, host, serviceAccounts, ...made });
  const use = { secretSha256, host, atMs: clock.wallMs(), observedAddress: undefined };
  expect((await mesh.join(use)).ok).toBe(true);
}

const unitsOf = (host: string): UnitBody[] =>
  (hub.latest?.unitsFor(host) ?? []).map(({ body }) => JSON.parse(body) as UnitBody);
const namesFor = (host: string): string[] =>
  unitsOf(host).flatMap((unit) =>
    unit.is === "resource" ? `${unit.resource.kind} ${unit.resource.metadata.name}` : [],
  );

const workload = (name: string, hosts: readonly string[], namespace = "default") => ({
  apiVersion: "ironmesh.dev/v1",
  kind: "Workload",
  metadata: { name, namespace },
  spec: {
    hosts,
    serviceAccount: name,
    process: { user: name },
    services: [{ name, ports: [{ port: 80, protocol: "HTTP" }] }],
  },
});
const allowNobody = (name: string, namespace: string) => ({
  apiVersion: "security.istio.io/v1",
  kind: "AuthorizationPolicy",
  metadata: { name, namespace },
  spec: {},
});

test("every example of the documentation is accepted after the workloads it is about", async () => {
  expect(await apply(example("workloads"))).toMatchObject({ ok: true });
  for (const name of ["canary", "header-to-v3", "authorize-reviews", "strict-mtls", "faults"]) {
    expect(await apply(example(name))).toMatchObject({ ok: true });
  }
});

test("what the compiler refuses is not stored, and the answer names the resource and the field", async () => {
  const before = await store.position();
  const other = workload("other", ["vm-1"]);
  const sameUser = { ...other, spec: { ...other.spec, process: { user: "reviews" } } };
  const refused = await apply([workload("reviews", ["vm-1"]), sameUser]);
  expect(refused.ok).toBe(false);
  if (!refused.ok) {
    expect(refused.error.code).toBe("invalid_resource");
    const [problem] = refused.error.problems;
    expect([problem?.document, problem?.path]).toEqual([
      "Workload default/reviews",
      "spec.process",
    ]);
    expect(problem?.reason).toContain("on host vm-1");
  }
  expect(await store.position()).toEqual(before);
  expect((await store.state()).resources).toEqual([]);
});

test("what is probably not meant is accepted with a warning", async () => {
  const applied = await apply([
    workload("reviews", ["vm-1"]),
    {
      apiVersion: "networking.istio.io/v1",
      kind: "VirtualService",
      metadata: { name: "reviews", namespace: "default" },
      spec: {
        hosts: ["reviews"],
        http: [{ route: [{ destination: { host: "reviews", subset: "nowhere" } }] }],
      },
    },
  ]);
  const warnings = applied.ok ? applied.value.warnings : [];
  expect(warnings.map(({ path }) => path)).toContain("spec.hosts[0]");
  expect(warnings.some(({ path }) => path.startsWith("spec.http[0]"))).toBe(true);
});

test("a host is sent its own workloads and the policies of their namespaces, and every service", async () => {
  await join("a", ["default/web"]);
  await join("b", ["shop/cart"], "10.0.0.2");
  const applied = await apply([
    workload("web", ["a"]),
    workload("cart", ["b"], "shop"),
    allowNobody("default-policy", "default"),
    allowNobody("shop-policy", "shop"),
    allowNobody("mesh-policy", "istio-system"),
  ]);
  expect(applied.ok).toBe(true);
  expect(namesFor("a").sort()).toEqual([
    "AuthorizationPolicy default-policy",
    "AuthorizationPolicy mesh-policy",
    "Workload web",
  ]);
  expect(namesFor("b").sort()).toEqual([
    "AuthorizationPolicy mesh-policy",
    "AuthorizationPolicy shop-policy",
    "Workload cart",
  ]);
  expect(unitsOf("a").filter((unit) => unit.is === "endpoints")).toHaveLength(2);
});

test("a version has the same units after a restart", async () => {
  await join("a", ["default/web"]);
  await apply([workload("web", ["a"]), workload("api", ["a"]), workload("db", ["b"])]);
  const before = hub.latest?.unitsFor("a").map(({ hash }) => hash);
  const again = new Mesh(
    { settings: mesh.settings },
    { store, catalog: new EmbeddedCatalog(), hub, clock, log: SILENT_LOG },
  );
  await again.open();
  expect(hub.latest?.unitsFor("a").map(({ hash }) => hash)).toEqual(before ?? []);
});

test("applies at the same time are all kept, each its own version", async () => {
  const applied = await Promise.all(
    Array.from({ length: 20 }, (_, i) => apply([workload(`w${i}`, ["a"])])),
  );
  expect(applied.map((a) => (a.ok ? a.value.version : 0))).toEqual(
    Array.from({ length: 20 }, (_, i) => i + 1),
  );
  expect((await store.state()).resources).toHaveLength(20);
});

test("another server's change between reading and writing is computed upon, not lost", async () => {
  const commit = store.commit.bind(store);
  let isFirst = true;
  store.commit = async (change) => {
    if (isFirst) {
      isFirst = false;
      const other = { ...change, put: [], what: ["other"], putAllocations: [] };
      await commit(other);
    }
    return commit(change);
  };
  const applied = await apply([workload("web", ["a"])]);
  expect(applied).toMatchObject({ ok: true, value: { version: 2 } });
});

test("a host that moved is reached at its new address, unless its token stated one", async () => {
  await join("pinned", ["default/web"], "10.0.0.9");
  await apply([workload("web", ["pinned"])]);
  const before = await store.position();
  await mesh.observe("pinned", "10.0.0.10");
  expect(await store.position()).toEqual(before);
  expect((await store.host("pinned"))?.addresses).toEqual(["10.0.0.9"]);
});

test("the audit tells who changed what", async () => {
  await apply([workload("web", ["a"])]);
  const key = { apiVersion: "ironmesh.dev/v1", kind: "Workload", namespace: "default" };
  await mesh.remove({ ...key, name: "web" }, "bob");
  expect((await store.audit(2)).map(({ who, what }) => `${who}: ${what}`)).toEqual([
    "bob: delete Workload default/web",
    "ann: apply Workload default/web",
  ]);
});

test("a host that is removed takes its endpoints and its grant with it, and its name is free", async () => {
  await join("vm-1", ["default/reviews"], "10.0.0.1");
  await join("vm-2", ["default/reviews"], "10.0.0.2");
  await apply([workload("reviews", ["vm-1", "vm-2"])]);
  const endpoints = () =>
    unitsOf("vm-2").flatMap((unit) =>
      unit.is === "endpoints" ? unit.endpoints.map(({ host }) => host) : [],
    );
  expect(endpoints().sort()).toEqual(["vm-1", "vm-2"]);
  hub.noteCertificate("vm-1", 99);
  expect((await mesh.removeHost("vm-1", "ann")).ok).toBe(true);
  expect(endpoints()).toEqual(["vm-2"]);
  expect(hub.certificateExpiryOf("vm-1")).toBeUndefined();
  expect(await store.audit(1)).toMatchObject([{ who: "ann", what: "remove host vm-1" }]);
  expect(await mesh.removeHost("vm-1", "ann")).toMatchObject({
    ok: false,
    error: { code: "not_found" },
  });
  await store.addToken({
    ...{ secretSha256: "again", host: "vm-1", serviceAccounts: [], addresses: ["10.0.0.9"] },
    ...{ createdBy: "ann", createdAtMs: 0, expiresAtMs: clock.wallMs() + 1_000 },
  });
  const use = {
    secretSha256: "again",
    host: "vm-1",
    atMs: clock.wallMs(),
    observedAddress: undefined,
  };
  expect((await mesh.join(use)).ok).toBe(true);
  expect(endpoints()).toEqual(["vm-2"]); // it was granted nothing this time
});
