// The plan in nft's words (nft(8)): one table of our own, replaced in one transaction.
import { isIpv6Text } from "../../base/ip-text.ts";
import type { Owner } from "./input.ts";
import type { RedirectPlan } from "./plan.ts";
import {
  type Chain,
  type Family,
  familyOf,
  hex,
  type Match,
  type PortRange,
  type Rule,
  type SetName,
  type Verdict,
} from "./rules.ts";
import { slicePath } from "./slice.ts";
import { comment } from "./stamp.ts";

export const NFT_TABLE = "inet ironmesh";
export const nftSet = (set: SetName, family: Family): string => `${set}_${family}`;

/** Just before where iptables hooks in, so that Docker's rules for local addresses do not take our connections first. */
const PRIORITY = { nat: -101, mangle: -151, filter: -1 } as const;

export interface NftChain {
  readonly name: string;
  readonly type: string;
  readonly lines: readonly string[];
}

export function nftChains(plan: RedirectPlan): NftChain[] {
  const called = plan.chains.map((chain) => ({
    name: chain.name,
    type: "",
    lines: chain.rules.flatMap((rule) => ruleLines(rule, plan.families)),
  }));
  return [...called, ...plan.chains.flatMap((chain) => hookOf(chain, plan.families))];
}

function hookOf(chain: Chain, families: readonly Family[]): NftChain[] {
  if (chain.entry === undefined) return [];
  const kind =
    chain.table === "nat"
      ? "nat"
      : chain.table === "mangle" && chain.entry.hook === "output"
        ? "route"
        : "filter";
  const rule: Rule = {
    matches: chain.entry.matches,
    verdict: { is: "call", chain: chain.name },
    why: "",
  };
  return [
    {
      name: `hook_${chain.name}`,
      type: `type ${kind} hook ${chain.entry.hook} priority ${PRIORITY[chain.table]}; policy accept;`,
      lines: ruleLines(rule, families),
    },
  ];
}

/** A set holds addresses of one family, and so does a socket: a rule that asks one or leads to one is written once for each. */
function ruleLines(rule: Rule, families: readonly Family[]): string[] {
  const asksSet = rule.matches.some((match) => match.is === "in_set");
  const only = familyOf(rule);
  if (only !== undefined && !families.includes(only)) return [];
  const written: readonly Family[] = asksSet || rule.verdict.is === "tproxy" ? families : ["ip"];
  return written.flatMap((family) =>
    verdictTexts(rule.verdict, family).map((verdict) => {
      const text = [...rule.matches.map((match) => matchText(match, family)), verdict]
        .filter((word) => word !== "")
        .join(" ");
      return `${text} comment "${comment(`${text}${rule.meaning ?? ""}`, rule.why)}"`;
    }),
  );
}

function matchText(match: Match, family: Family): string {
  switch (match.is) {
    case "protocol":
      return `meta l4proto ${match.protocol}`;
    case "syn":
      return "tcp flags & (fin | syn | rst | ack) == syn";
    case "synack":
      return "tcp flags & (fin | syn | rst | ack) == (syn | ack)";
    case "owner":
      return ownerMatch(match.owner);
    case "socket_of_another":
      return `meta skuid != ${match.uid}`; // breaks off, so does not match, where there is no socket
    case "to":
      return `${match.cidr.includes(":") ? "ip6" : "ip"} daddr ${match.cidr}`;
    case "to_local":
      return "fib daddr type local";
    case "to_ports":
      return `th dport ${portsText(match.ports)}`;
    case "from_ports":
      return `th sport ${portsText(match.ports)}`;
    case "in_set":
      return `${family} daddr . meta l4proto . th dport @${nftSet(match.set, family)}`;
    case "out_loopback":
      return 'oifname "lo"';
    case "in_loopback":
      return 'iifname "lo"';
    case "not_in_loopback":
      return 'iifname != "lo"';
    case "marked":
      return `meta mark ${hex(match.mark)}`;
    case "reply":
      return "ct direction reply";
    case "transparent_socket":
      return "socket transparent 1";
  }
}

function ownerMatch(owner: Owner): string {
  if (owner.is === "uid") return `meta skuid ${owner.uid}`;
  if (owner.is === "gid") return `meta skgid ${owner.gid}`;
  const path = slicePath(owner.slice);
  return `socket cgroupv2 level ${path.split("/").length} "${path}"`;
}

const portsText = (ports: readonly PortRange[]): string =>
  `{ ${ports.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(", ")} }`;

/** Where there is no socket, iptables' TPROXY drops, and nft's goes on with the next rule (nft_tproxy.c): that one drops. */
function verdictTexts(verdict: Verdict, family: Family): string[] {
  if (verdict.is !== "tproxy") return [verdictText(verdict)];
  const { port } = verdict;
  return family === "ip"
    ? [`meta nfproto ipv4 tproxy ip to 127.0.0.1:${port} accept`, "meta nfproto ipv4 drop"]
    : [`meta nfproto ipv6 tproxy ip6 to [::1]:${port} accept`, "meta nfproto ipv6 drop"];
}

function verdictText(verdict: Exclude<Verdict, { readonly is: "tproxy" }>): string {
  switch (verdict.is) {
    case "return":
      return "return";
    case "redirect":
      return `redirect to :${verdict.port}`;
    case "call":
      return `jump ${verdict.chain}`;
    case "mark":
      return `meta mark set ${hex(verdict.mark)}`;
    case "drop":
      return "drop";
    case "reset":
      return "reject with tcp reset";
  }
}

export const nftElement = (address: string, protocol: "tcp" | "udp", port: number): string =>
  `${address} . ${protocol} . ${port}`;

function setText(plan: RedirectPlan, set: SetName, family: Family, leased: Leased): string {
  const name = nftSet(set, family);
  const type = `type ${family === "ip" ? "ipv4_addr" : "ipv6_addr"} . inet_proto . inet_service;`;
  if (set === "dns")
    return `  set ${name} { ${type} flags timeout; timeout 1s;${elementsText([...(leased.get(name) ?? [])])} }`;
  const members = plan.endpoints
    .filter(([address]) => isIpv6Text(address) === (family === "ip6"))
    .map(([address, port, protocol = "tcp"]) => nftElement(address, protocol, port));
  return `  set ${name} { ${type} size 65536;${elementsText(members)} }`;
}

const elementsText = (elements: readonly string[]): string =>
  elements.length > 0 ? ` elements = { ${elements.join(", ")} }` : "";

/** Elements by set. */
type Leased = ReadonlyMap<string, ReadonlySet<string>>;
const NOTHING_LEASED: Leased = new Map();

/** One transaction: the old table, if any, is gone the moment the new one is there. `leased`: what the old one held of resolvers (lease.ts);
 *  without it names were not captured until the next renewal. */
export function nftText(plan: RedirectPlan, leased = NOTHING_LEASED): string {
  const sets: readonly SetName[] = plan.resolvers.length > 0 ? ["endpoints", "dns"] : ["endpoints"];
  const called = nftChains(plan);
  return [
    `table ${NFT_TABLE}`,
    `delete table ${NFT_TABLE}`,
    `table ${NFT_TABLE} {`,
    ...sets.flatMap((set) => plan.families.map((family) => setText(plan, set, family, leased))),
    // A chain must stand before another one names it.
    ...called.map((chain) => `  chain ${chain.name} { ${chain.type} }`),
    "}",
    `table ${NFT_TABLE} {`,
    ...called.flatMap((chain) => [
      `  chain ${chain.name} {`,
      ...chain.lines.map((line) => `    ${line}`),
      "  }",
    ]),
    "}",
    "",
  ].join("\n");
}
