// Addresses that one host can tell another: what they mean must not depend on who dials them.
import { isIP } from "node:net";
import ipaddr from "ipaddr.js";

const NOT_FOR_OTHERS = new Set(["unspecified", "loopback", "linkLocal", "multicast", "broadcast"]);
/** The mesh's own: a service that is behind another's virtual address would be dialled in circles. */
const VIRTUAL4 = ipaddr.IPv4.parseCIDR("240.240.0.0/16");
const VIRTUAL6 = ipaddr.IPv6.parseCIDR("2001:2::/48");

/** The one way an address is written; undefined: no IP address, or none that other hosts can mean. */
export function addressForOthers(text: string): string | undefined {
  // Not `10.1`, which some take for an address, and no zone, which only one host knows.
  if (isIP(text) === 0 || text.includes("%")) return undefined;
  // An IPv4 address written as IPv6 is that IPv4 address.
  const address = ipaddr.process(text);
  if (NOT_FOR_OTHERS.has(address.range())) return undefined;
  const isVirtual =
    address instanceof ipaddr.IPv4 ? address.match(VIRTUAL4) : address.match(VIRTUAL6);
  return isVirtual ? undefined : address.toString();
}
