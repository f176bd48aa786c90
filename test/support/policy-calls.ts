// A small mesh of policies and calls, some at random: what tests of enforcement and of its explanation share.
import fc from "fast-check";
import type { AuthorizationPolicySpec } from "../../agent/api/security.ts";
import { compileAuthorization } from "../../agent/policy/authorization.ts";
import type { Authorization } from "../../agent/policy/authorization-rules.ts";
import { authorizeConnection, authorizeRequest } from "../../agent/policy/authorize.ts";
import { ALL_IS_KNOWN, type Judged, type Question } from "../../agent/policy/question.ts";
import type { Caller, RequestView } from "../../agent/policy/request-view.ts";
import type { InboundPort } from "../../agent/policy/snapshot.ts";

export const PORT: InboundPort = {
  appAddress: "10.0.0.5",
  appPort: 9080,
  protocol: "http",
  mtls: "permissive",
  services: [],
};
export const STRICT: InboundPort = {
  ...PORT,
  mtls: "strict",
  mtlsBy: { policy: "istio-system/default", path: "spec.mtls.mode", selects: false },
};
export const PAGE: Caller = {
  identity: "spiffe://lab/ns/default/sa/productpage",
  address: "10.0.0.1",
};
export const CURL: Caller = { identity: "spiffe://lab/ns/shop/sa/curl", address: "10.0.0.2" };
export const STRANGER: Caller = { identity: undefined, address: "192.0.2.9" };

export type Policies = Record<string, AuthorizationPolicySpec>;
const MESH = { rootNamespace: "istio-system", trustDomain: "lab" };

export const judged = (policies: Policies): Judged => ({
  name: "reviews-v1",
  namespace: "default",
  identity: "spiffe://lab/ns/default/sa/reviews",
  labels: { app: "reviews" },
  authorization: compiled(policies),
});

export function compiled(policies: Policies): Authorization {
  const rules = Object.entries(policies).map(([title, spec]) => {
    const [namespace = "", name = ""] = title.split("/");
    return { name, namespace, labels: {}, title, spec };
  });
  return compileAuthorization(rules, { namespace: "default", labels: { app: "reviews" } }, MESH);
}

export const request = (
  parts: Partial<RequestView> & { headers?: Record<string, string> } = {},
) => ({
  method: "GET",
  path: "/reviews/1",
  authority: "reviews:9080",
  scheme: "http",
  header: (name: string) => parts.headers?.[name],
  ...parts,
});

export const OPAQUE = "an opaque connection";

export const question = (
  caller: Caller,
  asked: RequestView | typeof OPAQUE = request(),
  notKept: ReadonlySet<string> = ALL_IS_KNOWN,
): Question => ({
  caller,
  destination: { port: 9080, address: "10.0.0.5" },
  request: asked === OPAQUE ? undefined : asked,
  serverName: asked === OPAQUE ? "blue" : undefined,
  notKept,
});

const some = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });
const someOf = (...values: string[]) =>
  some(fc.array(fc.constantFrom(...values), { minLength: 1, maxLength: 2 }));
const principals = someOf("*", "*/sa/curl", "lab/ns/default/*", "cluster.local/ns/shop/sa/curl");
const blocks = someOf("10.0.0.0/31", "192.0.2.9", "::/0", "10.0.0.2/32");
const source = fc.record({
  principals,
  notPrincipals: principals,
  namespaces: someOf("default", "sh*", "*"),
  notNamespaces: someOf("shop", "x"),
  ipBlocks: blocks,
  notIpBlocks: blocks,
});
const operation = fc.record({
  hosts: someOf("reviews:*", "other", "*"),
  notHosts: someOf("other"),
  ports: someOf("9080", "1"),
  notPorts: someOf("9080", "1"),
  methods: someOf("GET", "POST", "P*"),
  notMethods: someOf("DELETE"),
  paths: someOf("/reviews/*", "*/1", "/admin"),
  notPaths: someOf("/reviews/2"),
});
const condition = fc.record({
  key: fc.constantFrom(
    "request.headers[x-team]",
    "source.namespace",
    "source.principal",
    "destination.port",
    "connection.sni",
  ),
  values: someOf("*", "blue", "9080", "default"),
  notValues: someOf("red", "shop"),
});
const list = <T>(one: fc.Arbitrary<T>) => some(fc.array(one, { minLength: 1, maxLength: 2 }));
const policySpec = fc.record({
  action: fc.constantFrom("ALLOW" as const, "DENY" as const),
  rules: some(
    fc.array(
      fc.record({
        from: list(source.map((one) => ({ source: one }))),
        to: list(operation.map((one) => ({ operation: one }))),
        when: list(condition),
      }),
      { maxLength: 3 },
    ),
  ),
});
/** Sparse, or hardly anything would ever match. */
export const policies = fc
  .dictionary(fc.constantFrom("default/a", "default/b", "istio-system/c"), policySpec, {
    maxKeys: 3,
  })
  .map((all) => JSON.parse(JSON.stringify(all)) as Policies);
export const caller = fc.constantFrom(PAGE, CURL, STRANGER);
export const asked: fc.Arbitrary<RequestView | typeof OPAQUE> = fc.option(
  fc
    .record({
      method: fc.constantFrom("GET", "POST", "DELETE", "*"),
      path: fc.constantFrom("/reviews/1", "/reviews/2?x=/admin", "/admin", "/a*"),
      authority: fc.constantFrom("reviews:9080", "Other", ""),
      headers: fc.constantFrom({}, { "x-team": "blue" }, { "x-team": "red" }),
    })
    .map(request),
  { nil: OPAQUE as typeof OPAQUE },
);

export const engineSays = (
  authorization: Authorization,
  { caller, destination, request, serverName }: Question,
) =>
  request === undefined
    ? authorizeConnection(authorization, caller, destination, serverName)
    : authorizeRequest(authorization, caller, destination, request);
