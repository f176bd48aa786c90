// The redirect as a plan: what rules, sets and routes there should be, from what the agent knows. Pure; apply.ts makes it so.
// Chains, and who enters them:
//   out     first packets of local connections -> owner, the host listener, or nothing
//   owner   who is calling: the kernel knows, one rule per workload; everybody else is the host
//   in      first packets from other hosts to a workload's port -> inbound listener
//   dns     queries to resolv.conf's resolvers, while the agent says that it lives -> marked, routed to the agent's sockets
//   dns_in  such a query that finds no socket of ours (the agent just died) is dropped, so that its sender asks again
//   udp_out    datagrams to declared UDP ports -> udp_owner
//   udp_owner  who is calling, as in owner -> a mark that says so, which routes them back to this host
//   udp_in  what carries such a mark -> the caller's listener; what other hosts send to a UDP port of a workload -> inbound listener
//   guard   answers from our ports that are not ours -> cut, so that a dead agent's port is no prize
import { err, ok, type Problem, type Result } from "../../base/result.ts";
import { type AddressPort, checkInput, type RedirectInput } from "./input.ts";
import { dnsPorts, exempt, local, ownerRules, rangesOf, tcp, udp } from "./plan-parts.ts";
import { planUdp, udpPorts } from "./plan-udp.ts";
import {
  type Chain,
  DNS_MARK,
  DNS_TABLE,
  type Family,
  type PortRange,
  type Rule,
} from "./rules.ts";

export interface Route {
  readonly family: Family;
  /** A range, or `default`: all of it is local. */
  readonly to: string;
  readonly table: string;
}

export interface RedirectPlan {
  readonly backend: "iptables" | "nft";
  readonly variant: "default" | "nft" | "legacy";
  readonly families: readonly Family[];
  readonly chains: readonly Chain[];
  readonly endpoints: readonly AddressPort[];
  /** Resolvers to capture, both families. */
  readonly resolvers: readonly string[];
  readonly routes: readonly Route[];
  /** Which marks lead to the table in which everything is local. */
  readonly marks: readonly { readonly family: Family; readonly is: "dns" | "udp" }[];
}

export function planRedirect(input: RedirectInput): Result<RedirectPlan, readonly Problem[]> {
  const problems = checkInput(input);
  if (problems.length > 0) return err(problems);
  const families: readonly Family[] = input.hasIpv6 ? ["ip", "ip6"] : ["ip"];
  const isPlanned = (address: string): boolean => input.hasIpv6 || !address.includes(":");
  const resolvers = input.resolvers.filter(isPlanned);
  const withDns = resolvers.length > 0;
  const endpoints = input.endpoints.filter(([address]) => isPlanned(address));
  const withUdp =
    udpPorts(input).length > 0 || endpoints.some(([, , protocol]) => protocol === "udp");
  const marks = families.flatMap((family) => [
    ...(resolvers.some((resolver) => resolver.includes(":") === (family === "ip6"))
      ? [{ family, is: "dns" } as const]
      : []),
    ...(withUdp ? [{ family, is: "udp" } as const] : []),
  ]);
  return ok({
    backend: input.backend,
    variant: input.variant ?? "default",
    families,
    chains: [
      planOut(input, withDns),
      planOwner(input),
      planIn(input),
      ...(withDns ? [planDns(input), planDnsIn()] : []),
      ...(withUdp ? planUdp(input, withDns) : []),
      planGuard(input, withDns),
    ],
    endpoints,
    resolvers,
    routes: planRoutes(input, marks),
    marks,
  });
}

const toOwner = { is: "call", chain: "owner" } as const;

const appPorts = (input: RedirectInput): PortRange[] =>
  rangesOf(input.workloads.flatMap((workload) => workload.appPorts));

const listenerPorts = (input: RedirectInput): PortRange[] => [
  [input.hostListenerPort, input.hostListenerPort],
  input.listenerRange,
];

function planOut(input: RedirectInput, withDns: boolean): Chain {
  const apps = appPorts(input);
  const rules: Rule[] = [exempt(input)];
  if (withDns) {
    rules.push({
      matches: [tcp, dnsPorts, { is: "in_set", set: "dns" }],
      verdict: { is: "redirect", port: input.dnsPort },
      why: "DNS over TCP",
    });
  }
  rules.push({
    matches: [tcp, { is: "to", cidr: input.vip4 }],
    verdict: toOwner,
    why: "virtual IPs",
  });
  if (input.hasIpv6)
    rules.push({
      matches: [tcp, { is: "to", cidr: input.vip6 }],
      verdict: toOwner,
      why: "virtual IPs",
    });
  rules.push({
    matches: [tcp, { is: "in_set", set: "endpoints" }],
    verdict: toOwner,
    why: "mesh endpoints",
  });
  if (apps.length > 0) {
    rules.push({
      matches: [tcp, { is: "to_ports", ports: apps }, local],
      verdict: toOwner,
      why: "workloads of this host",
    });
  }
  rules.push(directDials(input));
  if (input.mode === "all") rules.push(...planAll(input));
  return {
    name: "out",
    table: "nat",
    entry: { hook: "output", matches: [tcp, { is: "syn" }] },
    rules,
  };
}

