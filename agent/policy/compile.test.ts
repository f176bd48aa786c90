import { expect, test } from "bun:test";
import type { ResourceDocument } from "../api/session.ts";
import { PortBook, SlotBook } from "./books.ts";
import { type CompileInput, compile } from "./compile.ts";

test("a kind that this version does not know is an error that names it, and the rest is compiled", () => {
  const gadget: ResourceDocument = {
    apiVersion: "ironmesh.dev/v9",
    kind: "Gadget",
    metadata: { name: "g", namespace: "default" },
    spec: {},
  };
  const { problems, snapshot } = compile(inputWith([gadget]));
  expect(problems).toEqual([
    {
      document: "Gadget default/g",
      path: "kind",
      reason: "is not a kind this version runs; upgrade the agent",
      severity: "error",
    },
  ]);
  expect(snapshot.host.identity).toBe("spiffe://lab/ns/ironmesh-system/sa/host.vm1");
});

test("each host of a ServiceEntry of resolution DNS is a name to look up, and what nobody can look up is left out", () => {
  const at = (kind: string, name: string, spec: object): ResourceDocument => ({
    apiVersion: "networking.istio.io/v1",
    kind,
    metadata: { name, namespace: "default" },
    spec,
  });
  const ports = [{ number: 5432, name: "pg", protocol: "TCP", targetPort: 6432 }];
  const selecting = { workloadSelector: { labels: { app: "db" } }, ports };
  const { snapshot, problems } = compile(
    inputWith([
      at("ServiceEntry", "a", { hosts: ["A.example.", "b.example"], ports, resolution: "DNS" }),
      at("ServiceEntry", "c", { hosts: ["c.example"], resolution: "DNS", ...selecting }),
      at("ServiceEntry", "d", { hosts: ["d.example"], resolution: "STATIC", ...selecting }),
      at("WorkloadEntry", "w1", { address: "w.example", labels: { app: "db" }, weight: 3 }),
      at("WorkloadEntry", "w2", { address: "reviews.default.mesh", labels: { app: "db" } }),
      at("WorkloadEntry", "w3", { address: "10.0.0.9", labels: { app: "db" } }),
    ]),
  );
  const dialled = (host: string): unknown[] => {
    const service = snapshot.services.find((one) => one.host === host);
    const cluster = snapshot.clusters[service?.ports[0]?.cluster ?? -1];
    return (cluster?.endpoints ?? []).map((index) => {
      const { id, weight, lookup } = snapshot.endpoints[index] ?? {};
      return [id, weight, lookup?.takes];
    });
  };
  expect(dialled("a.example")).toEqual([["a.example:6432", 1, "all"]]);
  expect(dialled("b.example")).toEqual([["b.example:6432", 1, "all"]]);
  const fixed = ["10.0.0.9:6432", 1, undefined];
  expect(dialled("c.example")).toEqual([["w.example:6432", 3, "all"], fixed]);
  expect(dialled("d.example")).toEqual([fixed]);
  expect(problems.map(({ document, reason }) => `${document} ${reason}`)).toEqual([
    "ServiceEntry default/c leaves out endpoint reviews.default.mesh: it is a name of the mesh, which no resolver of a host knows",
    "ServiceEntry default/d leaves out endpoint w.example: it is a host name, and only resolution DNS looks names up",
    "ServiceEntry default/d leaves out endpoint reviews.default.mesh: it is a host name, and only resolution DNS looks names up",
  ]);
});

test("a ServiceEntry of resolution NONE is where its client was going; what cannot hold for it is told", () => {
  const at = (kind: string, spec: object): ResourceDocument => ({
    apiVersion: "networking.istio.io/v1",
    kind,
    metadata: { name: "x", namespace: "default" },
    spec,
  });
  const hosts = ["*.x.example"];
  const { snapshot, problems } = compile(
    inputWith([
      at("ServiceEntry", { hosts, ports: [{ number: 443, name: "tls" }] }),
      at("DestinationRule", {
        host: "*.x.example",
        trafficPolicy: { outlierDetection: {}, connectionPool: { tcp: { maxConnections: 7 } } },
        subsets: [{ name: "v1", labels: { version: "v1" } }],
      }),
    ]),
  );
  const [service] = snapshot.services;
  expect([service?.vip4, service?.isExternal]).toEqual([undefined, true]);
  expect(snapshot.clusters[service?.ports[0]?.cluster ?? -1]).toMatchObject({
    name: "outbound|443||*.x.example",
    endpoints: [],
    isOriginalDst: true,
    limits: { maxConnections: 7 },
  });
  expect(problems.map(({ document, path, reason }) => [document, path, reason])).toEqual([
    [
      "DestinationRule default/x",
      "spec.trafficPolicy.outlierDetection",
      "ejects nobody for *.x.example, whose resolution is NONE",
    ],
  ]);
});

