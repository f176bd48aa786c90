import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { FilePages, filePagesKib } from "./file-pages.ts";

test("dropping pages takes nothing away that is needed", () => {
  const pages = new FilePages();
  expect(filePagesKib()).toBeGreaterThan(1_000);
  expect(pages.drop()).toBeGreaterThan(1_000);
  expect(JSON.parse(JSON.stringify({ a: [1, 2, 3] }))).toEqual({ a: [1, 2, 3] });
});

/** Of the code of the executable: the mapping's lines. */
function textOfExecutable(): string {
  const mappings = readFileSync("/proc/self/smaps", "latin1").split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m);
  const found = mappings.find((one) => one.includes(" r-xp ") && one.includes(process.execPath));
  if (found === undefined) throw new Error("this process has no executable");
  return found;
}

test("where the kernel can, what was dropped comes back a page at a time", () => {
  const pages = new FilePages();
  pages.drop();
  expect(/^VmFlags:.* uw( |$)/m.test(textOfExecutable())).toBe(pages.mapsOnlyTouched);
  const { mapsOnlyTouched } = pages;
  const [major = 0, minor = 0] = readFileSync("/proc/sys/kernel/osrelease", "latin1")
    .split(".")
    .map(Number);
  if (major * 1_000 + minor < 6_007) expect(mapsOnlyTouched).toBe(false);
});

test("a process may have several, and dropping again is harmless", () => {
  const [one, other] = [new FilePages(), new FilePages()];
  one.drop();
  other.drop();
  expect(one.drop() + other.drop()).toBeGreaterThan(0);
  expect(new Intl.NumberFormat("en").format(1234.5)).toBe("1,234.5");
});
