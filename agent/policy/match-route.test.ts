import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { NO_HEADERS } from "./default-route.ts";
import { matchesHttp, pickDestination, routeHttp, routeTcp } from "./match-route.ts";
import type { RequestView } from "./request-view.ts";
import type { HttpMatch, HttpRoute, ServicePort, Snapshot } from "./snapshot.ts";
import { Tables } from "./tables.ts";

const request = (given: Partial<RequestView> & { headers?: Record<string, string> } = {}) => ({
  method: "GET",
  path: "/",
  authority: "reviews:9080",
  scheme: "http",
  header: (name: string) => given.headers?.[name],
  ...given,
});

const uri = (value: string, is: "exact" | "prefix" | "regex" = "exact"): HttpMatch => ({
  uri: { is, value },
});

describe("uri", () => {
  test("exact and regex see the path without its query, and the whole of it", () => {
    expect(matchesHttp(uri("/a"), request({ path: "/a?b=/a" }))).toBe(true);
    expect(matchesHttp(uri("/a"), request({ path: "/a/b" }))).toBe(false);
    expect(matchesHttp(uri("/a|/b", "regex"), request({ path: "/b?x" }))).toBe(true);
    expect(matchesHttp(uri("/a", "regex"), request({ path: "/ab" }))).toBe(false);
    expect(matchesHttp(uri("a", "regex"), request({ path: "/a" }))).toBe(false);
  });

  test("a prefix is text, not segments", () => {
    expect(matchesHttp(uri("/foo", "prefix"), request({ path: "/foobar" }))).toBe(true);
    expect(matchesHttp(uri("/foo", "prefix"), request({ path: "/fo" }))).toBe(false);
  });

  test("case counts unless ignoreUriCase, which does not reach regexes", () => {
    expect(matchesHttp(uri("/Foo"), request({ path: "/foo" }))).toBe(false);
    const loose = { ignoreUriCase: true };
    expect(matchesHttp({ ...uri("/Foo"), ...loose }, request({ path: "/fOO" }))).toBe(true);
    expect(matchesHttp({ ...uri("/F", "prefix"), ...loose }, request({ path: "/foo" }))).toBe(true);
    expect(matchesHttp({ ...uri("/F", "regex"), ...loose }, request({ path: "/f" }))).toBe(false);
  });

  test("a regex that RE2 does not know never matches, and a hostile one ends", () => {
    expect(matchesHttp(uri("(?=a)", "regex"), request({ path: "a" }))).toBe(false);
    const evil = uri("/(a+)+b", "regex");
    expect(matchesHttp(evil, request({ path: `/${"a".repeat(5000)}` }))).toBe(false);
  });
});

describe("headers and the rest", () => {
  const header = (name: string, value?: string): HttpMatch => ({
    headers: [{ name, match: value === undefined ? { is: "present" } : { is: "exact", value } }],
  });

  test("a header must be there and hold; an empty one is there", () => {
    expect(
      matchesHttp(header("end-user", "jason"), request({ headers: { "end-user": "jason" } })),
    ).toBe(true);
    expect(matchesHttp(header("end-user", "jason"), request())).toBe(false);
    expect(matchesHttp(header("x"), request({ headers: { x: "" } }))).toBe(true);
    expect(matchesHttp(header("x"), request())).toBe(false);
  });

  test("withoutHeaders must not hold; an absent header never does", () => {
    const without: HttpMatch = {
      withoutHeaders: [{ name: "x", match: { is: "prefix", value: "a" } }],
    };
    expect(matchesHttp(without, request())).toBe(true);
    expect(matchesHttp(without, request({ headers: { x: "abc" } }))).toBe(false);
    expect(matchesHttp(without, request({ headers: { x: "cba" } }))).toBe(true);
  });

  test("all that is given must hold", () => {
    const all: HttpMatch = {
      ...uri("/a"),
      method: { is: "exact", value: "POST" },
      authority: { is: "prefix", value: "reviews" },
      scheme: { is: "exact", value: "http" },
    };
    expect(matchesHttp(all, request({ path: "/a", method: "POST" }))).toBe(true);
    expect(matchesHttp(all, request({ path: "/a", method: "post" }))).toBe(false);
    expect(matchesHttp(all, request({ path: "/a", method: "POST", scheme: "https" }))).toBe(false);
    expect(matchesHttp(all, request({ path: "/a", method: "POST", authority: "x" }))).toBe(false);
  });

  test("query parameters: the first of the name, undecoded; one without a value is empty", () => {
    const wants = (name: string, value: string): HttpMatch => ({
      queryParams: [{ name, match: { is: "exact", value } }],
    });
    expect(matchesHttp(wants("a", "1"), request({ path: "/?b=2&a=1&a=3" }))).toBe(true);
    expect(matchesHttp(wants("a", "3"), request({ path: "/?a=1&a=3" }))).toBe(false);
    expect(matchesHttp(wants("a", "%41"), request({ path: "/?a=%41" }))).toBe(true);
    expect(matchesHttp(wants("a", ""), request({ path: "/?a" }))).toBe(true);
    expect(matchesHttp(wants("a", "1"), request({ path: "/a=1" }))).toBe(false);
    expect(matchesHttp(wants("a", "b=c"), request({ path: "/?a=b=c" }))).toBe(true);
  });
});

