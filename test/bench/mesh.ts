// The product under measurement: a config server and two agents, made members as any host is, with policies and telemetry as shipped.
// Each agent has one data thread (`--workers 1`, as the peers have), on the core the proxies share.
import type { ChildProcess } from "node:child_process";
import { chownSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { ADMIN_PATHS, type AgentStatus } from "../../agent/api/admin.ts";
import type { Snapshot } from "../../agent/policy/snapshot.ts";
import {
  addressOf,
  answers,
  type BOTH_CORES,
  copyProgram,
  DIRECTORY,
  type HostName,
  LOAD_CORE,
  PROXY_CORE,
  runToEnd,
  start,
  until,
} from "./hosts.ts";
import { BACKEND_PORT, IPERF_PORT, OPAQUE_PORT } from "./peers.ts";

export const AGENT_UID = 62_300;
export const BACKEND_UID = 62_301;
/** The user that all load runs as: a workload of its own, so that it has an identity to show. */
export const CLIENT_UID = 62_302;

const MESHCTL = `${DIRECTORY}/meshctl`;
export const ENVIRONMENT = { IRONMESH_CONFIG: `${DIRECTORY}/contexts`, IRONMESH_CONTEXT: "bench" };

const RESOURCES = `
apiVersion: ironmesh.dev/v1
kind: Workload
metadata: { name: backend }
spec:
  hosts: [b]
  serviceAccount: backend
  process: { uid: ${BACKEND_UID} }
  services:
    - name: backend
      ports:
        - { port: ${BACKEND_PORT}, protocol: HTTP }
        - { port: ${OPAQUE_PORT}, protocol: TCP }
---
apiVersion: ironmesh.dev/v1
kind: Workload
metadata: { name: client }
spec:
  hosts: [a]
  serviceAccount: client
  process: { uid: ${CLIENT_UID} }
---
# No agent of ours in front of it: plaintext, one hop.
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: plain }
spec:
  hosts: [plain.bench]
  resolution: STATIC
  ports:
    - { number: ${BACKEND_PORT}, name: http, protocol: HTTP }
    - { number: ${IPERF_PORT}, name: bulk, protocol: TCP }
    - { number: ${OPAQUE_PORT}, name: small, protocol: TCP }
  endpoints:
    - address: ${addressOf("a")}
`;

export interface Mesh {
  /** Process ids; a case that starts an agent anew writes its own here. */
  readonly agents: { [host in HostName]: number };
  /** Virtual IP of the plaintext service in a, and of the service that b's agent fronts. */
  readonly plain: string;
  readonly backend: string;
}

export function meshctl(...args: readonly string[]): string {
  return runToEnd("b", [MESHCTL, ...args], { core: LOAD_CORE, env: ENVIRONMENT });
}

const stateOf = (name: string): string => `${DIRECTORY}/state-${name}`;
const socketOf = (host: string): string => `${stateOf(host)}/admin.sock`;

function directoryFor(name: string): string {
  mkdirSync(stateOf(name), { mode: 0o700 });
  chownSync(stateOf(name), AGENT_UID, AGENT_UID);
  return stateOf(name);
}

export async function startMesh(executable: string): Promise<Mesh> {
  copyProgram(executable, MESHCTL); // its own place may be closed to other users
  await startServer();
  writeFileSync(`${DIRECTORY}/resources.yaml`, RESOURCES);
  meshctl("apply", "-f", `${DIRECTORY}/resources.yaml`);
  for (const host of ["a", "b"] as const) join(host);
  const agents = { a: startAgent("a").pid ?? 0, b: startAgent("b").pid ?? 0 };
  for (const host of ["a", "b"] as const) await serving(host);
  const [plain, backend] = [await vipOf("plain.bench"), await vipOf("backend.default.mesh")];
  return { agents, plain, backend };
}

/** What was started serves, and has all that the server knows. */
export async function serving(host: HostName): Promise<void> {
  await until(`agent ${host}`, async () => {
    const status = await ask<AgentStatus>(host, ADMIN_PATHS.status);
    return status?.redirect.isApplied === true && status.server.isConnected;
  });
}

/** The virtual IP by which programs in a reach a service. */
export async function vipOf(name: string): Promise<string> {
  const snapshot = await ask<Snapshot>("a", ADMIN_PATHS.snapshot);
  const vip = snapshot?.services.find((service) => service.names.includes(name))?.vip4;
  if (vip === undefined) throw new Error(`agent a knows no service ${name}`);
  return vip;
}

/** More resources, for the cases from here on; returns when both agents serve them. */
export async function declare(name: string, resources: string): Promise<void> {
  const file = `${DIRECTORY}/${name}.yaml`;
  writeFileSync(file, resources);
  const { version } = JSON.parse(meshctl("apply", "-f", file, "-o", "json")) as { version: number };
  for (const host of ["a", "b"] as const) {
    await until(`version ${version} on ${host}`, async () => {
      const status = await ask<AgentStatus>(host, ADMIN_PATHS.status);
      return (status?.version ?? 0) >= version;
    });
  }
}

async function startServer(): Promise<void> {
  const state = directoryFor("server");
  const address = addressOf("b");
  const command = [MESHCTL, "server", "--state-dir", state, "--advertise", address];
  start("b", command, { core: LOAD_CORE, uid: AGENT_UID });
  const log = `${DIRECTORY}/meshctl-b.log`;
  await until("the config server", () => /^config server /m.test(readFileSync(log, "utf8")));
  const caSha256 = readFileSync(`${state}/ca-sha256`, "utf8").trim();
  const token = ["--token-file", `${state}/operator-token`, "--context", "bench"];
  meshctl("login", `https://${address}:15010`, "--ca-sha256", caSha256, ...token);
}

export function join(host: string): void {
  const account = host === "b" ? "default/backend" : "default/client";
  const shown = meshctl("token", "create", "--host", host, "--service-account", account);
  const token = /im1\.[A-Za-z0-9_-]+/.exec(shown)?.[0] ?? "";
  const command = [MESHCTL, "join", token, "--no-check", "--state-dir", directoryFor(host)];
  runToEnd(host, command, { core: LOAD_CORE, uid: AGENT_UID });
}

/** With its state on disk: the first time a new member, later one that comes back. */
export function startAgent(
  host: string,
  workers = 1,
  core: number | typeof BOTH_CORES = PROXY_CORE,
  more: readonly string[] = [],
): ChildProcess {
  const command = [...agentCommand(host, workers), ...more];
  return start(host, command, { core, uid: AGENT_UID, env: unitEnvironment() });
}

/** What the installed service gives it. */
function unitEnvironment(): { readonly [name: string]: string } {
  const unit = readFileSync(
    new URL("../../systemd/ironmesh-agent.service", import.meta.url),
    "utf8",
  );
  const said = /^Environment=(.*)$/m.exec(unit)?.[1] ?? "";
  return Object.fromEntries(said.split(" ").map((one) => one.split("=", 2) as [string, string]));
}

/** Killed, and another in its place. The next load finds the mesh as it was: a serves and has b in its balancers, whichever of them it was. */
export async function restart(
  mesh: Mesh,
  host: HostName,
  workers: number,
  more: readonly string[] = [],
): Promise<void> {
  await stopAgent(mesh, host);
  mesh.agents[host] = startAgent(host, workers, PROXY_CORE, more).pid ?? 0;
  await serving(host);
  await until("b is asked again", () => answers("a", `http://${mesh.backend}:${BACKEND_PORT}/100`));
}

export async function stopAgent(mesh: Mesh, host: HostName): Promise<void> {
  const pid = mesh.agents[host];
  process.kill(pid, "SIGKILL");
  // Gone, not only a zombie: threads of a dead leader may hold its ports a moment longer.
  await until("the agent's end", () => !existsSync(`/proc/${pid}`));
}

export function agentCommand(host: string, workers: number): readonly string[] {
  const files = ["--state-dir", stateOf(host), "--admin-socket", socketOf(host)];
  return [MESHCTL, "agent", ...files, "--workers", `${workers}`];
}

/** What an agent has counted under this name so far, over all labels. */
/** Of one scrape; each the sum over its labels. */
export async function countersOf(host: string, ...names: string[]): Promise<number[]> {
  const reply = await fetch(`http://agent${ADMIN_PATHS.metrics}`, { unix: socketOf(host) });
  const text = await reply.text();
  return names.map((name) => {
    const samples = text.matchAll(new RegExp(`^${name}(?:{.*})? (\\S+)`, "gm"));
    return [...samples].reduce((sum, [, value]) => sum + Number(value), 0);
  });
}

export async function ask<T>(host: string, path: string): Promise<T | undefined> {
  try {
    const reply = await fetch(`http://agent${path}`, { unix: socketOf(host) });
    return reply.ok ? ((await reply.json()) as T) : undefined;
  } catch {
    return undefined; // it is starting
  }
}
