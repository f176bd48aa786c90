import { expect, test } from "bun:test";
import { parseServerName, writeServerName } from "./mesh-wire.ts";
import { hostIdentity, parseSpiffeId, spiffeIdOf } from "./spiffe.ts";

test("a server name says port, service, workload and namespace, and comes back", () => {
  const target = { port: 9080, service: "reviews", workload: "reviews-v1", namespace: "default" };
  expect(writeServerName(target)).toBe("9080.reviews.reviews-v1.default.ironmesh");
  expect(parseServerName(writeServerName(target))).toEqual(target);
});

test("a server name that is not exactly ours is nobody's", () => {
  for (const text of [
    "",
    "9080.reviews.default.ironmesh",
    "0.a.b.c.ironmesh",
    "70000.a.b.c.ironmesh",
    "1.A.b.c.ironmesh",
    "1.a.b.c.ironmesh.evil",
    "1.a.b.c.d.ironmesh",
  ]) {
    expect(parseServerName(text)).toBeUndefined();
  }
});

test("the longest server name stays below what a ClientHello carries", () => {
  const label = "a".repeat(63);
  expect(
    writeServerName({ port: 65535, service: label, workload: label, namespace: label }).length,
  ).toBeLessThanOrEqual(250);
});

test("SPIFFE IDs of the mesh's form are read and written; other forms are refused", () => {
  const id = { trustDomain: "test.mesh", namespace: "default", serviceAccount: "reviews" };
  expect(parseSpiffeId(spiffeIdOf(id))).toEqual({ ok: true, value: id });
  expect(parseSpiffeId(hostIdentity("test.mesh", "h1")).ok).toBe(true);
  for (const text of [
    "",
    "https://a/ns/b/sa/c",
    "spiffe://A/ns/b/sa/c",
    "spiffe://a/ns/b",
    "spiffe://a/ns/b/sa/c/d",
    "spiffe://a/ns/../sa/c",
    "spiffe://a/ns//sa/c",
    "spiffe://a/x/b/sa/c",
    "spiffe://a:1/ns/b/sa/c",
  ]) {
    expect(parseSpiffeId(text).ok).toBe(false);
  }
});
