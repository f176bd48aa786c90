// The agent: whether it runs, what it says of itself, and whether systemd would bring it back.
import { type AgentFacts, agentOf, type Facts, hasJoined } from "../facts.ts";
import { type Finding, tellerOf } from "../finding.ts";
import type { Unit } from "../reading/units.ts";

const { ok, warning, error, unseen } = tellerOf("agent");

/** A host that joined and runs none. */
export const NO_AGENT = "not-running";

export function checkAgent(facts: Facts): readonly Finding[] {
  return [...running(facts), ...(facts.units ?? []).flatMap(unitFindings)];
}

function running(facts: Facts): readonly Finding[] {
  const { agent, options, units } = facts;
  if (agent?.ok === false) return [unseen("running", "the agent", agent.error)];
  const known = agentOf(facts);
  if (known !== undefined) return [...version(known, facts.version), ...health(known)];
  if (!hasJoined(facts))
    return [ok("running", "this host has not joined: there is nothing to run yet")];
  return [
    error(
      NO_AGENT,
      `no agent answers at ${options.adminSocket}: what the mesh declares is refused on this host`,
      units === undefined
        ? "meshctl agent"
        : "systemctl start ironmesh-agent; journalctl -u ironmesh-agent -n 50",
    ),
  ];
}

function version({ status }: AgentFacts, own: string): readonly Finding[] {
  if (status.agentVersion === own)
    return [ok("version", `${status.host}: agent ${own}, pid ${status.pid}`)];
  return [
    warning(
      "version",
      `the agent runs ${status.agentVersion}, and this meshctl is ${own}`,
      "meshctl upgrade # if the newer one lies where the agent's executable is",
    ),
  ];
}

function health({ status, uid, snapshot }: AgentFacts): readonly Finding[] {
  const findings: Finding[] = [];
  if (uid === 0)
    findings.push(
      error(
        "user",
        "the agent runs as root, so root's traffic could not be told from its own",
        "run it as a user of its own (docs/joining-hosts.md)",
      ),
    );
  if (snapshot === undefined)
    findings.push(
      error(
        "serving",
        "the agent serves no configuration yet",
        "meshctl status --agent # says whether it reaches its server",
      ),
    );
  for (const problem of status.problems)
    findings.push(
      error(
        "refused",
        `the agent refused the last version: ${problem}`,
        "mend the resource and apply it again",
      ),
    );
  if (status.threadsReplaced > 0)
    findings.push(
      warning(
        "threads",
        `${status.threadsReplaced} of the agent's threads died and were replaced`,
        "report the bug that its log names",
      ),
    );
  return findings;
}

function unitFindings({ name, active, enabled, result, restarts }: Unit): readonly Finding[] {
  const findings: Finding[] = [];
  if (active === "failed" || (active !== "active" && result !== "success"))
    findings.push(
      error(
        "unit",
        `${name} failed (${result})`,
        `journalctl -u ${name} -n 50; systemctl restart ${name}`,
      ),
    );
  if (enabled !== "enabled")
    findings.push(
      error(
        "unit-enabled",
        `${name} is ${enabled || "not enabled"}: it does not come back after a reboot`,
        `systemctl enable ${name}`,
      ),
    );
  if (restarts > 0)
    findings.push(
      warning(
        "restarts",
        `systemd had to start ${name} again ${restarts} times`,
        `journalctl -u ${name} | grep -i -e error -e watchdog`,
      ),
    );
  return findings.length > 0 ? findings : [ok("unit", `${name} is ${active} and enabled`)];
}
