import { describe, expect, test } from "bun:test";
import type { Authorization, AuthorizationRule } from "./authorization-rules.ts";
import { authorizeConnection, authorizeRequest, isOpen } from "./authorize.ts";
import { matchesPattern } from "./clauses.ts";
import type { Caller, RequestView } from "./request-view.ts";

const PAGE: Caller = { identity: "spiffe://lab/ns/default/sa/productpage", address: "10.0.0.1" };
const CURL: Caller = { identity: "spiffe://lab/ns/shop/sa/curl", address: "10.0.0.2" };
const STRANGER: Caller = { identity: undefined, address: "192.0.2.9" };
const AT = { port: 9080, address: "10.0.0.5" };
const GET: RequestView = {
  method: "GET",
  path: "/reviews/1?x=/admin",
  authority: "Reviews:9080",
  scheme: "http",
  header: (name) => (name === "x-team" ? "blue" : undefined),
};

const rule = (given: Partial<AuthorizationRule> = {}): AuthorizationRule => ({
  from: [],
  to: [],
  when: [],
  ...given,
});
const allow = (...rules: AuthorizationRule[]): Authorization => ({
  deny: [],
  allow: [{ policy: "default/allow", rules }],
});
const deny = (...rules: AuthorizationRule[]): Authorization => ({
  deny: [{ policy: "default/deny", rules }],
  allow: [],
});
const may = (policy: Authorization, caller: Caller, request = GET): boolean =>
  authorizeRequest(policy, caller, AT, request).allowed;

describe("order", () => {
  test("no policy at all admits everybody", () => {
    const none: Authorization = { deny: [], allow: [] };
    expect(isOpen(none)).toBe(true);
    expect(may(none, STRANGER)).toBe(true);
    expect(authorizeConnection(none, STRANGER, AT)).toEqual({ allowed: true });
  });

  test("ALLOW without rules admits nobody, with one empty rule everybody", () => {
    expect(may(allow(), PAGE)).toBe(false);
    expect(may(allow(rule()), STRANGER)).toBe(true);
  });

  test("DENY without rules denies nobody, with one empty rule everybody", () => {
    expect(may(deny(), STRANGER)).toBe(true);
    expect(may(deny(rule()), PAGE)).toBe(false);
  });

  test("DENY goes before ALLOW, and is what the refusal names", () => {
    const both = { ...allow(rule()), deny: deny(rule()).deny };
    expect(authorizeRequest(both, PAGE, AT, GET)).toEqual({
      allowed: false,
      policy: "default/deny",
      reason: "denied by default/deny",
    });
  });

  test("a refusal for want of an ALLOW names all that did not admit; an admission names the one that did", () => {
    const two: Authorization = {
      deny: [],
      allow: [
        { policy: "default/a", rules: [] },
        { policy: "istio-system/b", rules: [rule({ from: [{ namespaces: ["default"] }] })] },
      ],
    };
    expect(authorizeRequest(two, CURL, AT, GET)).toEqual({
      allowed: false,
      policy: "default/a, istio-system/b",
      reason: "not allowed by default/a, istio-system/b",
    });
    expect(authorizeRequest(two, PAGE, AT, GET)).toEqual({
      allowed: true,
      policy: "istio-system/b",
    });
  });
});

describe("source", () => {
  const from = (source: AuthorizationRule["from"][number]) => allow(rule({ from: [source] }));

  test("principals are identities without spiffe://; a caller without one matches none, not even *", () => {
    expect(may(from({ principals: ["lab/ns/default/sa/productpage"] }), PAGE)).toBe(true);
    expect(may(from({ principals: ["lab/ns/default/*"] }), CURL)).toBe(false);
    expect(may(from({ principals: ["*"] }), CURL)).toBe(true);
    expect(may(from({ principals: ["*"] }), STRANGER)).toBe(false);
    expect(may(from({ principals: ["*/sa/curl"] }), CURL)).toBe(true);
  });

  test("notPrincipals holds for a caller without identity", () => {
    expect(may(from({ notPrincipals: ["*"] }), STRANGER)).toBe(true);
    expect(may(from({ notPrincipals: ["*"] }), PAGE)).toBe(false);
  });

  test("namespaces come from the identity", () => {
    expect(may(from({ namespaces: ["default", "x*"] }), PAGE)).toBe(true);
    expect(may(from({ namespaces: ["default"] }), CURL)).toBe(false);
    expect(may(from({ notNamespaces: ["shop"] }), CURL)).toBe(false);
    expect(may(from({ namespaces: ["*"] }), STRANGER)).toBe(false);
  });

  test("ipBlocks are where the connection comes from", () => {
    expect(may(from({ ipBlocks: ["10.0.0.0/31"] }), PAGE)).toBe(true);
    expect(may(from({ ipBlocks: ["10.0.0.0/31"] }), CURL)).toBe(false);
    expect(may(from({ notIpBlocks: ["192.0.2.9"] }), STRANGER)).toBe(false);
    expect(may(from({ ipBlocks: ["::/0"] }), PAGE)).toBe(false);
  });

  test("within one source all must hold, of several sources any", () => {
    const strict = { principals: ["*"], ipBlocks: ["192.0.2.0/24"] };
    expect(may(from(strict), PAGE)).toBe(false);
    expect(may(allow(rule({ from: [strict, { namespaces: ["default"] }] })), PAGE)).toBe(true);
  });
});

