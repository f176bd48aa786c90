import { expect, test } from "bun:test";
import { checkResource, parseResource } from "./parse-resource.ts";

type Spec = { [name: string]: unknown };
const NETWORKING = "networking.istio.io/v1";
const SECURITY = "security.istio.io/v1";
const resource = (apiVersion: string, kind: string, spec: Spec) => ({
  apiVersion,
  kind,
  metadata: { name: "x" },
  spec,
});
const complaints = (document: unknown): string[] =>
  checkResource(document).problems.map((p) => `${p.path} ${p.reason}`);
const virtualService = (spec: Spec) =>
  complaints(resource(NETWORKING, "VirtualService", { hosts: ["reviews"], ...spec }));
const route = (more: Spec) =>
  virtualService({ http: [{ route: [{ destination: { host: "reviews" } }], ...more }] });
const rule = (spec: Spec) =>
  complaints(resource(NETWORKING, "DestinationRule", { host: "reviews", ...spec }));
const policy = (spec: Spec) => complaints(resource(SECURITY, "AuthorizationPolicy", spec));
const limits = (...some: Spec[]) =>
  complaints(
    resource("ironmesh.dev/v1", "RateLimit", {
      limits: some.map((limit) => ({ name: "all", requests: 10, ...limit })),
    }),
  );
const workload = (spec: Spec) =>
  complaints(
    resource("ironmesh.dev/v1", "Workload", {
      hosts: ["host-1"],
      serviceAccount: "reviews",
      process: { user: "reviews" },
      ...spec,
    }),
  );
const entry = (spec: Spec) =>
  complaints(
    resource(NETWORKING, "ServiceEntry", {
      hosts: ["db.example.com"],
      ports: [{ number: 5432, name: "pg", protocol: "TCP" }],
      resolution: "STATIC",
      endpoints: [{ address: "10.0.0.9" }],
      ...spec,
    }),
  );

test("an accepted resource keeps the shape it was written in, with the namespace filled in", () => {
  const spec = { hosts: ["reviews"], http: [{ route: [{ destination: { host: "reviews" } }] }] };
  const parsed = parseResource(resource("networking.istio.io/v1alpha3", "VirtualService", spec));
  expect(parsed).toEqual({
    ok: true,
    value: {
      apiVersion: "networking.istio.io/v1alpha3",
      kind: "VirtualService",
      metadata: { name: "x", namespace: "default" },
      spec,
    },
  });
});

test("what Istio has and we do not yet is refused by its path", () => {
  expect(route({ mirrors: [], corsPolicy: {} })).toEqual([
    "spec.http[0].mirrors is not supported yet",
    "spec.http[0].corsPolicy is not supported yet",
  ]);
  expect(virtualService({ gateways: ["bookinfo-gateway"], http: [] })).toEqual([
    "spec.gateways[0] is not supported yet: gateways other than `mesh` are not there",
  ]);
  const tls = { match: [{ sniHosts: ["a.b"], sourceSubnet: "10.0.0.0/8" }], route: [] };
  expect(virtualService({ tls: [tls] })).toEqual([
    "spec.tls[0].match[0].sourceSubnet is not supported yet",
    "spec.tls[0].route must name at least one destination",
  ]);
  const byHash = (hash: object) => rule({ trafficPolicy: { loadBalancer: hash } });
  const place = "spec.trafficPolicy.loadBalancer.consistentHash";
  const cookie = { httpCookie: { name: "user", ttl: "0s" } };
  expect(byHash({ consistentHash: { ...cookie, maglev: {}, useSourceIp: true } })).toEqual([
    `${place}.httpCookie is not supported yet: write httpHeaderName with a header that your clients send`,
    `${place}.maglev is not supported yet: leave it out: an endpoint that leaves moves no key but its own here`,
  ]);
  expect(rule({ trafficPolicy: { tls: { mode: "SIMPLE" } } })).toEqual([
    "spec.trafficPolicy.tls.mode SIMPLE is not supported yet",
  ]);
  expect(policy({ action: "CUSTOM", provider: { name: "p" } })).toEqual([
    "spec.action CUSTOM is not supported yet",
    "spec.provider is not supported yet",
  ]);
  expect(policy({ rules: [{ when: [{ key: "request.auth.claims[a]", values: ["b"] }] }] })).toEqual(
    ["spec.rules[0].when[0].key `request.auth.claims[a]` is not supported yet"],
  );
  expect(entry({ resolution: "DYNAMIC_DNS", endpoints: undefined })).toEqual([
    "spec.resolution DYNAMIC_DNS is not supported yet",
  ]);
  expect(workload({ process: { mesosTask: "x" } })).toEqual([
    "spec.process.mesosTask is not supported yet",
  ]);
  expect(complaints(resource("gateway.networking.k8s.io/v1", "HTTPRoute", {}))).toEqual([
    "kind HTTPRoute is not supported yet",
  ]);
});