const route = (name: string, ...matches: HttpMatch[]): HttpRoute => ({
  name,
  matches,
  action: { is: "direct", status: 200, body: name },
  headers: NO_HEADERS,
});
const port = (...httpRoutes: HttpRoute[]): ServicePort => ({
  port: 80,
  name: "http",
  protocol: "http",
  httpRoutes,
  tcpRoutes: [],
  cluster: 7,
});
const workload = (namespace: string, labels: Record<string, string>) => ({
  name: "w",
  namespace,
  identity: "",
  serviceAccount: "",
  labels,
  selector: { is: "uid" as const, uid: 1 },
  outboundPort: 15101,
  ports: [],
  authorization: { deny: [], allow: [] },
});
const tables = new Tables({
  workloads: [
    workload("default", { app: "a", version: "v1" }),
    workload("shop", { app: "b" }),
    workload("constructor", { constructor: "c" }),
  ],
  services: [],
  endpoints: [],
  clusters: [],
  host: { name: "", identity: "", addresses: [] },
} as unknown as Snapshot);

describe("routes of a port", () => {
  test("the first that matches takes it; none leaves a gap", () => {
    const routes = port(route("one", uri("/a")), route("two", uri("/b"), uri("/c")));
    expect(routeHttp(tables, 0, routes, request({ path: "/c" }))?.name).toBe("two");
    expect(routeHttp(tables, 0, routes, request({ path: "/a" }))?.name).toBe("one");
    expect(routeHttp(tables, 0, routes, request({ path: "/d" }))).toBeUndefined();
  });

  test("source labels and namespace choose by who calls; a process of no workload has neither", () => {
    const routes = port(
      route("labels", { sourceLabels: { app: "a" } }),
      route("namespace", { sourceNamespace: "shop" }),
      route("rest"),
    );
    expect(routeHttp(tables, 0, routes, request())?.name).toBe("labels");
    expect(routeHttp(tables, 1, routes, request())?.name).toBe("namespace");
    expect(routeHttp(tables, undefined, routes, request())?.name).toBe("rest");
  });

  test("rules that speak of other callers only leave the default route", () => {
    const routes = port(route("labels", { sourceLabels: { app: "a" }, ...uri("/x") }));
    expect(routeHttp(tables, 1, routes, request())?.name).toBe("default");
    expect(routeHttp(tables, 0, routes, request())).toBeUndefined();
  });

  test("a namespace with a view of its own is routed by it", () => {
    const routes: ServicePort = {
      ...port(route("common")),
      inNamespace: { shop: { httpRoutes: [route("own")], tcpRoutes: [], cluster: 9 } },
    };
    expect(routeHttp(tables, 1, routes, request())?.name).toBe("own");
    expect(routeHttp(tables, 0, routes, request())?.name).toBe("common");
    expect(routeHttp(tables, 2, routes, request())?.name).toBe("common");
    expect([tables.clusterFor(1, routes), tables.clusterFor(0, routes)]).toEqual([9, 7]);
  });

  test("TCP routes are chosen by the address that was dialled", () => {
    const routes: ServicePort = {
      ...port(),
      tcpRoutes: [
        {
          name: "near",
          matches: [{ destinationCidrs: ["10.0.0.0/8", "fd00::/8"] }],
          destinations: [],
        },
        { name: "rest", matches: [], destinations: [] },
      ],
    };
    expect(routeTcp(tables, 0, routes, "10.1.2.3")?.name).toBe("near");
    expect(routeTcp(tables, 0, routes, "fd00::1")?.name).toBe("near");
    expect(routeTcp(tables, 0, routes, "11.0.0.1")?.name).toBe("rest");
  });
});

describe("weights", () => {
  const of = (...weights: number[]) =>
    weights.map((weight, cluster) => ({ cluster, weight, headers: NO_HEADERS }));

  test("shares are exact over the unit interval", () => {
    const counts = [0, 0, 0];
    for (let i = 0; i < 1000; i++) {
      const picked = pickDestination(of(90, 0, 10), i / 1000)?.cluster ?? 0;
      counts[picked] = (counts[picked] ?? 0) + 1;
    }
    expect(counts).toEqual([900, 0, 100]);
  });

  test("one destination takes all whatever its weight, none gives none", () => {
    expect(pickDestination(of(0), 0.5)?.cluster).toBe(0);
    expect(pickDestination([], 0.5)).toBeUndefined();
  });

  test("whatever the weights, one with a weight is picked if there is one", () => {
    const always = fc.property(
      fc.array(fc.nat(2 ** 20), { minLength: 1, maxLength: 8 }),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      (weights, unit) => {
        const picked = pickDestination(of(...weights), unit);
        if (weights.length > 1 && weights.some((w) => w > 0))
          expect(picked?.weight).toBeGreaterThan(0);
        else expect(picked).toBeDefined();
      },
    );
    fc.assert(always);
  });
});