test("an endpoint that is marked for HBONE is asked for by tunnel, as the account it is said to be; what cannot be is left out by name", () => {
  const at = (kind: string, name: string, spec: object): ResourceDocument => ({
    apiVersion: "networking.istio.io/v1",
    kind,
    metadata: { name, namespace: "default" },
    spec,
  });
  const labels = { "networking.istio.io/tunnel": "http" };
  const ports = [
    { number: 80, name: "http", protocol: "HTTP", targetPort: 8080 },
    { number: 81, name: "grpc", protocol: "GRPC" },
  ];
  const endpoints = [
    { address: "10.0.0.7", labels, serviceAccount: "cart" },
    { address: "10.0.0.8", labels },
    { address: "10.0.0.9", labels: { "networking.istio.io/tunnel": "none" } },
    { address: "cart.example", labels, serviceAccount: "cart" },
  ];
  const { snapshot, problems } = compile(
    inputWith([
      at("ServiceEntry", "x", { hosts: ["x.example"], resolution: "DNS", ports, endpoints }),
      at("ServiceEntry", "y", {
        ...{ hosts: ["y.example"], resolution: "STATIC", ports: ports.slice(0, 1) },
        endpoints: endpoints.slice(0, 1),
      }),
      at("DestinationRule", "y", {
        host: "y.example",
        trafficPolicy: { tls: { mode: "DISABLE" } },
      }),
    ]),
  );
  const identity = "spiffe://lab/ns/default/sa/cart";
  const dialled = snapshot.endpoints.map(({ id, mesh }) => [id, mesh]);
  expect(dialled).toContainEqual([
    "10.0.0.7:8080",
    { port: 15008, serverName: "", identity, tunnelTo: "10.0.0.7:8080" },
  ]);
  expect(dialled).toContainEqual(["10.0.0.9:8080", undefined]);
  expect(dialled).toContainEqual(["10.0.0.7:8080", undefined]); // of y.example
  expect(dialled).toHaveLength(4);
  expect(problems.map(({ reason }) => reason.split(": ")[1])).toEqual([
    "without a serviceAccount nobody can tell whether it is who answers",
    "a host name is not supported yet",
    "a port of HTTP2 or GRPC is not supported yet",
    "without a serviceAccount nobody can tell whether it is who answers",
    "a host name is not supported yet",
  ]);
});

test("the hundredth workload of a host is refused", () => {
  const workloads = Array.from({ length: 100 }, (_, i) => ({
    apiVersion: "ironmesh.dev/v1",
    kind: "Workload",
    metadata: { name: `w${i}`, namespace: "default" },
    spec: { hosts: ["vm1"], serviceAccount: "a", process: { uid: 1000 + i } },
  }));
  const { problems, snapshot } = compile(inputWith(workloads));
  expect(snapshot.workloads.length).toBe(99);
  expect(problems.map((p) => p.reason)).toEqual([
    "is one workload too many for vm1: a host holds 99",
  ]);
});

test("a condition on connection.sni warns of ports where there is none", () => {
  const resources = [
    {
      apiVersion: "ironmesh.dev/v1",
      kind: "Workload",
      metadata: { name: "w", namespace: "default" },
      spec: {
        hosts: ["vm1"],
        serviceAccount: "a",
        process: { uid: 1000 },
        services: [
          {
            name: "w",
            ports: [
              { port: 443, protocol: "TLS" },
              { port: 80, protocol: "HTTP" },
            ],
          },
        ],
      },
    },
    {
      apiVersion: "security.istio.io/v1",
      kind: "AuthorizationPolicy",
      metadata: { name: "names", namespace: "default" },
      spec: { rules: [{ when: [{ key: "connection.sni", values: ["W"] }] }] },
    },
  ];
  const { problems, snapshot } = compile(inputWith(resources));
  expect(problems.map((p) => [p.document, p.severity, p.reason])).toEqual([
    [
      "AuthorizationPolicy default/names",
      "warning",
      "ask for connection.sni, and there is none at port 80 of default/w: it is not of protocol TLS or HTTPS",
    ],
  ]);
  const [only] = snapshot.workloads;
  expect(only?.ports.map(({ appPort, isTls }) => [appPort, isTls])).toEqual([
    [443, true],
    [80, undefined],
  ]);
  expect(only?.authorization.allow[0]?.rules[0]?.when[0]?.values).toEqual(["w"]);
});

test("two workloads of one host cannot be the same processes", () => {
  const workloads = ["a", "b"].map((name) => ({
    apiVersion: "ironmesh.dev/v1",
    kind: "Workload",
    metadata: { name, namespace: "default" },
    spec: { hosts: ["vm1"], serviceAccount: name, process: { user: "www" } },
  }));
  const { problems } = compile(inputWith(workloads));
  expect(problems.map((p) => [p.document, p.path, p.severity])).toEqual([
    ["Workload default/b", "spec.process", "error"],
  ]);
});

test("a workload found under another service's name is asked for by the name its agent knows", () => {
  const endpoint = {
    address: "10.0.0.2",
    host: "vm2",
    workload: "pay-v1",
    namespace: "default",
    serviceAccount: "pay",
    labels: {},
    weight: 1,
    ports: [{ port: 80, targetPort: 9080 }],
    hasAgent: true,
    calledAs: "pay",
  };
  const host = "payments.default.mesh";
  const { snapshot } = compile({
    ...inputWith([]),
    services: [
      {
        host,
        name: "payments",
        namespace: "default",
        vip4: "240.240.0.1",
        vip6: "2001:2::1",
        ports: [{ port: 80, name: "", protocol: "HTTP" }],
      },
    ],
    endpoints: new Map([[host, [endpoint]]]),
  });
  expect(snapshot.endpoints[0]?.mesh).toEqual({
    port: 15008,
    serverName: "9080.pay.pay-v1.default.ironmesh",
    identity: "spiffe://lab/ns/default/sa/pay",
  });
});

const inputWith = (resources: readonly ResourceDocument[]): CompileInput => ({
  epoch: 1,
  version: 1,
  mesh: { trustDomain: "lab", rootNamespace: "istio-system", outboundPolicy: "allow_any" },
  host: { name: "vm1", addresses: ["10.0.0.1"] },
  resources,
  services: [],
  endpoints: new Map(),
  slots: new SlotBook(0, 5000).draft(),
  ports: new PortBook().draft(),
});