test("a consistent hash has exactly one key, and no other balancer beside it", () => {
  const byHash = (hash: object) => rule({ trafficPolicy: { loadBalancer: hash } });
  const place = "spec.trafficPolicy.loadBalancer";
  for (const key of [
    { useSourceIp: true },
    { httpHeaderName: "X-User" },
    { httpQueryParameterName: "user", ringHash: { minimumRingSize: 1024 } },
  ])
    expect(byHash({ consistentHash: key })).toEqual([]);
  const oneOf = `${place}.consistentHash must have exactly one of httpHeaderName, httpQueryParameterName, useSourceIp`;
  expect(byHash({ consistentHash: {} })).toEqual([oneOf]);
  expect(byHash({ consistentHash: { useSourceIp: true, httpHeaderName: "x" } })).toEqual([oneOf]);
  expect(byHash({ consistentHash: { useSourceIp: false } })).toEqual([
    `${place}.consistentHash.useSourceIp must be true, or left out`,
  ]);
  expect(byHash({ consistentHash: { httpHeaderName: "x y" } })).toEqual([
    `${place}.consistentHash.httpHeaderName must be the name of a header`,
  ]);
  const large = { useSourceIp: true, ringHash: { minimumRingSize: 16_385 } };
  expect(byHash({ consistentHash: large })).toEqual([
    `${place}.consistentHash.ringHash.minimumRingSize must be at most 16384`,
  ]);
  expect(byHash({ simple: "RANDOM", consistentHash: { useSourceIp: true } })).toEqual([
    `${place}.simple must not be there beside consistentHash`,
  ]);
});

test("what has no virtual IP is known by the server name of TLS, and has ports of TLS alone", () => {
  const https = [{ number: 443, name: "https" }];
  const byName = { hosts: ["*.example.com", "a.example.org"], ports: https, endpoints: undefined };
  for (const resolution of ["NONE", undefined])
    expect(entry({ ...byName, resolution })).toEqual([]);
  const tcp = [{ number: 5432, name: "pg", protocol: "TCP", targetPort: 5433 }];
  expect(entry({ ports: tcp, resolution: "NONE" })).toEqual([
    "spec.ports[0] is not supported yet with resolution NONE: a port that is not TLS or HTTPS",
    "spec.ports[0].targetPort has no meaning with resolution NONE: the dialled port is",
    "spec.endpoints must not be there with resolution NONE",
  ]);
  expect(entry({ hosts: ["*.example.com"] })).toEqual([
    "spec.ports[0] is not supported yet with a wildcard in `hosts`: a port that is not TLS or HTTPS",
  ]);
  expect(entry({ hosts: ["*"] })).toEqual(["spec.hosts[0] must not be `*`"]);
});

