import { expect, test } from "bun:test";
import { networkInterfaces } from "node:os";
import { Loop } from "./loop.ts";
import { isLocalAddress } from "./route.ts";

const loop = new Loop();

test("every address of this host is local, loopback's whole range too", () => {
  const own = Object.values(networkInterfaces()).flatMap((all) => all ?? []);
  for (const { address } of own)
    expect([address, isLocalAddress(loop, address)]).toEqual([address, true]);
  expect(isLocalAddress(loop, "127.8.9.10")).toBe(true);
});

test("what is somebody else's, nobody's or no address is not local", () => {
  for (const address of ["192.0.2.7", "2001:db8::7", "255.255.255.255", "reviews", ""])
    expect([address, isLocalAddress(loop, address)]).toEqual([address, false]);
});
