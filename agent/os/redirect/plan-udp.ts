// The redirect of datagrams: local ones to declared UDP ports, and what other hosts send to a workload's.
import type { RedirectInput } from "./input.ts";
import { dnsPorts, exempt, local, ownerRules, rangesOf, udp } from "./plan-parts.ts";
import {
  type Chain,
  type Match,
  type PortRange,
  type Rule,
  UDP_MARK,
  type Verdict,
} from "./rules.ts";

export const udpPorts = (input: RedirectInput): PortRange[] =>
  rangesOf(input.workloads.flatMap((workload) => workload.udpPorts ?? []));

/** By mark and TPROXY, not by REDIRECT, for the same reason; and because the socket then learns where each datagram was going. The
 *  owner is known only where it is sent, TPROXY works only where it arrives: the mark carries the one to the other.
 *  See docs/decisions/0025-udp.md. */
export function planUdp(input: RedirectInput, withDns: boolean): Chain[] {
  const ports = udpPorts(input);
  const toUdpOwner = { is: "call", chain: "udp_owner" } as const;
  const rules: Rule[] = [exempt(input)];
  if (withDns)
    rules.push({
      matches: [udp, dnsPorts, { is: "in_set", set: "dns" }],
      verdict: { is: "return" },
      why: "names are the chain dns",
    });
  rules.push({
    matches: [udp, { is: "in_set", set: "endpoints" }],
    verdict: toUdpOwner,
    why: "virtual IPs and mesh endpoints",
  });
  const mark = (port: number): Verdict => ({ is: "mark", mark: UDP_MARK + port });
  // A mark does not end the chain: the last rule that matches decides, so the order is the other way round.
  const owners: Rule[] = [
    { matches: [udp], verdict: mark(input.hostListenerPort), why: "everybody else is the host" },
    ...ownerRules(input, udp, mark).reverse(),
  ];
  const listeners = [
    ...input.workloads.map(({ name, outboundPort }) => ({ name, port: outboundPort })),
    { name: "everybody else", port: input.hostListenerPort },
  ];
  const arrivals = listeners.map(
    ({ name, port }): Rule => ({
      matches: [udp, { is: "in_loopback" }, { is: "marked", mark: UDP_MARK + port }],
      verdict: { is: "tproxy", port },
      why: `datagrams of ${name}`,
    }),
  );
  if (ports.length > 0) {
    const toApps: readonly Match[] = [udp, { is: "to_ports", ports }, local];
    rules.push({ matches: toApps, verdict: toUdpOwner, why: "workloads of this host" });
    const fromOthers: readonly Match[] = [
      udp,
      { is: "not_in_loopback" },
      { is: "to_ports", ports },
    ];
    arrivals.push(
      {
        matches: [...fromOthers, { is: "reply" }],
        verdict: { is: "return" },
        why: "answers to what a workload asked from its own port",
      },
      {
        matches: [...fromOthers, local],
        verdict: { is: "tproxy", port: input.inboundPort },
        why: "workloads of this host",
      },
    );
  }
  return [
    { name: "udp_owner", table: "mangle", entry: undefined, rules: owners },
    { name: "udp_out", table: "mangle", entry: { hook: "output", matches: [udp] }, rules },
    {
      name: "udp_in",
      table: "mangle",
      entry: { hook: "prerouting", matches: [udp] },
      rules: arrivals,
    },
  ];
}
