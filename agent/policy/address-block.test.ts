import { expect, test } from "bun:test";
import { addressBlocks, canonicalAddress, isLoopback, isVirtual } from "./address-block.ts";

test("the mesh's own ranges are told from all other addresses", () => {
  for (const address of ["240.240.0.1", "240.240.255.9", "2001:2::1", "2001:2:0:1::9"])
    expect([address, isVirtual(address)]).toEqual([address, true]);
  for (const address of ["240.24.0.1", "24.240.240.1", "2001:2:1::1", "2001:20::1", "::1"])
    expect([address, isVirtual(address)]).toEqual([address, false]);
});

test("loopback is all of 127.0.0.0/8 and ::1", () => {
  for (const address of ["127.0.0.1", "127.9.8.7", "::1"]) expect(isLoopback(address)).toBe(true);
  for (const address of ["128.0.0.1", "12.7.0.1", "::", "::1:1"])
    expect(isLoopback(address)).toBe(false);
});

test("a block holds its addresses in whatever form they are written, and no block holds what is no address", () => {
  const blocks = addressBlocks(["10.1.0.0/16", "2001:db8::/32", "192.0.2.7", "no block"]);
  for (const address of ["10.1.255.255", "::ffff:10.1.0.1", "2001:db8:0::1", "192.0.2.7"])
    expect([address, blocks.has(address)]).toEqual([address, true]);
  for (const address of ["10.2.0.0", "2001:db9::1", "192.0.2.8", "no address"])
    expect([address, blocks.has(address)]).toEqual([address, false]);
  expect(canonicalAddress("2001:DB8:0:0::1")).toBe("2001:db8::1");
  expect(canonicalAddress("::ffff:192.0.2.1")).toBe("192.0.2.1");
  expect(canonicalAddress("nobody")).toBeUndefined();
});
