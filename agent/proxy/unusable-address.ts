// What a name may not lead to. The agent dials what it finds with the rights of its own uid, which the redirect and perhaps a firewall
// exempt: whoever answers for a name must not reach by it what stands behind the policy of a workload here.
import { parseIpv4, parseIpv6 } from "../base/ip-text.ts";

/** Why, in words; undefined: it may be dialled. */
export function unusableAddress(
  address: string,
  isLocalAddress: (address: string) => boolean,
): string | undefined {
  const four = parseIpv4(address);
  const six = parseIpv6(address);
  const why =
    four !== undefined ? unusable4(four) : six !== undefined ? unusable6(six) : "no address";
  return why ?? (isLocalAddress(address) ? "this host itself" : undefined);
}

function unusable4([first = 0]: readonly number[]): string | undefined {
  if (first === 0) return "no host";
  if (first === 127) return "loopback";
  if (first >= 224 && first < 240) return "multicast";
  // The mesh's virtual addresses are there too: a resolver behind another agent would lead in a circle.
  return first >= 240 ? "reserved, or a virtual address of a mesh" : undefined;
}

function unusable6([a = 0, b = 0, c = 0, d = 0, e = 0, f = 0]: readonly number[]):
  | string
  | undefined {
  if ((a | b | c | d | e) === 0 && (f === 0 || f === 0xffff))
    return "loopback, or IPv4 within IPv6";
  if ((a & 0xffc0) === 0xfe80) return "link-local, without its interface";
  if (a >= 0xff00) return "multicast";
  return a === 0x2001 && b === 2 && c === 0 ? "a virtual address of a mesh" : undefined;
}