test("names to look up are host names, one of them alone where one address is to be dialled", () => {
  const name = { address: "primary.db.example.com" };
  for (const resolution of ["DNS", "DNS_ROUND_ROBIN"]) {
    for (const endpoints of [undefined, [], [name], [{ address: "10.0.0.9" }]])
      expect(entry({ resolution, endpoints })).toEqual([]);
    const https = [{ number: 443, name: "https" }];
    const below = { resolution, hosts: ["*.example.com"], ports: https };
    expect(entry({ ...below, endpoints: [name] })).toEqual([]);
    expect(entry({ ...below, endpoints: undefined })).toEqual([
      `spec.hosts[0] is no name to look up with ${resolution}; write \`endpoints\``,
    ]);
    expect(entry({ resolution, ports: [{ number: 53, name: "dns", protocol: "UDP" }] })).toEqual([
      `spec.ports[0].protocol is not supported yet with ${resolution}: a UDP port`,
    ]);
    expect(entry({ resolution, endpoints: [{ address: "*.example.com" }] })).toEqual([
      "spec.endpoints[0].address must be an IP address or a host name",
    ]);
  }
  const selecting = { endpoints: undefined, workloadSelector: { labels: { app: "db" } } };
  expect(entry({ resolution: "DNS", endpoints: [name, { address: "10.0.0.9" }] })).toEqual([]);
  expect(entry({ resolution: "DNS", ...selecting })).toEqual([]);
  expect(entry({ resolution: "DNS_ROUND_ROBIN", ...selecting })).toEqual([
    "spec.workloadSelector must not be there with DNS_ROUND_ROBIN",
  ]);
  expect(entry({ resolution: "DNS_ROUND_ROBIN", endpoints: [name, name] })).toEqual([
    "spec.endpoints must be one at most with DNS_ROUND_ROBIN",
  ]);
  expect(entry({ endpoints: [name] })).toEqual([
    "spec.endpoints[0].address must be an IP address with resolution STATIC",
  ]);
});

test("a rule of `tls` says which server names it is for", () => {
  const route = [{ destination: { host: "reviews" } }];
  expect(virtualService({ tls: [{ route }] })).toEqual(["spec.tls[0].match is missing"]);
  expect(virtualService({ tls: [{ match: [], route }] })).toEqual([
    "spec.tls[0].match must not be empty: `sniHosts` say what it is for",
  ]);
  expect(virtualService({ tls: [{ match: [{ sniHosts: [] }, {}], route }] })).toEqual([
    "spec.tls[0].match[0].sniHosts must not be empty",
    "spec.tls[0].match[1].sniHosts is missing",
  ]);
  expect(virtualService({ tls: [{ match: [{ sniHosts: ["10.0.0.1", "*"] }], route }] })).toEqual([
    "spec.tls[0].match[0].sniHosts[0] must be a name: a ClientHello names no address",
    "spec.tls[0].match[0].sniHosts[1] must not be `*`: name what is within this resource's hosts",
  ]);
  expect(
    virtualService({ hosts: ["*.x"], tls: [{ match: [{ sniHosts: ["a.x"] }], route }] }),
  ).toEqual([]);
});

test("an unknown field is an error that suggests the one that was meant", () => {
  expect(route({ retry: { attempts: 1 } })).toEqual([
    "spec.http[0].retry is not a field here; did you mean `retries`?",
  ]);
  expect(virtualService({ https: [], http: [] })).toEqual([
    "spec.https is not a field here; did you mean `http`?",
  ]);
  expect(
    complaints({ ...resource(NETWORKING, "DestinationRule", { host: "a" }), sepc: {} }),
  ).toEqual(["sepc is not a field here; did you mean `spec`?"]);
});

test("Kubernetes' own kinds are named and skipped, not refused", () => {
  const checked = checkResource(resource("apps/v1", "Deployment", {}));
  expect(checked.resource).toBeUndefined();
  expect(checked.problems).toMatchObject([
    {
      severity: "warning",
      path: "kind",
      reason: "apps/v1 Deployment is Kubernetes' own and skipped",
    },
  ]);
  expect(complaints(resource("v1", "Service", {}))[0]).toContain("v1 Service");
});

test("what kubectl adds to a resource is left out with a warning", () => {
  const checked = checkResource({
    ...resource(SECURITY, "PeerAuthentication", {}),
    metadata: { name: "x", uid: "1", resourceVersion: "2" },
    status: {},
  });
  expect(checked.problems.map((p) => p.severity)).toEqual(["warning", "warning", "warning"]);
  expect(checked.resource?.metadata).toEqual({ name: "x", namespace: "default" });
});

test("a wrong apiVersion or kind is told what it should be", () => {
  expect(complaints(resource("networking.istio.io/v1alpha1", "VirtualService", {}))).toEqual([
    "apiVersion must be networking.istio.io/v1 or networking.istio.io/v1beta1 or networking.istio.io/v1alpha3",
  ]);
  expect(complaints(resource("security.istio.io/v1", "VirtualService", {}))[0]).toContain(
    "must be networking.istio.io/v1",
  );
  expect(complaints(resource("networkin.istio.io/v1", "Foo", {}))[0]).toContain(
    "did you mean `networking.istio.io`?",
  );
  expect(complaints(resource(NETWORKING, "VirtualServise", {}))[0]).toContain(
    "did you mean `VirtualService`?",
  );
});

