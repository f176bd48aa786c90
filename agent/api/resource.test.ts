import { expect, test } from "bun:test";
import fc from "fast-check";
import { checkResource } from "./parse-resource.ts";
import { canonicalJson, KIND_NAMES, KINDS, refOf, SUPPORTED_KINDS } from "./resource.ts";

const mapping = fc.dictionary(fc.string(), fc.jsonValue());

test("canonical JSON is the same in whatever order fields were written, and means the same", () => {
  fc.assert(
    fc.property(mapping, (value) => {
      const reversed = Object.fromEntries(Object.entries(value).reverse());
      expect(canonicalJson(reversed)).toBe(canonicalJson(value));
      expect(JSON.parse(canonicalJson(value))).toEqual(JSON.parse(JSON.stringify(value)));
    }),
  );
});

test("any JSON at any place of any kind gives a resource or reasons, and never throws", () => {
  const spec = fc.oneof(
    fc.jsonValue(),
    fc.dictionary(
      fc.constantFrom("hosts", "http", "tcp", "host", "rules", "process", "services", "mtls"),
      fc.oneof(
        fc.jsonValue(),
        fc.array(fc.dictionary(fc.constantFrom("match", "route", "fault", "from"), fc.jsonValue())),
      ),
    ),
  );
  fc.assert(
    fc.property(fc.constantFrom(...KIND_NAMES), spec, mapping, (kind, given, metadata) => {
      const { group, versions } = KINDS[kind];
      const document = { apiVersion: `${group}/${versions[0]}`, kind, metadata, spec: given };
      const { resource, problems } = checkResource(document);
      const errors = problems.filter((p) => p.severity === "error");
      expect(resource === undefined).toBe(errors.length > 0);
      for (const problem of problems) expect(problem.reason).toMatch(/\S/);
    }),
  );
});

test("a resource has one ref in all served versions", () => {
  const metadata = { name: "a", namespace: "b" };
  const refs = ["v1", "v1beta1", "v1alpha3"].map((version) =>
    refOf({ apiVersion: `networking.istio.io/${version}`, kind: "VirtualService", metadata }),
  );
  expect(new Set(refs)).toEqual(new Set(["networking.istio.io/VirtualService/b/a"]));
});

test("the hello message names every kind in every served version", () => {
  expect(SUPPORTED_KINDS).toContain("networking.istio.io/v1alpha3/VirtualService");
  expect(SUPPORTED_KINDS).toContain("security.istio.io/v1beta1/PeerAuthentication");
  expect(SUPPORTED_KINDS).toContain("ironmesh.dev/v1/Workload");
  expect(SUPPORTED_KINDS).toHaveLength(4 * 3 + 2 * 2 + 2);
});
