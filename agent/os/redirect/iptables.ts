// The plan in iptables' words (iptables(8), iptables-extensions(8)), for iptables-restore --noflush, one text per family.
import { isIpv6Text } from "../../base/ip-text.ts";
import type { AddressPort, Owner } from "./input.ts";
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

export const CHAIN_PREFIX = "IRONMESH_";
export const chainName = (name: string): string => `${CHAIN_PREFIX}${name.toUpperCase()}`;
export const setName = (set: SetName, family: Family): string => `ironmesh_${set}_${family}`;
export const TABLES = ["mangle", "nat", "filter"] as const;
export type Table = (typeof TABLES)[number];
const HOOKS = { output: "OUTPUT", prerouting: "PREROUTING" } as const;

/** How many ports one multiport match takes; a range counts twice. */
const MULTIPORT_SLOTS = 15;

/** What one table of one family should hold of ours. Lines are without `-A CHAIN`. */
export interface TableText {
  readonly table: Table;
  readonly chains: readonly { readonly name: string; readonly lines: readonly string[] }[];
  readonly jumps: readonly { readonly from: string; readonly line: string }[];
}

export function tablesOf(plan: RedirectPlan, family: Family): TableText[] {
  return TABLES.flatMap((table) => {
    const chains = plan.chains.filter((chain) => chain.table === table);
    if (chains.length === 0) return [];
    return [
      {
        table,
        chains: chains.map((chain) => ({
          name: chainName(chain.name),
          lines: chainLines(chain, family),
        })),
        jumps: chains.flatMap((chain) => jumpOf(chain, family)),
      },
    ];
  });
}

function jumpOf(chain: Chain, family: Family): { from: string; line: string }[] {
  if (chain.entry === undefined) return [];
  const rule: Rule = {
    matches: chain.entry.matches,
    verdict: { is: "call", chain: chain.name },
    why: "",
  };
  return ruleLines(rule, family).map((line) => ({
    from: HOOKS[chain.entry?.hook ?? "output"],
    line,
  }));
}

const chainLines = (chain: Chain, family: Family): string[] =>
  chain.rules
    .filter((rule) => (familyOf(rule) ?? family) === family)
    .flatMap((rule) => ruleLines(rule, family));

function ruleLines(rule: Rule, family: Family): string[] {
  return splitPorts(rule.matches).map((matches) => {
    const words = [
      ...matches.map((match) => matchText(match, family)),
      verdictText(rule.verdict, family),
    ].filter((word) => word !== "");
    const text = words.join(" ");
    const at = words.length - 1;
    const why = `-m comment --comment "${comment(`${text}${rule.meaning ?? ""}`, rule.why)}"`;
    return [...words.slice(0, at), why, words[at]].join(" ");
  });
}

/** One rule becomes several when it lists more ports than a multiport match takes. */
function splitPorts(matches: readonly Match[]): (readonly Match[])[] {
  const i = matches.findIndex((match) => match.is === "to_ports" || match.is === "from_ports");
  const match = matches[i];
  if (match === undefined || !("ports" in match)) return [matches];
  return chunksOf(match.ports).map((ports) => matches.with(i, { is: match.is, ports }));
}

function chunksOf(ports: readonly PortRange[]): PortRange[][] {
  const chunks: PortRange[][] = [];
  let room = 0;
  for (const range of ports) {
    const slots = range[0] === range[1] ? 1 : 2;
    if (room < slots) {
      chunks.push([]);
      room = MULTIPORT_SLOTS;
    }
    chunks.at(-1)?.push(range);
    room -= slots;
  }
  return chunks;
}

