// What other meshes left on this host, and what a killed Ironmesh did.
import { agentOf, type Facts, hasJoined } from "../facts.ts";
import { type Finding, tellerOf } from "../finding.ts";
import type { SavedTable } from "../reading/firewall.ts";
import { targetOf } from "./rivals.ts";

const { ok, warning, error, unseen } = tellerOf("leftovers");

/** Chains that other meshes' own tools make. */
const TOOLS: readonly { readonly tool: string; readonly prefix: string; readonly undo: string }[] =
  [
    { tool: "Istio", prefix: "ISTIO_", undo: "pilot-agent istio-clean-iptables" },
    { tool: "Consul", prefix: "CONSUL_", undo: "" },
    { tool: "Kuma", prefix: "KUMA_", undo: "kumactl uninstall transparent-proxy" },
    { tool: "Kuma", prefix: "MESH_", undo: "kumactl uninstall transparent-proxy" },
    { tool: "Linkerd", prefix: "PROXY_INIT_", undo: "" },
  ];
const OURS = "IRONMESH_";
/** Their agents, as the kernel cuts names. */
const PROCESSES: Readonly<Record<string, string>> = {
  "pilot-agent": "Istio",
  "consul-dataplan": "Consul",
  "linkerd2-proxy": "Linkerd",
  "linkerd-proxy": "Linkerd",
  "kuma-dp": "Kuma",
};
const DEMO_NAMESPACE = "im-demo-";

export function checkLeftovers(facts: Facts): readonly Finding[] {
  const findings = [...chains(facts), ...own(facts), ...processes(facts), ...demo(facts)];
  return findings.length > 0
    ? findings
    : [ok("none", "no other mesh, and nothing of an earlier one")];
}

function chains({ firewall }: Facts): readonly Finding[] {
  if (!firewall.ok) return [unseen("chains", "rules of other tools", firewall.error)];
  return firewall.value.iptables.flatMap((table) =>
    TOOLS.flatMap(({ tool, prefix, undo }) => {
      const names = table.chains.map(({ name }) => name).filter((name) => name.startsWith(prefix));
      if (names.length === 0) return [];
      const { program } = table;
      const sweep = `${program}-save | grep -v -e ':${prefix}' -e '-A ${prefix}' -e '-[jg] ${prefix}' | ${program}-restore`;
      const next = `${undo === "" ? "" : `${undo} # where it is at hand; else `}stop ${tool} on this host, then: ${sweep}`;
      const where = `${program} ${table.table}`;
      return [
        isEntered(table, prefix)
          ? error("chains", `${tool}'s rules are active in ${where}: ${names.join(", ")}`, next)
          : warning("chains", `${tool} left chains in ${where}: ${names.join(", ")}`, next),
      ];
    }),
  );
}

const isEntered = ({ chains: all }: SavedTable, prefix: string): boolean =>
  all.some(
    ({ isBuiltIn, rules }) =>
      isBuiltIn && rules.some((rule) => targetOf(rule)?.startsWith(prefix) === true),
  );

/** Rules of ours on a host that is no member: of a demo or an agent that was killed, or of files that were removed by hand. */
function own(facts: Facts): readonly Finding[] {
  const { firewall } = facts;
  if (!firewall.ok || hasJoined(facts) || agentOf(facts) !== undefined) return [];
  const { iptables, nft } = firewall.value;
  const isHere =
    iptables.some(({ chains: all }) => all.some(({ name }) => name.startsWith(OURS))) ||
    nft.some(({ table }) => table === "inet ironmesh");
  return isHere
    ? [
        error(
          "own-rules",
          "rules of an earlier Ironmesh are in place, and this host is no member: what they redirect is refused",
          "meshctl redirect remove",
        ),
      ]
    : [];
}

const processes = (facts: Facts): readonly Finding[] =>
  facts.processes.flatMap(({ pid, name }) => {
    const tool = PROCESSES[name];
    return tool === undefined
      ? []
      : [
          warning(
            "process",
            `${tool} runs here too (pid ${pid}, ${name}): two meshes do not share a host's traffic`,
            `systemctl status ${pid} # stop and disable it`,
          ),
        ];
  });

function demo({ host, processes: all }: Facts): readonly Finding[] {
  const left = host.namespaces.filter((name) => name.startsWith(DEMO_NAMESPACE));
  const isRunning = all.some(({ words }) => words.includes("demo"));
  return left.length === 0 || isRunning
    ? []
    : [
        warning(
          "demo",
          `a demo that was killed left network namespaces: ${left.join(", ")}`,
          `for n in ${left.join(" ")}; do ip netns pids $n | xargs -r kill; ip netns del $n; done # the next demo does it too`,
        ),
      ];
}