/** Somebody who dials a listener of ours wants to borrow its identity: the inbound listener refuses and counts him. */
const directDials = (input: RedirectInput): Rule => ({
  matches: [tcp, { is: "to_ports", ports: listenerPorts(input) }, local],
  verdict: { is: "redirect", port: input.inboundPort },
  why: "direct dials of a listener",
});

function planAll(input: RedirectInput): Rule[] {
  const { uids, cidrs, ports } = input.exclusions;
  const leave = { is: "return" } as const;
  const rules: Rule[] = [{ matches: [local], verdict: leave, why: "all: not within the host" }];
  if (input.sshPorts.length > 0) {
    rules.push({
      matches: [tcp, { is: "from_ports", ports: rangesOf(input.sshPorts) }],
      verdict: leave,
      why: "all: the SSH session",
    });
  }
  for (const uid of uids) {
    rules.push({
      matches: [{ is: "owner", owner: { is: "uid", uid } }],
      verdict: leave,
      why: `all: excluded uid ${uid}`,
    });
  }
  for (const cidr of cidrs) {
    if (input.hasIpv6 || !cidr.includes(":")) {
      rules.push({ matches: [{ is: "to", cidr }], verdict: leave, why: "all: excluded range" });
    }
  }
  if (ports.length > 0) {
    rules.push({
      matches: [tcp, { is: "to_ports", ports: rangesOf(ports) }],
      verdict: leave,
      why: "all: excluded ports",
    });
  }
  rules.push({ matches: [tcp], verdict: toOwner, why: "all: every connection" });
  return rules;
}

function planOwner(input: RedirectInput): Chain {
  const rules = ownerRules(input, tcp, (port) => ({ is: "redirect", port }));
  rules.push({
    matches: [tcp],
    verdict: { is: "redirect", port: input.hostListenerPort },
    why: "everybody else is the host",
  });
  return { name: "owner", table: "nat", entry: undefined, rules };
}

function planIn(input: RedirectInput): Chain {
  const apps = appPorts(input);
  const rules: Rule[] = [];
  if (apps.length > 0) {
    rules.push({
      matches: [tcp, { is: "to_ports", ports: apps }, local],
      verdict: { is: "redirect", port: input.inboundPort },
      why: "workloads of this host",
    });
  }
  rules.push(directDials(input));
  return {
    name: "in",
    table: "nat",
    entry: { hook: "prerouting", matches: [tcp, { is: "not_in_loopback" }, { is: "syn" }] },
    rules,
  };
}

/** By mark and routing, not by REDIRECT: a socket in use would keep its translation in conntrack, alive by its own retries,
 *  long after the agent died. Here each packet asks the set anew, and nothing is remembered. */
const planDns = (input: RedirectInput): Chain => ({
  name: "dns",
  table: "mangle",
  entry: { hook: "output", matches: [udp, dnsPorts] },
  rules: [
    exempt(input),
    {
      matches: [udp, { is: "in_set", set: "dns" }],
      verdict: { is: "mark", mark: DNS_MARK },
      why: "DNS while the agent lives",
    },
  ],
});

const planDnsIn = (): Chain => ({
  name: "dns_in",
  table: "mangle",
  entry: {
    hook: "prerouting",
    matches: [udp, { is: "in_loopback" }, dnsPorts, { is: "marked", mark: DNS_MARK }],
  },
  rules: [
    {
      matches: [udp, { is: "transparent_socket" }],
      verdict: { is: "return" },
      why: "the agent answers",
    },
    { matches: [], verdict: { is: "drop" }, why: "the agent is gone: the sender asks again" },
  ],
});

/** Only the handshake's answer is judged: a closed socket's last bytes and a kernel's RST carry no owner and must pass. On the
 *  wildcard ports an answer without any socket (a SYN cookie) passes too, or a flood would cut the agent off. */
function planGuard(input: RedirectInput, withDns: boolean): Chain {
  const loopback = withDns
    ? [...listenerPorts(input), [input.dnsPort, input.dnsPort] as const]
    : listenerPorts(input);
  const open = rangesOf([input.inboundPort, input.meshPort]);
  return {
    name: "guard",
    table: "filter",
    entry: { hook: "output", matches: [tcp, { is: "synack" }] },
    rules: [
      exempt(input),
      {
        matches: [tcp, { is: "out_loopback" }, { is: "from_ports", ports: loopback }],
        verdict: { is: "reset" },
        why: "another user on a listener port",
      },
      {
        matches: [
          tcp,
          { is: "from_ports", ports: open },
          { is: "socket_of_another", uid: input.agentUid },
        ],
        verdict: { is: "reset" },
        why: "another user on an agent port",
      },
    ],
  };
}

/** A host without a default route could not reach a virtual IP at all: connect() fails before any rule is asked. */
function planRoutes(input: RedirectInput, marks: RedirectPlan["marks"]): Route[] {
  const routes: Route[] = [{ family: "ip", to: input.vip4, table: "local" }];
  if (input.hasIpv6) routes.push({ family: "ip6", to: input.vip6, table: "local" });
  const table = `${DNS_TABLE}`;
  for (const family of new Set(marks.map((mark) => mark.family)))
    routes.push({ family, to: "default", table });
  return routes;
}
