// The redirect's rules as values, before any firewall's syntax: a handful of matches and verdicts that iptables and nft both have.
import type { Owner } from "./input.ts";

export type Family = "ip" | "ip6";

/** First and last port, both included. */
export type PortRange = readonly [first: number, last: number];

/** Kernel sets of address and port: `endpoints` of the mesh; `dns`, whose entries die unless the agent renews them. */
export type SetName = "endpoints" | "dns";

export type Match =
  | { readonly is: "protocol"; readonly protocol: "tcp" | "udp" }
  /** A connection's first packet. Without it a session that is older than conntrack's hooks (SSH) would look new in the middle
   *  and be redirected to death. */
  | { readonly is: "syn" }
  /** A listener's answer. */
  | { readonly is: "synack" }
  | { readonly is: "owner"; readonly owner: Owner }
  /** Sent by a socket of another user; packets without a socket (SYN cookies) do not match. */
  | { readonly is: "socket_of_another"; readonly uid: number }
  | { readonly is: "to"; readonly cidr: string }
  | { readonly is: "to_local" }
  | { readonly is: "to_ports"; readonly ports: readonly PortRange[] }
  | { readonly is: "from_ports"; readonly ports: readonly PortRange[] }
  | { readonly is: "in_set"; readonly set: SetName }
  | { readonly is: "out_loopback" }
  | { readonly is: "in_loopback" }
  | { readonly is: "not_in_loopback" }
  /** Carries exactly this mark. */
  | { readonly is: "marked"; readonly mark: number }
  /** Answers something that this host sent, as conntrack remembers it. */
  | { readonly is: "reply" }
  | { readonly is: "transparent_socket" };

export type Verdict =
  | { readonly is: "return" }
  | { readonly is: "redirect"; readonly port: number }
  | { readonly is: "call"; readonly chain: ChainName }
  | { readonly is: "mark"; readonly mark: number }
  /** To a transparent socket on loopback at that port; dropped where there is none. */
  | { readonly is: "tproxy"; readonly port: number }
  | { readonly is: "drop" }
  | { readonly is: "reset" };

export interface Rule {
  readonly matches: readonly Match[];
  readonly verdict: Verdict;
  /** Shown in the firewall's own listing; letters, digits and plain punctuation only. */
  readonly why: string;
  /** What its text does not show, and by which it is yet another rule than it was: the cgroup that a path means. */
  readonly meaning?: string;
}

export type ChainName =
  | "out"
  | "owner"
  | "in"
  | "dns"
  | "dns_in"
  | "udp_out"
  | "udp_owner"
  | "udp_in"
  | "guard";

export interface Chain {
  readonly name: ChainName;
  readonly table: "nat" | "mangle" | "filter";
  /** Where the kernel enters it; undefined: only called by another chain. */
  readonly entry:
    | { readonly hook: "output" | "prerouting"; readonly matches: readonly Match[] }
    | undefined;
  readonly rules: readonly Rule[];
}

/** "IM": on DNS packets of other users, and only there. */
export const DNS_MARK = 0x494d;
/** "UM" and the outbound listener's port: on datagrams to declared UDP ports, and only there. The port says whose they are. */
export const UDP_MARK = 0x554d_0000;
export const UDP_MASK = 0xffff_0000;
export const hex = (mark: number): string => `0x${mark.toString(16)}`;
/** Routing table and rule priority of what carries one of the marks: after `local`, before `main`. */
export const DNS_TABLE = 18_765;
/** Marks our routes and rules as ours (`ip route show proto 143`). */
export const ROUTE_PROTOCOL = 143;

/** An IPv4 or an IPv6 range in it ties a rule to one family. */
export function familyOf(rule: Rule): Family | undefined {
  for (const match of rule.matches) {
    if (match.is === "to") return match.cidr.includes(":") ? "ip6" : "ip";
  }
  return undefined;
}