test("all that is wrong in one document is told at once", () => {
  expect(
    virtualService({
      hosts: ["reviews", "reviews", "*"],
      http: [
        {
          match: [{ uri: { exact: "/a", prefix: "/b" }, headers: { "end-user": { regex: "(" } } }],
          route: [{ destination: { host: "*" } }, { destination: {}, weight: -1 }],
          timeout: "5",
        },
        { redirect: { redirectCode: 200 }, timeout: "5s" },
        {},
      ],
    }),
  ).toEqual([
    "spec.hosts[1] is named twice",
    "spec.hosts[2] must not be `*`: inside the mesh, name the hosts",
    "spec.http[0].match[0].uri must have exactly one of exact, prefix, regex",
    expect.stringContaining(
      'spec.http[0].match[0].headers["end-user"].regex must be a regex of RE2',
    ),
    expect.stringContaining("spec.http[0].route[0].destination.host must be a host name"),
    "spec.http[0].route[1].destination.host is missing",
    "spec.http[0].route[1].weight must be a whole number from 0 to 2147483647",
    'spec.http[0].timeout must be a duration such as "1.5s", "250ms" or "1h30m"',
    "spec.http[1].redirect.redirectCode must be 301, 302, 303, 307 or 308",
    "spec.http[1].timeout holds only for a route that forwards",
    "spec.http[2] must have exactly one of route, redirect, directResponse",
  ]);
});

test("weights must share something out", () => {
  const two = (a?: number, b?: number) =>
    virtualService({
      http: [
        {
          route: [
            { destination: { host: "a" }, ...(a === undefined ? {} : { weight: a }) },
            { destination: { host: "b" }, ...(b === undefined ? {} : { weight: b }) },
          ],
        },
      ],
    });
  expect(two(90, 10)).toEqual([]);
  expect(two(1, 1)).toEqual([]);
  expect(two(100)).toEqual([]);
  expect(two()[0]).toContain("must give a weight above 0");
  expect(two(0, 0)[0]).toContain("must give a weight above 0");
});

test("a rule behind one that matches everything is warned about", () => {
  const r = { route: [{ destination: { host: "reviews" } }] };
  expect(virtualService({ http: [r, r] })).toEqual([
    "spec.http[1] is never used: rule 0 before it matches everything",
  ]);
});

test("retries, faults, redirects and rewrites keep Istio's rules", () => {
  expect(route({ retries: { attempts: 3, perTryTimeout: "2s", retryOn: "5xx, 503" } })).toEqual([]);
  expect(route({ retries: { attempts: 0, retryOn: "5xx" } })[0]).toContain("no other settings");
  expect(route({ retries: { attempts: 1, retryOn: "5xxx" } })[0]).toContain(
    "not a retry condition",
  );
  expect(route({ fault: {} })[0]).toContain("must have delay or abort");
  expect(route({ fault: { abort: { httpStatus: 700 } } })[0]).toContain("from 200 to 599");
  expect(route({ fault: { abort: { httpStatus: 500, percentage: { value: 101 } } } })).toEqual([
    "spec.http[0].fault.abort.percentage.value must be from 0 to 100",
  ]);
  expect(route({ rewrite: { uri: "/", uriRegexRewrite: { match: "a", rewrite: "b" } } })).toEqual([
    "spec.http[0].rewrite must have only one of uri, uriRegexRewrite",
  ]);
  expect(route({ headers: { request: { set: { Host: "x" } } } })[0]).toContain("rewrite.authority");
  expect(route({ headers: { request: { add: { "x-a": "a\r\nb" } } } })[0]).toContain(
    "no line ends",
  );
  expect(route({ headers: { request: { add: { "x-a": "%REQ(a)%" } } } })[0]).toContain("operator");
});

