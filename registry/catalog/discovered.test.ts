import { expect, test } from "bun:test";
import type { ResourceDocument } from "../../agent/api/session.ts";
import type { CatalogHost, DiscoveredService } from "./catalog.ts";
import { EmbeddedCatalog } from "./embedded.ts";

const HOST: CatalogHost = {
  name: "vm-1",
  serviceAccounts: ["default/pay"],
  addresses: ["10.0.0.1", "10.9.9.9"],
};
const PAY: ResourceDocument = {
  apiVersion: "ironmesh.dev/v1",
  kind: "Workload",
  metadata: { name: "pay-v1", namespace: "default", labels: { app: "pay" } },
  spec: {
    hosts: ["vm-1"],
    serviceAccount: "pay",
    process: { user: "pay" },
    services: [{ name: "pay", ports: [{ port: 80, targetPort: 9080, protocol: "HTTP" }] }],
  },
};
const at = (address: string, port: number) => ({ address, port, weight: 1, labels: {} });
const found = (name: string, ...endpoints: DiscoveredService["endpoints"]): DiscoveredService => ({
  name,
  protocol: "HTTP",
  endpoints,
});
function view(discovered: readonly DiscoveredService[], resources: readonly ResourceDocument[]) {
  const made = new EmbeddedCatalog().view({
    resources,
    hosts: [HOST],
    reservations: [],
    discovered,
    nowMs: 0,
  });
  if (!made.ok) throw new Error("refused");
  return made.value;
}

test("a service that only Consul knows is callable at its port and at 80, in plaintext", () => {
  const { services, endpoints } = view(
    [found("web", at("10.0.0.8", 8080), at("10.0.0.9", 8081))],
    [],
  );
  expect(services[0]).toMatchObject({
    host: "web.default.mesh",
    name: "web",
    vip4: "240.240.0.1",
    ports: [80, 8080, 8081].map((port) => ({ port, name: "", protocol: "HTTP" })),
  });
  expect(endpoints.get("web.default.mesh")).toMatchObject([
    {
      address: "10.0.0.8",
      hasAgent: false,
      serviceAccount: "",
      ports: [
        { port: 80, targetPort: 8080 },
        { port: 8080, targetPort: 8080 },
      ],
    },
    { address: "10.0.0.9", hasAgent: false },
  ]);
});

test("an instance at a workload's port is that workload, on any address of its host, as the resource says who it is", () => {
  const { endpoints } = view(
    [found("payments", at("10.9.9.9", 9080), at("10.0.0.1", 9081))],
    [PAY],
  );
  expect(endpoints.get("payments.default.mesh")).toMatchObject([
    {
      address: "10.0.0.1",
      workload: "pay-v1",
      serviceAccount: "pay",
      hasAgent: true,
      calledAs: "pay",
      ports: [
        { port: 80, targetPort: 9080 },
        { port: 9080, targetPort: 9080 },
      ],
    },
    { address: "10.0.0.1", workload: "", hasAgent: false },
  ]);
});

test("what Consul says of a declared service adds nothing to it, and the operator is told", () => {
  const alone = view([], [PAY]);
  const both = view([found("pay", at("10.0.0.1", 9080), at("10.6.6.6", 80))], [PAY]);
  expect(both.services).toEqual(alone.services);
  expect(both.endpoints).toEqual(alone.endpoints);
  expect(both.warnings[0]?.reason).toContain("10.6.6.6:80");
});
