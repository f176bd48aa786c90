// The cases without load: what an agent weighs, alone and with idle connections, and how soon it serves.
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { chmodSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { BOTH_CORES, DIRECTORY, LOAD_CORE, PROXY_CORE, pin, start, until } from "./hosts.ts";
import { median, memoryOf } from "./measure.ts";
import { AGENT_UID, agentCommand, type Mesh, restart, startAgent, stopAgent } from "./mesh.ts";
import { BACKEND_PORT, OPAQUE_PORT } from "./peers.ts";
import type { Row } from "./table.ts";

const CONNECTIONS = 5_000;
/** An idle thread collects 2 s after its last event, an agent gives clean pages back 5 s after its start. */
const SETTLE_MS = 9_000;

const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, SETTLE_MS));

/** A client program of ours in host a, with the log it writes. */
function startClient(
  name: string,
  ...args: readonly string[]
): { child: ChildProcess; said(): string } {
  const script = fileURLToPath(new URL(`./${name}.ts`, import.meta.url));
  const log = `${DIRECTORY}/${name}.log`;
  rmSync(log, { force: true });
  const child = start("a", [process.execPath, script, ...args], { core: LOAD_CORE, log });
  return { child, said: () => readFileSync(log, "latin1") };
}

/** Of an agent with one data thread that was just started. */
export async function idleOnceCase(mesh: Mesh): Promise<Row[]> {
  await settle();
  return idleRows("1 data thread", memoryOf(mesh.agents.b));
}

const idleRows = (threads: string, found: { rss: number; anonymous: number }): Row[] => {
  const name = `agent idle, ${threads}`;
  return [
    { name, measure: "RSS MB", ours: found.rss, must: 60, goal: 40 },
    { name, measure: "RssAnon MB", ours: found.anonymous },
  ];
};

/** As a host's administrator finds it: the default number of threads, nothing to do. */
export async function idleCase(mesh: Mesh): Promise<Row[]> {
  await settle();
  const one = memoryOf(mesh.agents.b);
  const threads = availableParallelism();
  await stopAgent(mesh, "b");
  mesh.agents.b = startAgent("b", threads).pid ?? 0;
  await settle();
  const many = memoryOf(mesh.agents.b);
  await restart(mesh, "b", 1);
  return [
    ...idleRows(`${threads} data threads (default here)`, many),
    ...idleRows("1 data thread", one),
  ];
}

export async function connectionsCase(mesh: Mesh): Promise<Row[]> {
  const plain = await heldMemory(mesh, mesh.plain, BACKEND_PORT);
  const mtls = await heldMemory(mesh, mesh.backend, OPAQUE_PORT);
  const name = `each of ${CONNECTIONS} idle connections`;
  const measure = "RssAnon KB";
  return [
    { name: `${name}, plain`, measure, ours: plain.a, must: 2, goal: 1 },
    {
      name: `${name}, mTLS, caller's agent (with its plain side)`,
      measure,
      ours: mtls.a,
      must: 20,
      goal: 16,
    },
    {
      name: `${name}, mTLS, server's agent (with its plain side)`,
      measure,
      ours: mtls.b,
      must: 20,
      goal: 16,
    },
  ];
}

/** KiB of anonymous memory that each connection adds, in each agent. */
async function heldMemory(
  mesh: Mesh,
  address: string,
  port: number,
): Promise<{ a: number; b: number }> {
  await settle();
  const before = { a: memoryOf(mesh.agents.a).anonymous, b: memoryOf(mesh.agents.b).anonymous };
  const client = startClient("hold", address, `${port}`, `${CONNECTIONS}`);
  await until("all idle connections", () => client.said().includes("holding"));
  await settle();
  const each = (host: "a" | "b"): number =>
    ((memoryOf(mesh.agents[host]).anonymous - before[host]) * 1024) / CONNECTIONS;
  const held = { a: each("a"), b: each("b") };
  client.child.kill("SIGKILL");
  await settle();
  return held;
}

/** The agent was killed, its rules stand, callers are refused: how long after its exec is the first of them served? */
export async function startCase(mesh: Mesh, rounds: number): Promise<Row[]> {
  const took: number[] = [];
  for (let round = 0; round < rounds; round++) took.push(await startOnce(mesh));
  pin(mesh.agents.a, PROXY_CORE); // as every other case expects it
  const name = "exec to first request served, snapshot on disk";
  return [{ name, measure: "ms", ours: median(took), must: 150, goal: 50 }];
}

async function startOnce(mesh: Mesh): Promise<number> {
  await stopAgent(mesh, "a");
  const client = startClient("probe", mesh.plain, `${BACKEND_PORT}`);
  await until("the probe", () => client.said().includes("trying"));
  const execAt = `${DIRECTORY}/exec-at`;
  writeFileSync(execAt, "");
  chmodSync(execAt, 0o666);
  const script = `echo $EPOCHREALTIME > ${execAt}; exec "$@"`;
  const agent = start("a", ["bash", "-c", script, "agent", ...agentCommand("a", 1)], {
    core: BOTH_CORES,
    uid: AGENT_UID,
  });
  await once(client.child, "exit");
  mesh.agents.a = agent.pid ?? 0;
  const answered = Number(/answered ([\d.]+)/.exec(client.said())?.[1]);
  return answered - Number(readFileSync(execAt, "latin1").replace(",", ".")) * 1_000;
}
