// Where an agent with these options listens; see docs/operating.md, "Ports".
import { GOSSIP_PORT } from "../../../agent/api/gossip.ts";
import { MESH_PORT } from "../../../agent/api/mesh-wire.ts";
import { agentOf, type Facts } from "../facts.ts";

export interface AgentPort {
  readonly what: string;
  readonly protocol: "tcp" | "udp";
  readonly port: number;
  /** Loopback: only who listens there or everywhere is in its way. */
  readonly on: "loopback" | "all";
}

const HOST_LISTENER = 15_001;
const INBOUND = 15_006;
const DNS = 15_053;

export function agentPorts(facts: Facts): readonly AgentPort[] {
  const { dns, redirect, metricsPort, metricsAddress } = facts.options;
  const tcp = (what: string, port: number, on: AgentPort["on"]): AgentPort => ({
    ...{ what, port, on },
    protocol: "tcp",
  });
  const isLoopback = metricsAddress.startsWith("127.") || metricsAddress === "::1";
  return [
    tcp("outbound", HOST_LISTENER, "loopback"),
    tcp("inbound", INBOUND, "all"),
    tcp("mesh", MESH_PORT, "all"),
    ...(dns && redirect !== "none" ? [tcp("DNS", DNS, "loopback")] : []),
    tcp("gossip", GOSSIP_PORT, "all"),
    { what: "gossip", protocol: "udp", port: GOSSIP_PORT, on: "all" },
    ...(metricsPort === 0 ? [] : [tcp("metrics", metricsPort, isLoopback ? "loopback" : "all")]),
    ...(agentOf(facts)?.snapshot?.workloads ?? []).map((workload) =>
      tcp(`outbound of ${workload.namespace}/${workload.name}`, workload.outboundPort, "loopback"),
    ),
  ];
}
