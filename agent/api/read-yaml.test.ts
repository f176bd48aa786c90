import { expect, test } from "bun:test";
import { problemText } from "./problem-text.ts";
import { locateProblem, readResources } from "./read-yaml.ts";
import { titleOf } from "./resource.ts";

const examples = new URL("../../docs/examples/", import.meta.url).pathname;

test("every file in docs/examples is accepted without a word", async () => {
  const files = [...new Bun.Glob("*.yaml").scanSync(examples)].sort();
  expect(files).toContain("canary.yaml");
  for (const file of files) {
    const read = readResources(await Bun.file(`${examples}${file}`).text(), file);
    expect({ file, problems: read.problems }).toEqual({ file, problems: [] });
    expect(read.resources.length).toBeGreaterThan(0);
  }
});

test("every problem of every document is told with file, line, document and path", () => {
  const text = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: reviews
spec:
  host: reviews
  subsets:
  - name: v1
    label: {version: v1}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: reviews}
---
# nothing but a comment
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - route:
    - destination: {host: reviews}
    mirrors:
    - destination: {host: other}
---
kind: [
`;
  const read = readResources(text, "mesh.yaml");
  expect(read.resources).toEqual([]);
  expect(read.problems.map(problemText)).toEqual([
    "mesh.yaml:9: error: document 1, DestinationRule default/reviews: spec.subsets[0].label is not a field here; did you mean `labels`?",
    "mesh.yaml:12: warning: document 2, Deployment default/reviews: kind apps/v1 Deployment is Kubernetes' own and skipped",
    "mesh.yaml:25: error: document 4, VirtualService default/reviews: spec.http[0].mirrors is not supported yet",
    expect.stringContaining("document 5: is not YAML"),
  ]);
});

test("files as people write them for Istio's bookinfo are accepted", () => {
  const text = `apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata:
  name: ratings
spec:
  hosts:
  - ratings
  http:
  - match:
    - headers:
        end-user:
          exact: jason
    fault:
      delay:
        percentage:
          value: 100.0
        fixedDelay: 7s
    route:
    - destination:
        host: ratings.default.svc.cluster.local
        subset: v1
        port:
          number: 9080
  - match:
    - uri:
        prefix: /ratings/v2/
      ignoreUriCase: true
    rewrite:
      uri: /ratings
    timeout: 0.5s
    retries: {attempts: 2, perTryTimeout: 2s}
    route:
    - destination: {host: ratings, subset: v2-mysql}
---
apiVersion: networking.istio.io/v1beta1
kind: DestinationRule
metadata:
  name: ratings
spec:
  host: ratings
  trafficPolicy:
    tls: {mode: ISTIO_MUTUAL}
    loadBalancer: {simple: RANDOM}
    connectionPool:
      tcp: {maxConnections: 1}
      http: {http1MaxPendingRequests: 1, maxRequestsPerConnection: 1}
    outlierDetection:
      consecutive5xxErrors: 1
      interval: 1s
      baseEjectionTime: 3m
      maxEjectionPercent: 100
  subsets:
  - name: v1
    labels: {version: v1}
  - name: v2-mysql
    labels: {version: v2-mysql}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: cnn}
spec:
  hosts: [edition.cnn.com]
  ports:
  - {number: 80, name: http-port, protocol: HTTP}
  - {number: 443, name: https, protocol: HTTPS}
  resolution: STATIC
  endpoints: [{address: 192.0.2.7}]
---
apiVersion: security.istio.io/v1beta1
kind: AuthorizationPolicy
metadata: {name: ratings-viewer, namespace: default}
spec:
  selector: {matchLabels: {app: ratings}}
  action: ALLOW
  rules:
  - from:
    - source:
        principals: ["cluster.local/ns/default/sa/bookinfo-reviews"]
        namespaces: ["default"]
    to:
    - operation: {methods: ["GET"], paths: ["/ratings*"], notPaths: ["*/admin"]}
    when:
    - key: request.headers[x-token]
      values: ["admin", "user-*"]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: allow-nothing, namespace: default}
spec: {}
`;
  const read = readResources(text, "bookinfo.yaml");
  expect(read.problems).toEqual([]);
  expect(read.resources.map(titleOf)).toEqual([
    "VirtualService default/ratings",
    "DestinationRule default/ratings",
    "ServiceEntry default/cnn",
    "AuthorizationPolicy default/ratings-viewer",
    "AuthorizationPolicy default/allow-nothing",
  ]);
});

test("a resource that stands twice in a file is an error", () => {
  const one = `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {}
`;
  expect(readResources(`${one}---\n${one}`, "a.yaml").problems).toMatchObject([
    { reason: "PeerAuthentication default/default stands twice" },
  ]);
});

test("an alias bomb and an endless file are refused, not expanded", () => {
  let bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n";
  for (let i = 1; i < 9; i++)
    bomb += `a${i}: &a${i} [${Array(9)
      .fill(`*a${i - 1}`)
      .join(", ")}]\n`;
  expect(readResources(bomb, "bomb.yaml").problems[0]?.reason).toContain("alias");
  expect(readResources("#".repeat(17 * 1024 * 1024), "big.yaml").problems[0]?.reason).toContain(
    "too large",
  );
});

test("an empty file holds nothing and is no error", () => {
  for (const text of ["", "---\n---\n", "# nothing\n"])
    expect(readResources(text, "empty.yaml")).toMatchObject({ resources: [], problems: [] });
});

test("a List, as kubectl prints it, is what it holds", () => {
  const text = `apiVersion: v1
kind: List
items:
- apiVersion: security.istio.io/v1
  kind: PeerAuthentication
  metadata: {name: a}
  spec: {}
- apiVersion: security.istio.io/v1
  kind: PeerAuthentication
  metadata: {name: b}
  spec: {mtl: {}}
`;
  const read = readResources(text, "list.yaml");
  expect(read.resources.map(titleOf)).toEqual(["PeerAuthentication default/a"]);
  expect(read.problems).toMatchObject([{ place: "list.yaml:11", path: "spec.mtl" }]);
});

test("what a server finds later is told with the line it stands in", () => {
  const text = `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: a}
spec:
  selector:
    matchLabels:
      "a.b/c": x
`;
  const { places } = readResources(text, "a.yaml");
  const problem = {
    document: "PeerAuthentication default/a",
    path: 'spec.selector.matchLabels["a.b/c"]',
    reason: "selects nothing",
    severity: "warning",
  } as const;
  expect(locateProblem(problem, places).place).toBe("a.yaml:7");
  expect(locateProblem({ ...problem, path: "spec" }, places).place).toBe("a.yaml:4");
  expect(locateProblem({ ...problem, document: "other" }, places).place).toBeUndefined();
});
