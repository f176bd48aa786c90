import { expect, test } from "bun:test";
import { chmodSync, mkdtempSync, readdirSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { chooseContext, contextsFile, readContexts, writeContext } from "./contexts.ts";

const context = (server: string) => ({ server, caPem: "PEM", token: "secret-token" });
const freshFile = (): string =>
  join(mkdtempSync(join(tmpdir(), "ironmesh-cli-")), "sub", "contexts.json");

test("contexts are kept in a file only its owner can read, and the last written is current", () => {
  const file = freshFile();
  writeContext(file, "one", context("https://one:15010"));
  writeContext(file, "two", context("https://two:15010"));
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(statSync(dirname(file)).mode & 0o777).toBe(0o700);
  expect(readdirSync(dirname(file))).toEqual(["contexts.json"]);
  const env = { IRONMESH_CONFIG: file };
  expect(chooseContext(env, undefined).server).toBe("https://two:15010");
  expect(chooseContext(env, "one").server).toBe("https://one:15010");
  expect(chooseContext({ ...env, IRONMESH_CONTEXT: "one" }, undefined).server).toBe(
    "https://one:15010",
  );
  expect(() => chooseContext(env, "three")).toThrow("known are one, two");
  expect(() => chooseContext(env, "toString")).toThrow("there is no context");
});

test("a file that others may read is refused, with the command that mends it", () => {
  const file = freshFile();
  writeContext(file, "one", context("https://one:15010"));
  chmodSync(file, 0o644);
  expect(() => readContexts(file)).toThrow("others may read it");
});

test("a damaged file is told, not overwritten with nothing", () => {
  const file = freshFile();
  writeContext(file, "one", context("https://one:15010"));
  for (const text of ["", "{", "[]", '{"contexts":{"one":{"server":1}}}']) {
    writeFileSync(file, text);
    expect(() => writeContext(file, "two", context("https://two:15010"))).toThrow("is damaged");
  }
});

test("the file is where XDG and IRONMESH_CONFIG say", () => {
  expect(contextsFile({ HOME: "/h" })).toBe("/h/.config/ironmesh/contexts.json");
  expect(contextsFile({ HOME: "/h", XDG_CONFIG_HOME: "/x" })).toBe("/x/ironmesh/contexts.json");
  expect(contextsFile({ HOME: "/h", IRONMESH_CONFIG: "/c.json" })).toBe("/c.json");
});