describe("operation", () => {
  const to = (operation: AuthorizationRule["to"][number]) => allow(rule({ to: [operation] }));

  test("methods, ports and paths; a path never sees the query", () => {
    expect(may(to({ methods: ["GET"], ports: [9080], paths: ["/reviews/*"] }), PAGE)).toBe(true);
    expect(may(to({ methods: ["get"] }), PAGE)).toBe(false);
    expect(may(to({ ports: [80] }), PAGE)).toBe(false);
    expect(may(to({ notPorts: [9080] }), PAGE)).toBe(false);
    expect(may(to({ paths: ["*/admin"] }), PAGE)).toBe(false);
    expect(may(to({ notPaths: ["/reviews/1"] }), PAGE)).toBe(false);
    expect(may(to({ notMethods: ["DELETE"] }), PAGE)).toBe(true);
  });

  test("hosts are compared without regard to case, their port included", () => {
    expect(may(to({ hosts: ["reviews:9080"] }), PAGE)).toBe(true);
    expect(may(to({ hosts: ["REVIEWS:*"] }), PAGE)).toBe(true);
    expect(may(to({ hosts: ["reviews"] }), PAGE)).toBe(false);
    expect(may(to({ notHosts: ["reviews*"] }), PAGE)).toBe(false);
  });
});

describe("when", () => {
  const when = (...conditions: AuthorizationRule["when"]) => allow(rule({ when: conditions }));
  const team = { is: "header", name: "x-team" } as const;

  test("every condition must hold", () => {
    expect(may(when({ key: team, values: ["blue", "red"] }), PAGE)).toBe(true);
    expect(may(when({ key: team, values: ["red"] }), PAGE)).toBe(false);
    expect(
      may(
        when(
          { key: team, values: ["blue"] },
          { key: { is: "source.namespace" }, values: ["shop"] },
        ),
        PAGE,
      ),
    ).toBe(false);
  });

  test("an absent header has no value: values fail, notValues hold", () => {
    const absent = { is: "header", name: "x-absent" } as const;
    expect(may(when({ key: absent, values: ["*"] }), PAGE)).toBe(false);
    expect(may(when({ key: absent, notValues: ["*"] }), PAGE)).toBe(true);
  });

  test("source.ip takes blocks, the rest patterns", () => {
    expect(may(when({ key: { is: "source.ip" }, values: ["10.0.0.0/24"] }), PAGE)).toBe(true);
    expect(may(when({ key: { is: "source.ip" }, notValues: ["10.0.0.0/24"] }), PAGE)).toBe(false);
    expect(may(when({ key: { is: "source.principal" }, values: ["*/productpage"] }), PAGE)).toBe(
      true,
    );
    expect(may(when({ key: { is: "destination.port" }, values: ["9080"] }), PAGE)).toBe(true);
    expect(may(when({ key: { is: "destination.port" }, notValues: ["90*"] }), PAGE)).toBe(false);
  });
});

describe("opaque TCP", () => {
  const connects = (policy: Authorization, caller: Caller): boolean =>
    authorizeConnection(policy, caller, AT).allowed;
  const readers = rule({ from: [{ namespaces: ["default"] }], to: [{ methods: ["GET"] }] });

  test("an ALLOW rule with any HTTP part never matches, even if another operation would", () => {
    expect(connects(allow(readers), PAGE)).toBe(false);
    expect(connects(allow(rule({ to: [{ ports: [9080] }, { paths: ["/"] }] })), PAGE)).toBe(false);
    expect(connects(allow(rule({ to: [{ ports: [9080] }] })), PAGE)).toBe(true);
    const when = [{ key: { is: "header", name: "x" }, notValues: ["y"] }] as const;
    expect(connects(allow(rule({ when })), PAGE)).toBe(false);
  });

  test("a DENY rule is matched without its HTTP parts", () => {
    expect(connects(deny(readers), PAGE)).toBe(false);
    expect(connects(deny(readers), CURL)).toBe(true);
    expect(connects(deny(rule({ to: [{ methods: ["GET"], ports: [1] }] })), PAGE)).toBe(true);
  });
});

test("patterns: exact, prefix*, *suffix, and * for anything that is not empty", () => {
  expect(["a", "a*", "*a", "*"].map((pattern) => matchesPattern(pattern, "a"))).toEqual([
    true,
    true,
    true,
    true,
  ]);
  expect(matchesPattern("*", "")).toBe(false);
  expect(matchesPattern("a*c", "abc")).toBe(false);
});
