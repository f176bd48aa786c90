import { expect, test } from "bun:test";
import { lineDiff } from "./line-diff.ts";
import { shortDuration, tableText } from "./output.ts";

test("a table lines its columns up, without borders or trailing spaces", async () => {
  const text = await tableText(
    {
      columns: ["name", "what"],
      rows: [
        ["a", "x"],
        ["long-name", "y"],
      ],
      empty: "none",
    },
    false,
  );
  expect(text).toBe("NAME       WHAT\na          x\nlong-name  y");
  expect(await tableText({ columns: ["a"], rows: [], empty: "none" }, false)).toBe("none");
});

test("control characters of others never reach the terminal", async () => {
  const rows = [["evil\u001b[31m\r\nname"]];
  const text = await tableText({ columns: ["a"], rows, empty: "" }, false);
  expect(text.split("\n")).toEqual(["A", "evil [31m  name"]);
});

test("a diff shows changed lines with their surroundings", () => {
  const before = Array.from({ length: 20 }, (_, i) => `line ${i}`);
  const after = before.with(10, "LINE 10").toSpliced(12, 0, "new");
  expect(lineDiff(before.join("\n"), before.join("\n"))).toEqual([]);
  expect(lineDiff(before.join("\n"), after.join("\n"))).toEqual([
    "...",
    "  line 7",
    "  line 8",
    "  line 9",
    "- line 10",
    "+ LINE 10",
    "  line 11",
    "+ new",
    "  line 12",
    "  line 13",
    "  line 14",
    "...",
  ]);
  expect(lineDiff("", "a\nb\n")).toEqual(["+ a", "+ b"]);
});

test("durations are short", () => {
  expect([5_000, 300_000, 36_000_000, 864_000_000, -5].map(shortDuration)).toEqual([
    "5s",
    "5m",
    "10h",
    "10d",
    "0s",
  ]);
});
