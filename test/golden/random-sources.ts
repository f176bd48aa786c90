// Sources at random: mostly well formed, contradictory, pointing at what is not there, and now and then plain nonsense, as a newer
// or broken server might send.
import fc from "fast-check";
import type { CatalogEndpoint, CatalogService, ResourceDocument } from "../../agent/api/session.ts";
import { PortBook, SlotBook } from "../../agent/policy/books.ts";
import type { CompileInput } from "../../agent/policy/compile.ts";

const HOSTS = [
  "reviews",
  "reviews.default",
  "ratings.shop.mesh",
  "gone",
  "*.default.mesh",
  "x.example",
];
const NAMESPACES = ["default", "shop", "istio-system", "dev"];
const pick = <T>(...values: T[]) => fc.constantFrom(...values);
const some = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });
const labels = fc.dictionary(pick("app", "version"), pick("reviews", "v1", "v2", ""), {
  maxKeys: 2,
});
const host = pick(...HOSTS);
const port = pick(80, 9080, 7000);
const match = fc.record({
  exact: some(pick("/a", "")),
  prefix: some(pick("/")),
  regex: some(pick("a+", "(")),
});
const destination = fc.record({
  host,
  subset: some(pick("v1", "v9")),
  port: some(fc.record({ number: port })),
});
const route = fc.array(fc.record({ destination, weight: some(fc.nat(100)) }), { maxLength: 3 });
const duration = pick("1s", "250ms", "nonsense", "0");
const policy = fc.record({
  loadBalancer: some(
    fc.oneof(
      fc.record({ simple: pick("RANDOM", "ROUND_ROBIN") }),
      fc.record({ consistentHash: fc.record({ httpHeaderName: some(pick("X-A")) }) }),
    ),
  ),
  outlierDetection: some(
    fc.record({ interval: some(duration), consecutive5xxErrors: some(fc.nat(9)) }),
  ),
  connectionPool: some(fc.record({ tcp: some(fc.record({ connectTimeout: some(duration) })) })),
  tls: some(fc.record({ mode: pick("DISABLE", "ISTIO_MUTUAL") })),
  portLevelSettings: some(
    fc.array(fc.record({ port: fc.record({ number: port }) }), { maxLength: 2 }),
  ),
});
const mtls = fc.record({ mode: pick("UNSET", "STRICT", "DISABLE", "PERMISSIVE") });
const patterns = some(
  fc.array(pick("*", "a*", "lab/ns/default/sa/a", "cluster.local/ns/x/sa/y"), {
    minLength: 1,
    maxLength: 2,
  }),
);

const SPECS: Record<string, fc.Arbitrary<unknown>> = {
  VirtualService: fc.record({
    hosts: fc.array(host, { maxLength: 3 }),
    http: some(
      fc.array(
        fc.record({
          match: some(
            fc.array(
              fc.record({
                uri: some(match),
                port: some(port),
                sourceLabels: some(labels),
                headers: some(fc.dictionary(pick("a", "B"), match)),
              }),
              { maxLength: 2 },
            ),
          ),
          route: some(route),
          redirect: some(fc.record({ uri: some(pick("/x")) })),
          timeout: some(duration),
          retries: some(
            fc.record({ attempts: fc.nat(3), retryOn: some(pick("5xx,503", "", "what")) }),
          ),
          fault: some(fc.record({ abort: some(fc.record({ httpStatus: fc.constant(500) })) })),
        }),
        { maxLength: 3 },
      ),
    ),
    tcp: some(
      fc.array(
        fc.record({
          match: some(
            fc.array(
              fc.record({
                port: some(port),
                destinationSubnets: some(fc.array(pick("10.0.0.0/8", "bad"))),
              }),
              { maxLength: 2 },
            ),
          ),
          route,
        }),
        { maxLength: 2 },
      ),
    ),
    tls: some(
      fc.array(
        fc.record({
          match: fc.array(
            fc.record({
              port: some(port),
              sniHosts: fc.array(pick("reviews", "*.x.example", "A.x.example", "*"), {
                maxLength: 2,
              }),
            }),
            { maxLength: 2 },
          ),
          route,
        }),
        { maxLength: 2 },
      ),
    ),
  }),
  DestinationRule: fc.record({
    host,
    trafficPolicy: some(policy),
    subsets: some(
      fc.array(
        fc.record({ name: pick("v1", "v2"), labels: some(labels), trafficPolicy: some(policy) }),
        { maxLength: 3 },
      ),
    ),
  }),
  ServiceEntry: fc.record({
    hosts: fc.array(pick("x.example", "reviews.default.mesh", "X.Example.", "*.x.example"), {
      maxLength: 2,
    }),
    addresses: some(fc.array(pick("192.0.2.1", "192.0.2.0/24", "junk"), { maxLength: 2 })),
    ports: fc.array(fc.record({ number: port, name: pick("http", "tcp-x", "tls") }), {
      maxLength: 2,
    }),
    resolution: pick("STATIC", "DNS", "NONE", undefined),
    endpoints: some(
      fc.array(fc.record({ address: pick("192.0.2.7", "fd00::7", "name") }), { maxLength: 2 }),
    ),
    workloadSelector: some(fc.record({ labels })),
  }),
  WorkloadEntry: fc.record({ address: pick("10.9.9.9", "x"), labels: some(labels) }),
  PeerAuthentication: fc.record({
    selector: some(fc.record({ matchLabels: some(labels) })),
    mtls: some(mtls),
    portLevelMtls: some(fc.dictionary(pick("80", "9080", "x"), mtls)),
  }),
  AuthorizationPolicy: fc.record({
    selector: some(fc.record({ matchLabels: some(labels) })),
    action: some(pick("ALLOW", "DENY")),
    rules: some(
      fc.array(
        fc.record({
          from: some(
            fc.array(
              fc.record({
                source: fc.record({
                  principals: patterns,
                  notPrincipals: patterns,
                  ipBlocks: some(fc.array(pick("10.0.0.0/8", "?"))),
                }),
              }),
              { maxLength: 2 },
            ),
          ),
          to: some(
            fc.array(
              fc.record({
                operation: fc.record({ methods: patterns, ports: some(fc.array(pick("80", "x"))) }),
              }),
              { maxLength: 2 },
            ),
          ),
          when: some(
            fc.array(
              fc.record({
                key: pick(
                  "request.headers[a]",
                  "source.ip",
                  "source.principal",
                  "connection.sni",
                  "odd",
                ),
                values: patterns,
              }),
              { maxLength: 2 },
            ),
          ),
        }),
        { maxLength: 3 },
      ),
    ),
  }),
  RateLimit: fc.record({
    selector: some(fc.record({ matchLabels: some(labels) })),
    limits: fc.array(
      fc.record({
        name: pick("a", "b"),
        to: some(fc.array(fc.record({ operation: fc.record({ methods: patterns }) }))),
        by: some(fc.record({ identity: some(fc.constant(true)), header: some(pick("X-User")) })),
        requests: fc.integer({ min: 1, max: 1_000_000 }),
        per: some(pick("1s", "1h", "junk")),
        burst: some(fc.integer({ min: 1, max: 1_000_000 })),
      }),
      { maxLength: 3 },
    ),
  }),
  Workload: fc.record({
    hosts: fc.array(pick("vm1", "vm2"), { maxLength: 2 }),
    serviceAccount: pick("a", "b"),
    process: fc.record({ user: pick("u1", "u2") }),
    services: some(
      fc.array(
        fc.record({
          name: pick("reviews", "ratings"),
          ports: fc.array(
            fc.record({ port, targetPort: some(port), protocol: some(pick("HTTP", "TCP")) }),
            { maxLength: 2 },
          ),
        }),
        { maxLength: 2 },
      ),
    ),
  }),
  Gadget: fc.constant({}),
};