test("what a route could not do is refused, not ignored: a fault or request edits without forwarding, headers beyond their room", () => {
  const answers = (over: object) =>
    virtualService({ http: [{ directResponse: { status: 200 }, ...over }] });
  const edits = { request: { set: { "x-a": "1" } }, response: { remove: ["x-b"] } };
  expect(answers({ headers: edits })).toEqual([
    "spec.http[0].headers.request holds only for a route that forwards",
    "spec.http[0].headers.response.remove holds only for a route that forwards",
  ]);
  const fault = { delay: { fixedDelay: "1s", percentage: { value: 1 } } };
  expect(virtualService({ http: [{ redirect: { uri: "/" }, fault }] })).toEqual([
    "spec.http[0].fault is not supported yet with a redirect",
  ]);
  const set = { "x-a": "a".repeat(2_000), "x-b": "b".repeat(2_000) };
  expect(route({ headers: { request: { set } } })[0]).toContain("at most 3500");
});

test("an authority that a route writes is one", () => {
  for (const authority of ["", "a b", "a/b", "u@a", "a:b", "a\tb", "\u010a"])
    expect(route({ rewrite: { authority } })[0]).toContain("must be a host");
  for (const authority of ["a", "a.b:80", "[::1]:8080"])
    expect(route({ rewrite: { authority } })).toEqual([]);
});

test("DestinationRule subsets have unique names and label values without wildcards", () => {
  expect(rule({ subsets: [{ name: "v1", labels: { version: "v1" } }, { name: "v1" }] })).toEqual([
    "spec.subsets[1].name is named twice: `v1`",
  ]);
  expect(rule({ subsets: [{ name: "v1", labels: { version: "v*" } }] })[0]).toContain(
    "no wildcards",
  );
  expect(rule({ subsets: [{ name: "v1", labels: { version: 1 } }] })[0]).toBe(
    'spec.subsets[0].labels.version must be text, not the number 1: write "1" in quotes',
  );
});

test("a retry budget beside maxRetries is what holds, and the writer is told; its interval is not there yet", () => {
  const both = { retryBudget: {}, connectionPool: { http: { maxRetries: 3 } } };
  const at = "trafficPolicy.connectionPool.http.maxRetries is not used: retryBudget holds instead";
  expect(rule({ trafficPolicy: both })).toEqual([`spec.${at}`]);
  expect(rule({ subsets: [{ name: "v1", trafficPolicy: both }] })).toEqual([
    `spec.subsets[0].${at}`,
  ]);
  expect(rule({ trafficPolicy: { retryBudget: { percent: 101, budgetInterval: "1s" } } })).toEqual([
    "spec.trafficPolicy.retryBudget.percent must be from 0 to 100",
    "spec.trafficPolicy.retryBudget.budgetInterval is not supported yet",
  ]);
});

test("PeerAuthentication by port needs a selector and real ports", () => {
  const authentication = (spec: Spec) => complaints(resource(SECURITY, "PeerAuthentication", spec));
  expect(authentication({ mtls: { mode: "STRICT" } })).toEqual([]);
  expect(authentication({ portLevelMtls: { "80": { mode: "DISABLE" } } })).toEqual([
    "spec.portLevelMtls needs a selector with matchLabels",
  ]);
  const selector = { matchLabels: { app: "a" } };
  expect(authentication({ selector, portLevelMtls: { "80": { mode: "DISABLE" } } })).toEqual([]);
  expect(authentication({ selector, portLevelMtls: { http: {} } })).toEqual([
    "spec.portLevelMtls.http must be a port from 1 to 65535",
  ]);
  expect(authentication({ mtls: { mode: "strict" } })).toEqual([
    'spec.mtls.mode must be UNSET or DISABLE or PERMISSIVE or STRICT, not "strict"',
  ]);
});

test("RateLimit: a bucket holds at most a million and refills within a day", () => {
  expect(limits({}, { name: "b", per: "24h", by: { identity: true } })).toEqual([]);
  expect(limits({ requests: 1_000, burst: 1_000_001 })).toEqual([
    "spec.limits[0].burst must be at most 1000000",
  ]);
  expect(limits({ requests: 1, per: "1h", burst: 25 })).toEqual([
    "spec.limits[0] must refill within 24h: raise requests, or lower per or burst",
  ]);
});

