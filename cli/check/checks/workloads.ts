// The workloads declared for this host: whether their apps listen where the mesh dials them, and as whom.
import type { InboundPort, LocalWorkload } from "../../../agent/policy/snapshot.ts";
import { agentOf, type Facts } from "../facts.ts";
import { type Finding, tellerOf } from "../finding.ts";
import type { Listening } from "../reading/sockets.ts";

const { ok, warning, error } = tellerOf("workloads");

export function checkWorkloads(facts: Facts): readonly Finding[] {
  const missing = (agentOf(facts)?.status.redirect.missing ?? []).map((text) =>
    warning(
      "missing",
      `${text}: nobody is it until there is; the agent looks every 2 s`,
      "make it (useradd -r USER; systemctl enable --now SLICE), or correct the Workload's `process`",
    ),
  );
  return [...missing, ...listeners(facts)];
}

function listeners(facts: Facts): readonly Finding[] {
  const workloads = agentOf(facts)?.snapshot?.workloads;
  if (workloads === undefined) return [];
  if (workloads.length === 0)
    return [ok("none", "no Workload names this host: it calls others, and backs no service")];
  return workloads.flatMap((workload) => {
    const findings = workload.ports.flatMap((port) => judge(workload, port, facts));
    if (findings.length > 0) return findings;
    const ports = workload.ports.map(({ appPort }) => appPort).join(", ");
    const title = `${workload.namespace}/${workload.name}`;
    return [
      ok("listening", ports === "" ? `${title} backs no port` : `${title} listens on ${ports}`),
    ];
  });
}

function judge(
  workload: LocalWorkload,
  { appAddress, appPort, protocol: spoken }: InboundPort,
  facts: Facts,
): readonly Finding[] {
  const title = `${workload.namespace}/${workload.name}`;
  const transport = spoken === "udp" ? "udp" : "tcp";
  const here = facts.sockets.filter(
    ({ protocol, port }) => protocol === transport && port === appPort,
  );
  if (here.length === 0)
    return [
      warning(
        "not-listening",
        `nothing listens on ${transport === "udp" ? "UDP " : ""}port ${appPort} of ${title}: ${transport === "udp" ? "datagrams to it are lost" : "calls to it fail with 503"}`,
        "start the app, or correct the Workload's targetPort",
      ),
    ];
  const reached = here.filter(({ address }) => isReached(address, appAddress));
  if (reached.length === 0)
    return [
      error(
        "address",
        `${title} listens on ${here.map(({ address }) => address).join(", ")}:${appPort}, and the agent dials ${appAddress}`,
        isLoopback(here[0]?.address ?? "")
          ? "`address: loopback` in the Workload, or have the app listen on 0.0.0.0"
          : "have the app listen on 0.0.0.0",
      ),
    ];
  return reached.flatMap((socket) => owner(workload, title, socket));
}

const isLoopback = (address: string): boolean => address.startsWith("127.") || address === "::1";

/** `::` takes IPv4 as well, unless the app says otherwise, which the kernel's table does not show. */
const isReached = (listens: string, dialled: string): boolean =>
  listens === dialled || listens === "::" || (listens === "0.0.0.0" && !dialled.includes(":"));

/** Only a uid can be compared: the socket's table holds nothing else. */
function owner(
  { selector }: LocalWorkload,
  title: string,
  { uid, port }: Listening,
): readonly Finding[] {
  if (selector.is !== "uid" || selector.uid === uid) return [];
  return [
    warning(
      "owner",
      `port ${port} of ${title} is served by uid ${uid}, and the Workload is uid ${selector.uid}: what that process calls is not called as ${title}`,
      `run the app as uid ${selector.uid}, or name its user in the Workload`,
    ),
  ];
}
