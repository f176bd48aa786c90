import { expect, test } from "bun:test";
import { unusableAddress } from "./unusable-address.ts";

const why = (address: string): string | undefined =>
  unusableAddress(address, (one) => one === "10.0.0.1" || one === "2001:db8::1");

test("a name leads to other hosts", () => {
  for (const address of ["10.0.0.2", "169.254.169.254", "192.0.2.1", "2001:db8::2", "fd00::1"])
    expect([address, why(address)]).toEqual([address, undefined]);
});

test("a name leads neither to this host, past its workloads' policy, nor into the mesh's own ranges", () => {
  const not = {
    "this host itself": ["10.0.0.1", "2001:db8::1"],
    loopback: ["127.0.0.1", "127.9.9.9"],
    "loopback, or IPv4 within IPv6": [
      "::1",
      "::",
      "::ffff:127.0.0.1",
      "::10.0.0.1",
      "0:0:0:0:0:0:0:1",
    ],
    "no host": ["0.0.0.0"],
    multicast: ["224.0.0.1", "239.1.2.3", "ff02::1"],
    "reserved, or a virtual address of a mesh": ["240.240.0.7", "255.255.255.255"],
    "a virtual address of a mesh": ["2001:2::7", "2001:0002:0:0::7"],
    "link-local, without its interface": ["fe80::1", "febf::1"],
    "no address": ["", "db.example", "10.1", "fe80::1%eth0"],
  };
  for (const [reason, addresses] of Object.entries(not))
    for (const address of addresses) expect([address, why(address)]).toEqual([address, reason]);
});