test("RateLimit: what would limit nothing, or not what it says, is refused", () => {
  expect(complaints(resource("ironmesh.dev/v1", "RateLimit", { limits: [] }))).toEqual([
    "spec.limits must not be empty: name something or remove it",
  ]);
  expect(limits({ requests: 0 })[0]).toStartWith("spec.limits[0].requests must be a whole number");
  expect(limits({ by: {} })[0]).toStartWith("spec.limits[0].by must name identity or header");
  expect(limits({ by: { header: "a b" } })).toEqual([
    "spec.limits[0].by.header must be the name of a header",
  ]);
  expect(limits({}, {})).toEqual(["spec.limits[1].name is named twice: `all`"]);
  expect(limits({ by: { headers: "x" } })[0]).toContain("did you mean `header`?");
});

test("AuthorizationPolicy: no rules and an empty rule are meant; empty lists inside are not", () => {
  expect(policy({})).toEqual([]);
  expect(policy({ rules: [{}] })).toEqual([]);
  expect(policy({ rules: [{ from: [] }] })[0]).toContain("must not be empty");
  expect(policy({ rules: [{ from: [{ source: {} }] }] })[0]).toContain("hold for everybody");
  expect(policy({ rules: [{ from: [{ source: { principals: [] } }] }] })[0]).toContain(
    "spec.rules[0].from[0].source.principals must not be empty",
  );
  expect(policy({ rules: [{ to: [{ operation: { ports: [80] } }] }] })[0]).toContain(
    'write "80" in quotes',
  );
  expect(policy({ rules: [{ to: [{ operation: { ports: ["http"] } }] }] })[0]).toContain("a port");
  expect(policy({ rules: [{ from: [{ source: { ipBlocks: ["10.0.0.0/33"] } }] }] })[0]).toContain(
    "must be an IP address or a block",
  );
  expect(policy({ rules: null })).toEqual(["spec.rules is empty: write a list or remove it"]);
  expect(policy({ action: "DENY" })).toEqual([
    "spec.rules is empty, so this DENY policy refuses nobody",
  ]);
});

test("a Workload names its processes in exactly one way, and a slice only if it stays", () => {
  expect(workload({})).toEqual([]);
  expect(workload({ process: {} })[0]).toContain("exactly one of user, uid, gid, slice");
  expect(workload({ process: { user: "a", uid: 1 } })[0]).toContain("exactly one of");
  expect(workload({ process: { slice: "reviews.slice" } })).toEqual([]);
  expect(workload({ process: { systemdUnit: "a.service" } })[0]).toContain(
    "spec.process.systemdUnit is not supported yet: a unit's cgroup is new",
  );
  expect(workload({ services: [{ name: "a", ports: [] }] })[0]).toContain("must not be empty");
  expect(
    workload({ services: [{ name: "a", ports: [{ port: 80, protocol: "GRPC-WEB" }] }] })[0],
  ).toContain("GRPC-WEB is not supported yet: write HTTP");
  for (const protocol of ["GRPC", "http2", "UDP", "udp"])
    expect(workload({ services: [{ name: "a", ports: [{ port: 80, protocol }] }] })).toEqual([]);
});

test("nobody may write into the mesh's own namespace", () => {
  expect(
    complaints({
      ...resource(SECURITY, "PeerAuthentication", {}),
      metadata: { name: "x", namespace: "ironmesh-system" },
    }),
  ).toEqual(["metadata.namespace must not be ironmesh-system: it is the mesh's own"]);
});

test("garbage of any type is refused, never thrown on", () => {
  for (const document of [
    undefined,
    null,
    1,
    "x",
    [],
    {},
    { kind: 1 },
    { apiVersion: "", kind: "" },
  ])
    expect(parseResource(document).ok).toBe(false);
  for (const metadata of [
    undefined,
    null,
    1,
    [],
    { name: 1 },
    { name: "x", labels: [] },
    { name: "A" },
  ])
    expect(parseResource({ ...resource(SECURITY, "PeerAuthentication", {}), metadata }).ok).toBe(
      false,
    );
  for (const spec of [undefined, null, 1, "x", []])
    expect(
      parseResource({
        apiVersion: SECURITY,
        kind: "PeerAuthentication",
        metadata: { name: "x" },
        spec,
      }).ok,
    ).toBe(false);
});
