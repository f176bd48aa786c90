import { expect, test } from "bun:test";
import type { ResourceDocument } from "../../agent/api/session.ts";
import type { CatalogHost } from "./catalog.ts";
import { EmbeddedCatalog } from "./embedded.ts";

const workload = (name: string, spec: object): ResourceDocument => ({
  apiVersion: "ironmesh.dev/v1",
  kind: "Workload",
  metadata: { name, namespace: "default", labels: { app: "reviews", version: name } },
  spec: { process: { user: name }, serviceAccount: "reviews", ...spec },
});
const HTTP = { name: "reviews", ports: [{ port: 80, targetPort: 9080, protocol: "HTTP" }] };
const host = (name: string, address: string, accounts = ["default/reviews"]): CatalogHost => ({
  name,
  serviceAccounts: accounts,
  addresses: [address],
});
const view = (resources: readonly ResourceDocument[], hosts: readonly CatalogHost[]) =>
  new EmbeddedCatalog().view({ resources, hosts, reservations: [], discovered: [], nowMs: 0 });

test("each joined host of each workload is an endpoint of the service they back", () => {
  const found = view(
    [
      workload("v1", { hosts: ["a", "b"], services: [HTTP] }),
      workload("v2", { hosts: ["b"], services: [HTTP], weight: 3 }),
    ],
    [host("a", "10.0.0.1"), host("b", "10.0.0.2")],
  );
  if (!found.ok) throw new Error("refused");
  expect(found.value.services).toEqual([
    {
      host: "reviews.default.mesh",
      name: "reviews",
      namespace: "default",
      vip4: "240.240.0.1",
      vip6: "2001:2::1",
      ports: [{ port: 80, name: "", protocol: "HTTP" }],
    },
  ]);
  const endpoints = found.value.endpoints.get("reviews.default.mesh") ?? [];
  expect(endpoints.map((e) => `${e.workload}@${e.address}*${e.weight}`)).toEqual([
    "v1@10.0.0.1*1",
    "v1@10.0.0.2*1",
    "v2@10.0.0.2*3",
  ]);
  expect(endpoints[0]).toMatchObject({ hasAgent: true, ports: [{ port: 80, targetPort: 9080 }] });
});

test("a host that has not joined, or whose grant lacks the account, gives no endpoint and a warning", () => {
  const found = view(
    [workload("v1", { hosts: ["a", "b"], services: [HTTP] })],
    [host("b", "10.0.0.2", ["default/other"])],
  );
  if (!found.ok) throw new Error("refused");
  expect(found.value.endpoints.get("reviews.default.mesh")).toEqual([]);
  expect(found.value.services).toHaveLength(1);
  const [first, second] = found.value.warnings;
  expect(first?.reason).toContain("meshctl token create --host a");
  expect(second?.reason).toContain("does not grant default/reviews");
});

test("a ServiceEntry's hosts get virtual addresses and their ports", () => {
  const entry: ResourceDocument = {
    apiVersion: "networking.istio.io/v1",
    kind: "ServiceEntry",
    metadata: { name: "db", namespace: "default" },
    spec: {
      hosts: ["DB.example.com"],
      ports: [{ number: 5432, name: "pg", protocol: "TCP" }],
      resolution: "DNS",
    },
  };
  const found = view([entry], []);
  expect(found.ok && found.value.services[0]).toMatchObject({
    host: "db.example.com",
    vip4: "240.240.0.1",
    ports: [{ port: 5432, name: "pg", protocol: "TCP" }],
  });
});

test("what is known by a server name alone gets no virtual address, unless somebody declares it otherwise", () => {
  const entry = (name: string, spec: object): ResourceDocument => ({
    apiVersion: "networking.istio.io/v1",
    kind: "ServiceEntry",
    metadata: { name, namespace: "default" },
    spec: { ports: [{ number: 443, name: "https", protocol: "HTTPS" }], ...spec },
  });
  const endpoints = [{ address: "192.0.2.1" }];
  const found = view(
    [
      entry("a", { hosts: ["none.example", "both.example"], resolution: "NONE" }),
      entry("b", { hosts: ["both.example", "*.wild.example"], resolution: "STATIC", endpoints }),
    ],
    [],
  );
  expect(
    found.ok && found.value.services.map(({ host, vip4, vip6 }) => [host, vip4, vip6]),
  ).toEqual([
    ["*.wild.example", "", ""],
    ["both.example", "240.240.0.1", "2001:2::1"],
    ["none.example", "", ""],
  ]);
  expect(found.ok && found.value.reservationsChanged).toHaveLength(1);
});

test("two workloads that declare one port with different protocols are refused, naming both", () => {
  const tcp = { name: "reviews", ports: [{ port: 80, protocol: "TCP" }] };
  const found = view(
    [
      workload("v1", { hosts: ["a"], services: [HTTP] }),
      workload("v2", { hosts: ["a"], services: [tcp] }),
    ],
    [],
  );
  expect(found.ok).toBe(false);
  if (!found.ok) {
    expect(found.error[0]?.reason).toContain("Workload default/v1");
    expect(found.error[0]?.document).toBe("Workload default/v2");
  }
});
