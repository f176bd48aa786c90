import { expect, test } from "bun:test";
import fc from "fast-check";
import { readAddress, readPort, writeSockaddr } from "./address.ts";

const bytes = new Uint8Array(64);
const through = (address: string): string => {
  expect(writeSockaddr(bytes, 4, address, 8080)).toBeGreaterThan(0);
  expect(readPort(bytes, 4)).toBe(8080);
  return readAddress(bytes, 4);
};

test("addresses come back as RFC 5952 writes them", () => {
  expect(through("10.99.1.10")).toBe("10.99.1.10");
  expect(through("::")).toBe("::");
  expect(through("::1")).toBe("::1");
  expect(through("fd99:1:0:0:0:0:0:10")).toBe("fd99:1::10");
  expect(through("2001:2:0:0:1:0:0:1")).toBe("2001:2::1:0:0:1");
  expect(through("1:2:3:4:5:6:7:8")).toBe("1:2:3:4:5:6:7:8");
  expect(through("::ffff:a00:1")).toBe("10.0.0.1");
});

test("what is no address is refused, not guessed", () => {
  for (const text of [
    "",
    "1.2.3",
    "1.2.3.256",
    "1.2.3.4.5",
    "a.b.c.d",
    ":::",
    "1::2::3",
    "12345::",
    "1:2:3:4:5:6:7",
    "::g",
  ]) {
    expect(writeSockaddr(bytes, 0, text, 1)).toBe(0);
  }
});

test("every IPv6 address survives the round trip", () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 0xffff }), { minLength: 8, maxLength: 8 }),
      (groups) => {
        const first = through(groups.map((g) => g.toString(16)).join(":"));
        expect(through(first)).toBe(first);
      },
    ),
  );
});
