import { expect, test } from "bun:test";
import { addressForOthers } from "./addresses.ts";

test("addresses that mean something else on every host, or are the mesh's own, are left out", () => {
  for (const text of [
    "127.0.0.1",
    "127.9.9.9",
    "::1",
    "::ffff:127.0.0.1",
    "0.0.0.0",
    "::",
    "169.254.1.1",
    "fe80::1",
    "fe80::1%eth0",
    "224.0.0.1",
    "240.240.0.1",
    "2001:2::5",
    "web.example.com",
    "10.1",
    "",
  ])
    expect([text, addressForOthers(text)]).toEqual([text, undefined]);
});

test("an address is written in one way", () => {
  expect(addressForOthers("10.0.0.1")).toBe("10.0.0.1");
  expect(addressForOthers("FD00:0:0::0001")).toBe("fd00::1");
  expect(addressForOthers("::ffff:10.0.0.1")).toBe("10.0.0.1");
});
