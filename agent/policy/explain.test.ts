import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { edited } from "../../test/support/policy-edit.ts";
import type { ExplainStep } from "../api/explain.ts";
import { checkResource } from "../api/parse-resource.ts";
import type { AuthorizationPolicySpec } from "../api/security.ts";
import { compileAuthorization } from "./authorization.ts";
import { authorizeConnection, authorizeRequest } from "./authorize.ts";
import { explain } from "./explain.ts";
import { ALL_IS_KNOWN, type Judged, type Question } from "./question.ts";
import type { Authorization, Caller, InboundPort, RequestView } from "./snapshot.ts";

const PORT: InboundPort = {
  appAddress: "10.0.0.5",
  appPort: 9080,
  protocol: "http",
  mtls: "permissive",
  services: [],
};
const STRICT: InboundPort = {
  ...PORT,
  mtls: "strict",
  mtlsBy: { policy: "istio-system/default", path: "spec.mtls.mode", selects: false },
};
const PAGE: Caller = { identity: "spiffe://lab/ns/default/sa/productpage", address: "10.0.0.1" };
const CURL: Caller = { identity: "spiffe://lab/ns/shop/sa/curl", address: "10.0.0.2" };
const STRANGER: Caller = { identity: undefined, address: "192.0.2.9" };

type Policies = Record<string, AuthorizationPolicySpec>;
const MESH = { rootNamespace: "istio-system", trustDomain: "lab" };

const judged = (policies: Policies): Judged => ({
  name: "reviews-v1",
  namespace: "default",
  identity: "spiffe://lab/ns/default/sa/reviews",
  labels: { app: "reviews" },
  authorization: compiled(policies),
});

function compiled(policies: Policies): Authorization {
  const rules = Object.entries(policies).map(([title, spec]) => {
    const [namespace = "", name = ""] = title.split("/");
    return { name, namespace, labels: {}, title, spec };
  });
  return compileAuthorization(rules, { namespace: "default", labels: { app: "reviews" } }, MESH);
}

const request = (parts: Partial<RequestView> & { headers?: Record<string, string> } = {}) => ({
  method: "GET",
  path: "/reviews/1",
  authority: "reviews:9080",
  scheme: "http",
  header: (name: string) => parts.headers?.[name],
  ...parts,
});

const OPAQUE = "an opaque connection";

const question = (
  caller: Caller,
  asked: RequestView | typeof OPAQUE = request(),
  notKept: ReadonlySet<string> = ALL_IS_KNOWN,
): Question => ({
  caller,
  destination: { port: 9080, address: "10.0.0.5" },
  request: asked === OPAQUE ? undefined : asked,
  notKept,
});

const ONLY_PAGE: Policies = {
  "default/only-page": {
    rules: [
      {
        from: [{ source: { principals: ["*/sa/productpage"] } }],
        to: [{ operation: { methods: ["GET"] } }],
      },
    ],
  },
};