function matchText(match: Match, family: Family): string {
  switch (match.is) {
    case "protocol":
      return `-p ${match.protocol}`;
    case "syn":
      return "-m tcp --tcp-flags FIN,SYN,RST,ACK SYN";
    case "synack":
      return "-m tcp --tcp-flags FIN,SYN,RST,ACK SYN,ACK";
    case "owner":
      return ownerMatch(match.owner);
    case "socket_of_another":
      return `-m owner --socket-exists ! --uid-owner ${match.uid}`;
    case "to":
      return `-d ${match.cidr}`;
    case "to_local":
      return "-m addrtype --dst-type LOCAL";
    case "to_ports":
      return portsText("d", match.ports);
    case "from_ports":
      return portsText("s", match.ports);
    case "in_set":
      return `-m set --match-set ${setName(match.set, family)} dst,dst`;
    case "out_loopback":
      return "-o lo";
    case "in_loopback":
      return "-i lo";
    case "not_in_loopback":
      return "! -i lo";
    case "marked":
      return `-m mark --mark ${hex(match.mark)}`;
    case "reply":
      return "-m conntrack --ctdir REPLY";
    case "transparent_socket":
      return "-m socket --transparent";
  }
}

function ownerMatch(owner: Owner): string {
  if (owner.is === "slice") return `-m cgroup --path ${slicePath(owner.slice)}`;
  return owner.is === "uid"
    ? `-m owner --uid-owner ${owner.uid}`
    : `-m owner --gid-owner ${owner.gid}`;
}

function portsText(side: "s" | "d", ports: readonly PortRange[]): string {
  const text = ports
    .map(([first, last]) => (first === last ? `${first}` : `${first}:${last}`))
    .join(",");
  return `-m multiport --${side}ports ${text}`;
}

function verdictText(verdict: Verdict, family: Family): string {
  switch (verdict.is) {
    case "return":
      return "-j RETURN";
    case "redirect":
      return `-j REDIRECT --to-ports ${verdict.port}`;
    case "call":
      return `-j ${chainName(verdict.chain)}`;
    case "mark":
      return `-j MARK --set-xmark ${hex(verdict.mark)}/0xffffffff`;
    case "tproxy":
      return `-j TPROXY --on-port ${verdict.port} --on-ip ${family === "ip" ? "127.0.0.1" : "::1"} --tproxy-mark 0x0/0x0`;
    case "drop":
      return "-j DROP";
    case "reset":
      return "-j REJECT --reject-with tcp-reset";
  }
}

/** The whole plan as a person may read it, or paste it. */
export function iptablesText(plan: RedirectPlan): string {
  return plan.families
    .map((family) => {
      const tables = tablesOf(plan, family).map((table) =>
        [
          `*${table.table}`,
          ...table.chains.map(({ name }) => `:${name} - [0:0]`),
          ...table.jumps.map(({ from, line }) => `-I ${from} 1 ${line}`),
          ...table.chains.flatMap(({ name, lines }) => lines.map((line) => `-A ${name} ${line}`)),
          "COMMIT",
        ].join("\n"),
      );
      const sets = setsText(plan, family).join("\n");
      return `# ipset restore\n${sets}\n# ${family === "ip" ? "iptables" : "ip6tables"}-restore --noflush\n${tables.join("\n")}`;
    })
    .join("\n");
}

export const createSets = (plan: RedirectPlan, family: Family): string[] => {
  const inet = family === "ip" ? "inet" : "inet6";
  const endpoints = `create ${setName("endpoints", family)} hash:ip,port family ${inet} maxelem 65536`;
  const dns = `create ${setName("dns", family)} hash:ip,port family ${inet} timeout 1`;
  return plan.resolvers.length > 0 ? [endpoints, dns] : [endpoints];
};

export const endpointElement = ([address, port, protocol = "tcp"]: AddressPort): string =>
  `${address},${protocol}:${port}`;

function setsText(plan: RedirectPlan, family: Family): string[] {
  const members = plan.endpoints
    .filter(([address]) => isIpv6Text(address) === (family === "ip6"))
    .map((endpoint) => `add ${setName("endpoints", family)} ${endpointElement(endpoint)}`);
  return [...createSets(plan, family), ...members];
}
