// The gossip pool, as this host's agent sees it.
import { GOSSIP_PORT } from "../../../agent/api/gossip.ts";
import { agentOf, type Facts } from "../facts.ts";
import { type Finding, tellerOf } from "../finding.ts";

const { ok, warning } = tellerOf("gossip");
const NAMED_MAX = 5;
/** Until then not having been heard means nothing. */
const FIRST_SECONDS = 10;

export function checkGossip(facts: Facts): readonly Finding[] {
  const agent = agentOf(facts);
  if (agent === undefined) return [];
  const { members } = agent.members;
  if (members.length === 0) return [ok("pool", "this host is alone in the pool")];
  const named = (names: readonly string[]): string =>
    `${names.slice(0, NAMED_MAX).join(", ")}${names.length > NAMED_MAX ? ` and ${names.length - NAMED_MAX} more` : ""}`;
  if (agent.status.uptimeSeconds < FIRST_SECONDS)
    return [ok("pool", `${members.length} other members; the agent has only just begun to listen`)];
  const unheard = members.filter(({ status }) => status === "unheard").map(({ name }) => name);
  const down = members.filter(({ isDown }) => isDown).map(({ name }) => name);
  const open = `open ${GOSSIP_PORT} (a server's ${GOSSIP_PORT + 1}), UDP and TCP, between this host and them`;
  const findings = [
    ...(unheard.length > 0 ? [warning("unheard", `never heard of: ${named(unheard)}`, open)] : []),
    ...(down.length > 0
      ? [
          warning(
            "down",
            `get no traffic from this host: ${named(down)}`,
            "meshctl members --agent; look at those hosts",
          ),
        ]
      : []),
  ];
  return findings.length > 0 ? findings : [ok("pool", `${members.length} other members are heard`)];
}