describe("the first failing clause, and the line that admits", () => {
  test("another caller: the principal is named, and is what to add", () => {
    const found = explain(judged(ONLY_PAGE), PORT, question(CURL));
    expect(found.verdict).toBe("denied");
    expect(found.reason).toBe(
      "AuthorizationPolicy default/only-page does not allow it: no rule matches",
    );
    expect(found.steps.map(({ kind, name, outcome }) => [kind, name, outcome])).toEqual([
      ["PeerAuthentication", undefined, "passes"],
      ["AuthorizationPolicy", "default/only-page", "no_match"],
    ]);
    expect(found.steps[1]?.rules).toEqual([
      {
        path: "spec.rules[0]",
        outcome: "no_match",
        clauses: [
          {
            path: "from[0].source.principals",
            has: ["*/sa/productpage"],
            omitted: 0,
            asked: "lab/ns/shop/sa/curl",
          },
        ],
      },
    ]);
    expect(found.admit).toEqual([
      {
        kind: "AuthorizationPolicy",
        name: "default/only-page",
        edit: "add",
        path: "spec.rules[0].from[0].source.principals",
        value: "lab/ns/shop/sa/curl",
        widens: "the caller, to all that spec.rules[0] allows",
      },
    ]);
  });

  test("another method of the right caller: one more method", () => {
    const found = explain(judged(ONLY_PAGE), PORT, question(PAGE, request({ method: "POST" })));
    expect(found.steps[1]?.rules[0]?.clauses).toEqual([
      { path: "to[0].operation.methods", has: ["GET"], omitted: 0, asked: "POST" },
    ]);
    expect(found.admit.map(({ path, value }) => [path, value])).toEqual([
      ["spec.rules[0].to[0].operation.methods", "POST"],
    ]);
  });

  test("wrong in two ways: no rule is widened, one is added that says only this", () => {
    const found = explain(judged(ONLY_PAGE), PORT, question(CURL, request({ method: "POST" })));
    expect(found.admit).toEqual([
      {
        kind: "AuthorizationPolicy",
        name: "default/only-page",
        edit: "add",
        path: "spec.rules",
        value: {
          from: [{ source: { principals: ["lab/ns/shop/sa/curl"] } }],
          to: [{ operation: { methods: ["POST"], paths: ["/reviews/1"] } }],
        },
      },
    ]);
  });

  test("a DENY rule excepts the caller, and the ALLOW that is missing comes with it", () => {
    const policies: Policies = {
      ...ONLY_PAGE,
      "default/no-shop": {
        action: "DENY",
        rules: [{ from: [{ source: { namespaces: ["shop"] } }] }],
      },
    };
    const found = explain(judged(policies), PORT, question(CURL));
    expect(found.reason).toBe(
      "AuthorizationPolicy default/no-shop denies it: spec.rules[0] matches",
    );
    expect(found.admit.map(({ name, path, value }) => [name, path, value])).toEqual([
      ["default/no-shop", "spec.rules[0].from[0].source.notPrincipals", "lab/ns/shop/sa/curl"],
      ["default/only-page", "spec.rules[0].from[0].source.principals", "lab/ns/shop/sa/curl"],
    ]);
  });

  test("plaintext where mTLS is wanted: the resource, its mode, and an exception for this port alone", () => {
    const found = explain(judged({}), STRICT, question(STRANGER));
    expect(found.reason).toBe(
      "PeerAuthentication istio-system/default is STRICT, and the caller comes in plaintext",
    );
    expect(found.steps[0]).toMatchObject({ says: "STRICT", outcome: "refuses" });
    const [change] = found.admit;
    expect(change).toMatchObject({ edit: "create", name: "default/reviews-v1-permissive" });
    expect(checkResource(change?.value).problems).toEqual([]);
    expect(found.notes).toEqual([expect.stringContaining("give the caller an identity")]);
    expect(explain(judged({}), STRICT, question(CURL)).verdict).toBe("allowed");
  });

  test("a condition names its header, and is widened by that value alone", () => {
    const policies: Policies = {
      "default/blue": {
        rules: [{ when: [{ key: "request.headers[X-Team]", values: ["blue"] }] }],
      },
    };
    const red = explain(
      judged(policies),
      PORT,
      question(PAGE, request({ headers: { "x-team": "red" } })),
    );
    expect(red.steps[1]?.rules[0]?.clauses).toEqual([
      {
        path: "when[0].values of request.headers[x-team]",
        has: ["blue"],
        omitted: 0,
        asked: "red",
      },
    ]);
    expect(red.admit.map(({ path, value }) => [path, value])).toEqual([
      ["spec.rules[0].when[0].values", "red"],
    ]);
    const none = explain(judged(policies), PORT, question(PAGE));
    expect(none.steps[1]?.rules[0]?.clauses[0]?.asked).toBe("absent");
    expect(none.admit[0]?.path).toBe("spec.rules");
  });

  test("a value that was not kept is not guessed", () => {
    const policies: Policies = {
      "default/token": {
        rules: [{ when: [{ key: "request.headers[x-token]", values: ["s3cret"] }] }],
      },
    };
    const asked = question(PAGE, request(), new Set(["x-token"]));
    const found = explain(judged(policies), PORT, asked);
    expect(found.steps[1]).toMatchObject({ outcome: "unknown" });
    expect(found.steps[1]?.rules[0]?.clauses[0]?.asked).toBe("a value that is not kept");
    expect(found.admit[0]?.path).toBe("spec.rules");
  });

  test("who sends a pattern as his path or method is offered no line to paste", () => {
    for (const asked of [
      request({ method: "PUT", path: "/*" }),
      request({ method: "*" }),
      request({ method: "PUT", path: "/{**}" }),
    ]) {
      const { admit, notes } = explain(judged(ONLY_PAGE), PORT, question(CURL, asked));
      expect(admit).toEqual([]);
      expect(notes).toEqual([expect.stringContaining("would be read as a pattern")]);
    }
  });

  test("of more policies than are shown the one that decides is among them", () => {
    const many = Array.from({ length: 200 }, (_, i): [string, AuthorizationPolicySpec] => [
      `default/p${i}`,
      {
        action: "DENY",
        rules: [{ from: [{ source: { namespaces: [i === 199 ? "shop" : "x"] } }] }],
      },
    ]);
    const { steps, reason, notes } = explain(
      judged(Object.fromEntries(many)),
      PORT,
      question(CURL),
    );
    expect(reason).toBe("AuthorizationPolicy default/p199 denies it: spec.rules[0] matches");
    expect(steps.at(-1)).toMatchObject({ name: "default/p199", outcome: "refuses" });
    expect(steps.at(-1)?.rules).toHaveLength(1);
    expect(notes).toContain("136 further policies are not shown");
  });

  test("an opaque connection says that a rule is about HTTP", () => {
    const found = explain(judged(ONLY_PAGE), PORT, question(PAGE, OPAQUE));
    expect(found.steps[1]?.rules[0]?.clauses[0]?.asked).toBe(OPAQUE);
    expect(found.admit[0]?.value).toEqual({
      from: [{ source: { principals: ["lab/ns/default/sa/productpage"] } }],
      to: [{ operation: { ports: ["9080"] } }],
    });
  });
});

