import { expect, test } from "bun:test";
import { isIP } from "node:net";
import fc from "fast-check";
import { ipFamily, parseIpv4, parseIpv6 } from "./ip-text.ts";

test("addresses are told apart as node:net tells them", () => {
  const piece = fc.constantFrom(
    "0",
    "1",
    "12",
    "255",
    "256",
    "01",
    "f",
    "fFfF",
    "12345",
    "g",
    ":",
    "::",
    ".",
    "%",
    "/",
    " ",
    "-1",
    "",
  );
  const made = fc.array(piece, { maxLength: 17 }).map((pieces) => pieces.join(""));
  const joined = (by: string) =>
    fc.array(piece, { minLength: 1, maxLength: 9 }).map((p) => p.join(by));
  fc.assert(
    fc.property(
      fc.oneof(fc.ipV4(), fc.ipV6(), made, joined("."), joined(":"), fc.string()),
      (text) => {
        fc.pre(!text.includes("%")); // node takes a zone
        expect(ipFamily(text)).toBe(isIP(text) as 0 | 4 | 6);
      },
    ),
    { numRuns: 5_000 },
  );
});

test("the numbers are the address's", () => {
  expect(parseIpv4("10.0.255.1")).toEqual([10, 0, 255, 1]);
  expect(parseIpv6("fd00::1:a")).toEqual([0xfd00, 0, 0, 0, 0, 0, 1, 0xa]);
  expect(parseIpv6("::ffff:1.2.3.4")).toEqual([0, 0, 0, 0, 0, 0xffff, 0x102, 0x304]);
  expect(parseIpv6("fe80::1%eth0")).toBeUndefined();
});
