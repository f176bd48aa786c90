// How soon a change of configuration is in force everywhere: 20 agents, each on a host of its own, and one config server. All share
// this machine's cores, so each agent's part (verify, compile, serve, write to disk) waits for the others'.
import { fileURLToPath } from "node:url";
import { ADMIN_PATHS, type AgentStatus } from "../../agent/api/admin.ts";
import { addHost, BOTH_CORES, LOAD_CORE, runToEnd, until } from "./hosts.ts";
import { median } from "./measure.ts";
import { ask, ENVIRONMENT, join, startAgent } from "./mesh.ts";
import type { Row } from "./table.ts";

const AGENTS = 20;
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
  const script = fileURLToPath(new URL("./change.ts", import.meta.url));
  const said = runToEnd("b", [process.execPath, script, `${AGENTS}`, `${rounds}`], {
    core: LOAD_CORE,
    env: ENVIRONMENT,
  });
  for (const { process } of agents) process.kill("SIGKILL");
  const took: number[] = JSON.parse(/took (.*)/.exec(said)?.[1] ?? "[]");
  const name = `a change of configuration to the last ack, ${AGENTS} agents`;
  return [
    { name, measure: "ms, median", ours: median(took), must: 300, goal: 50 },
    { name, measure: "ms, most", ours: Math.max(...took) },
  ];
}