// ---- whatever the policies

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
const policies = fc
  .dictionary(fc.constantFrom("default/a", "default/b", "istio-system/c"), policySpec, {
    maxKeys: 3,
  })
  .map((all) => JSON.parse(JSON.stringify(all)) as Policies);
const caller = fc.constantFrom(PAGE, CURL, STRANGER);
const asked: fc.Arbitrary<RequestView | typeof OPAQUE> = fc.option(
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

const engineSays = (authorization: Authorization, { caller, destination, request }: Question) =>
  request === undefined
    ? authorizeConnection(authorization, caller, destination)
    : authorizeRequest(authorization, caller, destination, request);

/** Of one rule by itself: an ALLOW policy of only that, or a DENY policy. */
function ruleMatches(workload: Judged, step: ExplainStep, path: string, call: Question): boolean {
  const { deny, allow } = workload.authorization;
  const isAllow = step.says === "ALLOW";
  const policy = (isAllow ? allow : deny).find((one) => one.policy === step.name);
  const rule = policy?.rules[Number(/\d+/.exec(path)?.[0])];
  if (rule === undefined) throw new Error(`${step.name} has no ${path}`);
  const alone = [{ policy: "alone", rules: [rule] }];
  const only = isAllow ? { deny: [], allow: alone } : { deny: alone, allow: [] };
  return engineSays(only, call).allowed === isAllow;
}

describe("whatever the policies and the call", () => {
  test("the explained verdict is the enforced one, and so is each rule's", () => {
    const seen = { allowed: 0, denied: 0 };
    const holds = (specs: Policies, who: Caller, what: RequestView | typeof OPAQUE) => {
      const [workload, call] = [judged(specs), question(who, what)];
      const found = explain(workload, PORT, call);
      seen[found.verdict]++;
      const { allowed } = engineSays(workload.authorization, call);
      expect(found.verdict).toBe(allowed ? "allowed" : "denied");
      for (const step of found.steps.slice(1)) {
        for (const { path, outcome, clauses } of step.rules) {
          const matches = ruleMatches(workload, step, path, call);
          expect([step.name, path, outcome]).toEqual([
            step.name,
            path,
            matches ? "match" : "no_match",
          ]);
          expect(clauses.length > 0).toBe(!matches);
        }
      }
    };
    fc.assert(fc.property(policies, caller, asked, holds), { numRuns: 3_000 });
    expect(Math.min(seen.allowed, seen.denied)).toBeGreaterThan(200);
  });

  test("the edits that are offered are valid and admit the call, and where they say so nobody else", () => {
    const seen = { edited: 0, narrow: 0 };
    const holds = (
      specs: Policies,
      who: Caller,
      what: RequestView | typeof OPAQUE,
      other: RequestView | typeof OPAQUE,
    ) => {
      const [workload, call] = [judged(specs), question(who, what)];
      const { verdict, admit, notes } = explain(workload, PORT, call);
      // Allowed: nothing to say. Denied: an edit, or why there is none.
      expect(admit.length + notes.length > 0).toBe(verdict === "denied");
      if (admit.length === 0) return;
      seen.edited++;
      const after = afterChanges(specs, admit);
      for (const [name, spec] of Object.entries(after))
        expect(problemsOf(spec)).toEqual(problemsOf(specs[name] ?? {}));
      expect(engineSays(compiled(after), call).allowed).toBe(true);
      if (admit.some(({ widens }) => widens !== undefined)) return;
      seen.narrow++;
      for (const somebody of [PAGE, CURL, STRANGER].filter((one) => one !== who)) {
        const theirs = question(somebody, other);
        const before = engineSays(workload.authorization, theirs).allowed;
        expect(engineSays(compiled(after), theirs).allowed).toBe(before);
      }
    };
    fc.assert(fc.property(policies, caller, asked, asked, holds), { numRuns: 3_000 });
    expect(seen.edited).toBeGreaterThan(500);
    expect(seen.narrow).toBeGreaterThan(100);
  });
});

function afterChanges(specs: Policies, changes: ReturnType<typeof explain>["admit"]): Policies {
  const after: Policies = { ...specs };
  for (const change of changes) {
    const resource = edited({ spec: after[change.name] }, change) as {
      spec: AuthorizationPolicySpec;
    };
    after[change.name] = resource.spec;
  }
  return after;
}

const problemsOf = (spec: AuthorizationPolicySpec) =>
  checkResource({
    apiVersion: "security.istio.io/v1",
    kind: "AuthorizationPolicy",
    metadata: { name: "p", namespace: "default" },
    spec,
  }).problems.map(({ path, reason }) => `${path} ${reason}`);
