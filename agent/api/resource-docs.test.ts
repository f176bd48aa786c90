import { expect, test } from "bun:test";
import { resourceDocs } from "./resource-docs.ts";

const docs = new URL("../../docs/resources.md", import.meta.url);

test("docs/resources.md is what the schemas say (else: npm run docs)", async () => {
  expect(await Bun.file(docs).text()).toBe(resourceDocs());
});

test("every field of every resource has prose", () => {
  const rows = resourceDocs()
    .split("\n")
    .filter((line) => line.startsWith("| `"));
  expect(rows.length).toBeGreaterThan(120);
  expect(rows.filter((line) => /\|\s*\|$/.test(line))).toEqual([]);
});
