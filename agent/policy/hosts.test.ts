import { describe, expect, test } from "bun:test";
import { canonicalAddress } from "./address-block.ts";
import { dnsNames, HostBook, wildcardHolds, wireName } from "./hosts.ts";
import { portProtocol } from "./port-protocol.ts";

const mesh = (name: string, namespace: string) => ({
  host: `${name}.${namespace}.mesh`,
  name,
  namespace,
});
const external = (host: string) => ({ host, name: host, namespace: "default" });

describe("hosts in rules", () => {
  const book = new HostBook([
    mesh("reviews", "default"),
    mesh("reviews", "test-a"),
    mesh("only", "test-a"),
    external("api.example.com"),
  ]);

  test("every way to write a service means the same one", () => {
    for (const host of [
      "reviews",
      "reviews.default",
      "reviews.default.mesh",
      "reviews.default.svc.cluster.local",
      "Reviews.Default.Mesh.",
      "reviews.default.svc",
      "reviews.service.consul",
    ])
      expect([host, book.resolve(host, "default")]).toEqual([host, "reviews.default.mesh"]);
  });

  test("a short name is of the rule's namespace and no other", () => {
    expect(book.find("reviews", "test-a")).toBe(1);
    expect(book.find("only", "default")).toBeUndefined();
    expect(book.resolve("only", "default")).toBe("only.default.mesh");
  });

  test("a Consul name has no namespace: the rule's own, else default, else whoever has it", () => {
    expect(book.find("reviews.service.consul", "test-a")).toBe(1);
    expect(book.find("reviews.service.consul", "elsewhere")).toBe(0);
    expect(book.find("only.service.consul", "default")).toBe(2);
  });

  test("other hosts are as written; wildcards hold for what ends so", () => {
    expect(book.find("API.example.com", "x")).toBe(3);
    expect(book.resolve("*.default.svc.cluster.local", "x")).toBe("*.default.mesh");
    expect(wildcardHolds("*.default.mesh", "reviews.default.mesh")).toBe(true);
    expect(wildcardHolds("*.default.mesh", "default.mesh")).toBe(false);
    expect(wildcardHolds("*", "anything")).toBe(true);
  });
});

describe("names that DNS answers to", () => {
  test("bare names are of default first, then of namespaces that run here, never of others", () => {
    const services = [
      mesh("a", "test-b"),
      mesh("a", "default"),
      mesh("b", "test-b"),
      mesh("c", "far"),
    ];
    const names = dnsNames(services, ["test-b"]);
    expect(names[0]).toEqual(["a.test-b.mesh", "a.test-b", "a.test-b.svc.cluster.local"]);
    expect(names[1]).toContain("a");
    expect(names[1]).toContain("a.service.consul");
    expect(names[2]).toContain("b");
    expect(names[3]).toEqual([
      "c.far.mesh",
      "c.far",
      "c.far.svc.cluster.local",
      "c.service.consul",
    ]);
  });

  test("a namespace that is a public top-level domain answers only under .mesh", () => {
    expect(dnsNames([mesh("a", "dev"), mesh("a", "com")], ["dev"])).toEqual([
      ["a.dev.mesh"],
      ["a.com.mesh"],
    ]);
  });

  test("what a ServiceEntry spells out is not anybody's alias", () => {
    const names = dnsNames([mesh("a", "default"), external("a.default")], []);
    expect(names[0]).not.toContain("a.default");
    expect(names[1]).toEqual(["a.default"]);
  });
});

test("on the wire a service is one label, whatever its host", () => {
  expect(wireName(mesh("reviews", "default"))).toBe("reviews");
  expect(wireName(external("api.example.com"))).toBe("api-example-com");
});

test("addresses have one form, and texts that only old C libraries take are none", () => {
  expect(canonicalAddress("2001:DB8:0:0::1")).toBe("2001:db8::1");
  expect(canonicalAddress("::ffff:10.0.0.1")).toBe("10.0.0.1");
  for (const text of ["10.1", "0x7f.0.0.1", "010.0.0.1", "localhost", ""])
    expect(canonicalAddress(text)).toBeUndefined();
});

test("a port's protocol: declared, else by its name, else by its number, else by its first bytes", () => {
  expect(portProtocol("HTTP", "tcp-x", 1).protocol).toBe("http");
  expect(portProtocol("", "http-web", 1).protocol).toBe("http");
  expect(portProtocol(undefined, "grpc-web-x", 1).protocol).toBe("http");
  expect(portProtocol("", "https", 1).protocol).toBe("tcp");
  expect(portProtocol("mongo", "", 1).protocol).toBe("tcp");
  expect(portProtocol("", "grpc-api", 1)).toEqual({ protocol: "http", speaks: "http2" });
  expect(portProtocol("HTTP2", "", 1)).toEqual({ protocol: "http", speaks: "http2" });
  expect(portProtocol("", "", 3306).protocol).toBe("tcp");
  expect(portProtocol("", "httpish", 8080).protocol).toBe("auto");
});
