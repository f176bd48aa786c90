import { expect, test } from "bun:test";
import { rewritePath } from "./rewrite-path.ts";

test("captures are put where the rewrite names them (Envoy's examples)", () => {
  const rule = { match: "^/service/([^/]+)(/.*)$", rewrite: "\\2/instance/\\1" };
  expect(rewritePath(rule, "/service/foo/v1/api")).toBe("/v1/api/instance/foo");
  expect(rewritePath({ match: "one", rewrite: "two" }, "/xxx/one/yyy/one/zzz")).toBe(
    "/xxx/two/yyy/two/zzz",
  );
  expect(rewritePath({ match: "(?i)/xxx/", rewrite: "/yyy/" }, "/aaa/XxX/bbb")).toBe(
    "/aaa/yyy/bbb",
  );
});

test("dollars are plain, doubled backslashes are one, a capture that is not there is empty", () => {
  expect(rewritePath({ match: "a", rewrite: "$1\\\\\\7" }, "/a")).toBe("/$1\\");
});

test("what does not match stays", () => {
  expect(rewritePath({ match: "^/b$", rewrite: "/c" }, "/a")).toBe("/a");
});
