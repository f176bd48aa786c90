import { expect, test } from "bun:test";
import { stripVTControlCharacters } from "node:util";
import type { LoadCounts } from "./parts/load.ts";
import { describe } from "./tour.ts";

const counts = (more: Partial<LoadCounts>): LoadCounts => ({
  keptAlive: 0,
  fresh: 0,
  echoed: 0,
  failures: {},
  versions: {},
  ...more,
});

test("the load's line tells shares of the last seconds, and everything else since the start", () => {
  const before = counts({ versions: { v1: 100 } });
  const now = counts({ keptAlive: 60, fresh: 60, echoed: 9, versions: { v1: 118, v2: 2 } });
  expect(stripVTControlCharacters(describe(now, before))).toBe(
    "load: 120 pages (60 on fresh connections), 9 echoes, 0 failures; reviews now v1 90%, v2 10%",
  );
});

test("the load's line names each failure with its count", () => {
  const now = counts({ failures: { reset: 2, "status 503": 1 } });
  expect(stripVTControlCharacters(describe(now, counts({})))).toContain("2 reset, 1 status 503");
});
