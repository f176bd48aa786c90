import { describe, expect, test } from "bun:test";
import {
  CURL,
  judged,
  OPAQUE,
  PAGE,
  PORT,
  type Policies,
  question,
  request,
  STRANGER,
  STRICT,
} from "../../test/support/policy-calls.ts";
import { checkResource } from "../api/parse-resource.ts";
import type { AuthorizationPolicySpec } from "../api/security.ts";
import { explain } from "./explain.ts";

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

  test("a condition on the server name of TLS says which was asked for, and is widened by it alone", () => {
    const named: Policies = {
      "default/names": { rules: [{ when: [{ key: "connection.sni", values: ["a.example"] }] }] },
    };
    const found = explain(judged(named), PORT, question(PAGE, OPAQUE));
    expect(found.verdict).toBe("denied");
    expect(found.steps[1]?.rules[0]?.clauses).toEqual([
      { path: "when[0].values of connection.sni", has: ["a.example"], omitted: 0, asked: "blue" },
    ]);
    expect(found.admit.map(({ path, value }) => [path, value])).toEqual([
      ["spec.rules[0].when[0].values", "blue"],
    ]);
    const nameless = { ...question(PAGE, OPAQUE), serverName: undefined };
    const refused = explain(judged(named), PORT, nameless);
    expect(refused.steps[1]?.rules[0]?.clauses[0]?.asked).toBe("no server name");
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
