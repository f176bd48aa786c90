// How soon a change of configuration is in force everywhere: 20 agents, each on a host of its own, and one config server. All share
// this machine's cores, so each agent's part (verify, compile, serve, write to disk) waits for the others'.
import { setTimeout } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { ADMIN_PATHS, type AgentStatus } from "../../agent/api/admin.ts";
import { addHost, BOTH_CORES, LOAD_CORE, runToEnd, until } from "./hosts.ts";
import { cpuMicros, median } from "./measure.ts";
import { ask, ENVIRONMENT, join, startAgent } from "./mesh.ts";
import type { Row } from "./table.ts";

const AGENTS = 20;
/** An agent that has just started still compiles its own code, for longer than a second of CPU: twenty at once fill the machine. */
const SETTLE_MS = 40_000;
/** Of the mesh under load: a and b. */
const THERE_ALREADY = 2;

export async function changeCase(rounds: number): Promise<Row[]> {
  const agents = Array.from({ length: AGENTS - THERE_ALREADY }, (_, at) => {
    const host = addHost(at);
    join(host);
    return { host, process: startAgent(host, 1, BOTH_CORES) };
  });
  for (const { host } of agents) {
    await until(`agent ${host}`, async () => {
      const status = await ask<AgentStatus>(host, ADMIN_PATHS.status);
      return status?.server.isConnected === true && status.version !== undefined;
    });
  }
  await setTimeout(SETTLE_MS);
  const script = fileURLToPath(new URL("./change.ts", import.meta.url));
  const pids = agents.map(({ process }) => process.pid ?? 0);
  const before = cpuMicros(pids);
  const said = runToEnd("b", [process.execPath, script, `${AGENTS}`, `${rounds}`], {
    core: LOAD_CORE,
    env: ENVIRONMENT,
  });
  const cpuMs = (cpuMicros(pids) - before) / 1_000 / rounds / pids.length;
  for (const { process } of agents) process.kill("SIGKILL");
  const took: number[] = JSON.parse(/took (.*)/.exec(said)?.[1] ?? "[]");
  const name = `a change of configuration to the last ack, ${AGENTS} agents`;
  return [
    { name, measure: "ms, median", ours: median(took), must: 300, goal: 50 },
    { name, measure: "ms, most", ours: Math.max(...took) },
    { name, measure: "CPU ms an agent, with all else of a second", ours: cpuMs },
  ];
}
