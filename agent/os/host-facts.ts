// What the agent asks its host once: addresses, resolvers, users. Read, never changed.
import { existsSync, readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import { ipFamily } from "../base/ip-text.ts";

/** Addresses of this host that other hosts may dial; loopback and link-local ones are not. */
export function hostAddresses(): readonly string[] {
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(
      (one) =>
        !one.internal && !one.address.startsWith("fe80:") && !one.address.startsWith("169.254."),
    )
    .map((one) => one.address);
}

/** The host has an IPv6 address of its own, and the kernel can listen on one. */
export const hasIpv6 = (addresses: readonly string[]): boolean =>
  addresses.some((one) => one.includes(":"));

/** An address may still come: what a host that is only booting has to reckon with. */
export const kernelHasIpv6 = (): boolean => existsSync("/proc/net/if_inet6");

/** Resolvers named by resolv.conf, at most three as in glibc (resolv.conf(5), MAXNS). */
export function readResolvers(path = "/etc/resolv.conf"): readonly string[] {
  let text = "";
  try {
    text = readFileSync(path, "utf8");
  } catch {
    return []; // a host without the file resolves nothing by DNS
  }
  return text
    .split("\n")
    .map((line) => /^\s*nameserver\s+(\S+)/.exec(line)?.[1] ?? "")
    .filter((address) => ipFamily(address.split("%", 1)[0] ?? "") !== 0) // a zone is refused by name later
    .slice(0, 3);
}

/** Numeric uid of a user of /etc/passwd; undefined when there is none. */
export function uidOf(user: string): number | undefined {
  const line = readFileSync("/etc/passwd", "utf8")
    .split("\n")
    .find((row) => row.startsWith(`${user}:`));
  const uid = Number(line?.split(":")[2] ?? Number.NaN);
  return Number.isInteger(uid) ? uid : undefined;
}

export function gidOf(group: string): number | undefined {
  const line = readFileSync("/etc/group", "utf8")
    .split("\n")
    .find((row) => row.startsWith(`${group}:`));
  const gid = Number(line?.split(":")[2] ?? Number.NaN);
  return Number.isInteger(gid) ? gid : undefined;
}
