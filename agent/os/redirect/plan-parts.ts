// What several chains of the redirect are made of.
import { type Owner, ownerText, type RedirectInput } from "./input.ts";
import type { Match, PortRange, Rule, Verdict } from "./rules.ts";

export const tcp: Match = { is: "protocol", protocol: "tcp" };
export const udp: Match = { is: "protocol", protocol: "udp" };
export const local: Match = { is: "to_local" };
export const dnsPorts: Match = { is: "to_ports", ports: [[53, 53]] };
export const exempt = (input: RedirectInput): Rule => ({
  matches: [{ is: "owner", owner: { is: "uid", uid: input.agentUid } }],
  verdict: { is: "return" },
  why: "the agent itself",
});

/** Sorted, without twins, neighbours joined: the same ports always give the same text. */
export function rangesOf(ports: readonly number[]): PortRange[] {
  const ranges: [number, number][] = [];
  for (const port of [...new Set(ports)].sort((a, b) => a - b)) {
    const last = ranges.at(-1);
    if (last !== undefined && last[1] + 1 === port) last[1] = port;
    else ranges.push([port, port]);
  }
  return ranges;
}

/** A uid says most about who a process is, a group least: where two rules match, the first one decides. */
const RANK: Record<Owner["is"], number> = { uid: 0, slice: 1, gid: 2 };

export function ownerRules(
  input: RedirectInput,
  protocol: Match,
  to: (port: number) => Verdict,
): Rule[] {
  const owned = input.workloads.flatMap(({ owner, ...rest }) =>
    owner === undefined ? [] : [{ ...rest, owner }],
  );
  owned.sort((a, b) => RANK[a.owner.is] - RANK[b.owner.is] || a.outboundPort - b.outboundPort);
  return owned.map(
    ({ owner, name, outboundPort }): Rule => ({
      matches: [protocol, { is: "owner", owner }],
      verdict: to(outboundPort),
      why: `${name} is ${ownerText(owner)}`,
      ...(owner.is === "slice" && owner.cgroup !== undefined
        ? { meaning: `cgroup ${owner.cgroup}` }
        : {}),
    }),
  );
}
