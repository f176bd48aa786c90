// The agent's ports: in its own hands, free for it, or somebody else's.
import { agentOf, type Facts } from "../facts.ts";
import { AS_ROOT, type Finding, tellerOf } from "../finding.ts";
import type { Process } from "../reading/processes.ts";
import type { Listening } from "../reading/sockets.ts";
import { type AgentPort, agentPorts } from "./agent-ports.ts";

const { ok, error, unseen } = tellerOf("ports");

/** systemd keeps listeners for a service that is down (record 9). */
const INIT = 1;

export function checkPorts(facts: Facts): readonly Finding[] {
  const findings = agentPorts(facts).flatMap((port) => judge(port, facts));
  if (findings.length > 0) return findings;
  const ports = [...new Set(agentPorts(facts).map(({ port }) => port))].join(", ");
  return [
    ok("ports", agentOf(facts) === undefined ? `${ports} are free` : `${ports} are the agent's`),
  ];
}

function judge(wanted: AgentPort, facts: Facts): readonly Finding[] {
  const { what, protocol, port } = wanted;
  const title = `port ${port}/${protocol} (${what})`;
  const here = facts.sockets.filter((socket) => isInTheWay(socket, wanted));
  const agent = agentOf(facts)?.status.pid;
  const strangers = here.filter(({ pids }) => !pids.some((pid) => pid === agent || pid === INIT));
  const [stranger] = strangers;
  if (stranger === undefined) {
    if (agent === undefined || here.length > 0) return [];
    return [
      error(
        "not-listening",
        `the agent does not listen on ${title}`,
        "journalctl -u ironmesh-agent -n 50 # or its log: it says why",
      ),
    ];
  }
  // Files of other users' processes cannot be looked at; the agent's own are, too, another user's.
  if (stranger.pids.length === 0 && !facts.isRoot)
    return facts.agent === undefined
      ? [
          error(
            "taken",
            `${title} is taken by a process of uid ${stranger.uid}`,
            "sudo meshctl check # names the process",
          ),
        ]
      : [unseen("holder", `who holds ${title}`, AS_ROOT)];
  return [
    error(
      "taken",
      `${title} is taken by ${holderText(stranger, facts.processes)}`,
      freeText(stranger),
    ),
  ];
}

function isInTheWay({ protocol, address, port }: Listening, wanted: AgentPort): boolean {
  if (protocol !== wanted.protocol || port !== wanted.port) return false;
  if (wanted.on === "all") return true;
  return (
    address === "0.0.0.0" || address === "::" || address.startsWith("127.") || address === "::1"
  );
}

/** `pid 12 (nginx: nginx -g daemon off), uid 33` */
export function holderText(
  { pids, uid }: Pick<Listening, "pids" | "uid">,
  processes: readonly Process[],
): string {
  const [pid] = pids;
  const process = processes.find((one) => one.pid === pid);
  if (pid === undefined || process === undefined)
    return `a socket of uid ${uid} that no process here has open`;
  const words = process.words.join(" ").slice(0, 80);
  return `pid ${pid} (${process.name}${words === "" ? "" : `: ${words}`}), uid ${process.uid}`;
}

const freeText = ({ pids: [pid], port, protocol }: Listening): string =>
  pid === undefined
    ? `ss -l${protocol === "tcp" ? "t" : "u"}np 'sport = :${port}' # in each network namespace's owner, then stop it`
    : `stop it, or have it listen elsewhere: systemctl status ${pid}; kill ${pid}`;
