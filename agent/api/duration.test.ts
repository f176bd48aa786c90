import { expect, test } from "bun:test";
import { durationMs, parseDuration } from "./duration.ts";

test("durations are read in every unit and combination", () => {
  expect(["1.5s", "250ms", "1h30m", "0s", "0", "10us", "2m"].map((d) => durationMs(d))).toEqual([
    1500, 250, 5_400_000, 0, 0, 0, 120_000,
  ]);
});

test("what is no duration, or longer than a timer can wait, is refused", () => {
  for (const text of ["", "1", "s", "-1s", "1 s", "1d", "1s ", "1e3s", "Infinity", "999999h"])
    expect({ text, ok: parseDuration(text).ok }).toEqual({ text, ok: false });
});
