import { describe, expect, test } from "bun:test";
import { MESH_PORT } from "../api/mesh-wire.ts";
import type { CatalogEndpoint, ResourceDocument } from "../api/session.ts";
import { PortBook, SlotBook } from "./books.ts";
import { type CompileInput, compile } from "./compile.ts";
import { Tables } from "./tables.ts";

const document = (kind: string, name: string, spec: unknown): ResourceDocument => ({
  apiVersion: kind === "Workload" ? "ironmesh.dev/v1" : "networking.istio.io/v1",
  kind,
  metadata: { name, namespace: "default", labels: { app: name } },
  spec,
});
const endpoint = (workload: string, address: string, targetPort: number): CatalogEndpoint => ({
  address,
  host: "",
  workload,
  namespace: "default",
  serviceAccount: workload,
  labels: { app: workload },
  weight: 1,
  ports: [{ port: 80, targetPort }],
  hasAgent: true,
});
const input: CompileInput = {
  epoch: 1,
  version: 1,
  mesh: { trustDomain: "lab", rootNamespace: "istio-system", outboundPolicy: "allow_any" },
  host: { name: "vm1", addresses: ["10.0.0.1", "fd00::1"] },
  resources: [
    document("Workload", "page", {
      hosts: ["vm1"],
      serviceAccount: "page",
      process: { user: "page" },
      services: [{ name: "page", ports: [{ port: 80, targetPort: 8080, protocol: "HTTP" }] }],
    }),
    document("DestinationRule", "reviews", {
      host: "reviews",
      subsets: [{ name: "all", trafficPolicy: { outlierDetection: {}, tls: { mode: "DISABLE" } } }],
    }),
    document("VirtualService", "page", {
      hosts: ["page"],
      http: [{ route: [{ destination: { host: "reviews", subset: "all" } }] }],
    }),
  ],
  services: ["page", "reviews"].map((name, i) => ({
    host: `${name}.default.mesh`,
    name,
    namespace: "default",
    vip4: `240.240.0.${i + 1}`,
    vip6: `2001:2::${i + 1}`,
    ports: [{ port: 80, name: "http", protocol: "HTTP" }],
  })),
  endpoints: new Map([
    ["page.default.mesh", [endpoint("page", "10.0.0.1", 8080)]],
    ["reviews.default.mesh", [endpoint("reviews", "10.0.0.2", 9080)]],
  ]),
  slots: new SlotBook(0, 1000).draft(),
  ports: new PortBook().draft(),
};
const { snapshot, problems } = compile(input);
const tables = new Tables(snapshot);

test("the fixture compiles without problems", () => expect(problems).toEqual([]));

describe("outbound", () => {
  test("a virtual IP of either family means its service, at its ports only", () => {
    expect(tables.serviceAt("240.240.0.2", 80)).toEqual({ service: 1, portIndex: 0 });
    expect(tables.serviceAt("2001:2::1", 80)).toEqual({ service: 0, portIndex: 0 });
    expect(tables.serviceAt("240.240.0.2", 81)).toBeUndefined();
    expect(tables.serviceAt("240.240.9.9", 80)).toBeUndefined();
  });

  test("a mesh endpoint is known by its address and port, and by its whole service's cluster", () => {
    const index = tables.endpointAt("10.0.0.2", 9080) ?? -1;
    // A subset dials it in plaintext; a direct dial must not.
    expect(snapshot.endpoints[index]?.mesh?.port).toBe(MESH_PORT);
    const cluster = snapshot.clusters[tables.clusterOfEndpoint(index) ?? -1];
    expect(cluster?.name).toBe("outbound|80||reviews.default.mesh");
    expect(tables.endpointAt("10.0.0.2", 9081)).toBeUndefined();
    expect(tables.clusterOfEndpoint(99)).toBeUndefined();
  });

  test("loopback and every address of the host mean it for local workloads' ports, and nothing else", () => {
    const own = tables.endpointAt("10.0.0.1", 8080);
    expect(own).toBeDefined();
    for (const address of ["127.0.0.1", "127.0.0.53", "::1", "fd00::1"])
      expect(tables.endpointAt(address, 8080)).toBe(own ?? -1);
    expect(tables.endpointAt("127.0.0.1", 9080)).toBeUndefined();
    expect(tables.endpointAt("fd00::1", 9080)).toBeUndefined();
    expect(tables.endpointAt("fd00::2", 8080)).toBeUndefined();
  });

  test("a Host header means a service by any of its names, whatever its case and port text", () => {
    for (const host of ["page", "PAGE:80", "page.default.", "page.default.svc.cluster.local:1"])
      expect([host, tables.serviceByHost(host, 80)]).toEqual([host, { service: 0, portIndex: 0 }]);
    expect(tables.serviceByHost("page", 81)).toBeUndefined();
    expect(tables.serviceByHost("[2001:2::1]:80", 80)).toBeUndefined();
  });

  test("names resolve with or without their final dot", () => {
    expect(tables.resolveName("Reviews.default.mesh.")).toBe(snapshot.services[1] ?? "not_ours");
    expect(tables.resolveName("reviews")).toBe(snapshot.services[1] ?? "not_ours");
    expect(tables.resolveName("example.com")).toBe("not_ours");
  });

  test("a workload's own listener is recognised", () => {
    expect(tables.isListenerPort(15101)).toBe(true);
    expect(tables.isListenerPort(15102)).toBe(false);
  });
});

describe("inbound", () => {
  test("plaintext to an app port finds its workload on any address of the host", () => {
    for (const address of ["10.0.0.1", "fd00::1", "127.0.0.1"])
      expect(tables.inboundAt(address, 8080)).toMatchObject({ workload: 0, service: 0 });
    expect(tables.inboundAt("10.0.0.1", 80)).toBeUndefined();
  });

  test("what callers name in TLS is what the compiler gave them, and only declared ports exist", () => {
    const given = snapshot.endpoints[tables.endpointAt("10.0.0.1", 8080) ?? -1]?.mesh?.serverName;
    expect(given).toBe("8080.page.page.default.ironmesh");
    for (let again = 0; again < 2; again++)
      expect(tables.inboundByServerName(given ?? "")).toMatchObject({
        workload: 0,
        service: 0,
        port: { appPort: 8080 },
      });
    for (const name of [
      "22.page.page.default.ironmesh",
      "8080.reviews.page.default.ironmesh",
      "8080.page.page.other.ironmesh",
      "8080.page.reviews.default.ironmesh",
      "page",
      "",
    ])
      expect([name, tables.inboundByServerName(name)]).toEqual([name, undefined]);
  });
});