const resource: fc.Arbitrary<ResourceDocument> = fc
  .constantFrom(...Object.keys(SPECS))
  .chain((kind) =>
    fc.record({
      apiVersion: fc.constant("any/v1"),
      kind: fc.constant(kind),
      metadata: fc.record({ name: pick("a", "b", "c"), namespace: pick(...NAMESPACES), labels }),
      spec: fc.oneof(
        { weight: 20, arbitrary: SPECS[kind] ?? fc.constant({}) },
        { weight: 1, arbitrary: pick<unknown>(null, 7, "x") },
      ),
    }),
  );
const service: fc.Arbitrary<CatalogService> = fc.record({
  host: pick("reviews.default.mesh", "ratings.shop.mesh", "db.dev.mesh", "x.example"),
  name: pick("reviews", "ratings", "db", "x.example"),
  namespace: pick(...NAMESPACES),
  vip4: pick("240.240.0.1", "240.240.0.2", ""),
  vip6: pick("2001:2::1", "", "junk"),
  ports: fc.array(
    fc.record({ port, name: pick("http", "", "grpc"), protocol: pick("HTTP", "", "ODD") }),
    { maxLength: 3 },
  ),
});
const endpoint: fc.Arbitrary<CatalogEndpoint> = fc.record({
  address: pick("10.0.0.1", "fd00::1", "FD00:0::1", "junk"),
  host: pick("vm1", "vm2"),
  workload: pick("a", "b", ""),
  namespace: pick(...NAMESPACES),
  serviceAccount: pick("a", ""),
  labels,
  weight: fc.nat(3),
  ports: fc.array(fc.record({ port, targetPort: port }), { maxLength: 2 }),
  hasAgent: fc.boolean(),
});
export const anyInput: fc.Arbitrary<CompileInput> = fc
  .record({
    resources: fc.array(resource, { maxLength: 12 }),
    services: fc.array(service, { maxLength: 4 }),
    listed: fc.array(
      fc.tuple(pick("reviews.default.mesh", "x.example"), fc.array(endpoint, { maxLength: 4 })),
    ),
    capacity: pick(5, 50, 5000),
  })
  .map(({ listed, capacity, ...rest }) => ({
    epoch: 1,
    version: 1,
    mesh: { trustDomain: "lab", rootNamespace: "istio-system", outboundPolicy: "allow_any" },
    host: { name: "vm1", addresses: ["10.0.0.1", "FD00::1"] },
    endpoints: new Map(listed),
    slots: new SlotBook(0, capacity).draft(),
    ports: new PortBook().draft(),
    ...rest,
  }));
