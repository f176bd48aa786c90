// The five agents and the config server: each starts from the same executable, under its own user, with its own directories and no
// configuration but what its join token tells.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { ADMIN_PATHS, type AgentCertificate, type AgentStatus } from "../../agent/api/admin.ts";
import type { MembersAnswer } from "../../agent/api/gossip.ts";
import type { Snapshot } from "../../agent/policy/snapshot.ts";
import { Daemon } from "./daemon.ts";
import { type Lab, privateDirectory } from "./lab.ts";
import {
  addressOf,
  type DemoHost,
  HOSTS,
  hostNamed,
  namespaceOf,
  RUN_DIRECTORY,
  SERVER_HOST,
  UID,
} from "./layout.ts";
import { CONTEXT, type Operator } from "./operator.ts";
import { askOnce } from "./parts/http-client.ts";
import { logPath } from "./run-directory.ts";
import type { Finished } from "./shell.ts";
import { until } from "./until.ts";

/** What an agent needs beyond an ordinary user: redirect rules and routes, transparent sockets, ports below 1024. */
const AGENT_CAPABILITIES = ["net_admin", "net_raw", "net_bind_service"];

/** Each question costs an agent a few milliseconds, which it then lacks for what is waited for. */
const ASKS_EVERY_MS = 40;

export const serverStateOf = (): string => `${RUN_DIRECTORY}/${SERVER_HOST}/server`;
export const stateOf = (host: DemoHost): string => `${RUN_DIRECTORY}/${host.name}/agent`;
export const adminSocketOf = (host: DemoHost): string => `${stateOf(host)}/admin.sock`;

/** `more`: options of the moment, asked for at each start. */
export const serverDaemon = (lab: Lab, more: () => readonly string[]): Daemon =>
  new Daemon(async () => {
    const state = await privateDirectory(serverStateOf(), UID.server);
    const address = addressOf(hostNamed(SERVER_HOST));
    const command = lab.meshctl("server", "--state-dir", state, "--advertise", address, ...more());
    return lab.spawn(namespaceOf(hostNamed(SERVER_HOST)), command, {
      uid: UID.server,
      log: logPath("server"),
    });
  });

/** Turns a bare host into a member: the one command the onboarding of a host takes. */
export async function joinHost(lab: Lab, host: DemoHost, token: string): Promise<void> {
  const { code, stdout, stderr } = await tryToJoin(lab, host, token, "agent");
  if (code !== 0) throw new Error(`meshctl join on ${host.name} failed: ${stderr || stdout}`);
}

/** The same, into a state directory of that name, and whatever comes of it. */
export async function tryToJoin(
  lab: Lab,
  host: DemoHost,
  token: string,
  directory: string,
): Promise<Finished> {
  const state = await privateDirectory(`${RUN_DIRECTORY}/${host.name}/${directory}`, UID.agent);
  const command = lab.meshctl("join", token, "--no-check", "--state-dir", state);
  return lab.run(namespaceOf(host), command, { uid: UID.agent });
}

/** `more`: options of the moment, asked for at each start. */
export const agentDaemon = (lab: Lab, host: DemoHost, more: () => readonly string[]): Daemon =>
  new Daemon(() =>
    lab.spawn(
      namespaceOf(host),
      lab.meshctl(
        "agent",
        "--state-dir",
        stateOf(host),
        "--admin-socket",
        adminSocketOf(host),
        ...more(),
      ),
      { uid: UID.agent, capabilities: AGENT_CAPABILITIES, log: logPath(`agent-${host.name}`) },
    ),
  );

/** What an agent says of itself on its admin socket; undefined while there is nobody to ask. */
async function ask(host: DemoHost, path: string, method = "GET"): Promise<string | undefined> {
  const socket = adminSocketOf(host);
  if (!existsSync(socket)) return undefined;
  try {
    const reply = await askOnce({ path: socket }, { method, path, host: "admin" }, 2_000);
    return reply.status === 200 ? reply.body : undefined;
  } catch {
    return undefined; // it is starting, or was stopped: the caller asks again or says so
  }
}

export async function agentStatus(host: DemoHost): Promise<AgentStatus | undefined> {
  const body = await ask(host, ADMIN_PATHS.status);
  return body === undefined ? undefined : (JSON.parse(body) as AgentStatus);
}
export async function agentSnapshot(host: DemoHost): Promise<Snapshot | undefined> {
  const body = await ask(host, ADMIN_PATHS.snapshot);
  return body === undefined ? undefined : (JSON.parse(body) as Snapshot);
}
export async function agentCertificates(host: DemoHost): Promise<readonly AgentCertificate[]> {
  const body = await ask(host, ADMIN_PATHS.certificates);
  return body === undefined ? [] : (JSON.parse(body) as readonly AgentCertificate[]);
}
/** Makes one of its data threads throw or stall. */
export async function harmThread(
  host: DemoHost,
  thread: number,
  kind: "throw" | "stall",
): Promise<void> {
  const done = await ask(host, `${ADMIN_PATHS.fault}?thread=${thread}&kind=${kind}`, "PUT");
  if (done === undefined) throw new Error(`the agent on ${host.name} lets nobody harm its threads`);
}

export async function agentMembers(host: DemoHost): Promise<MembersAnswer | undefined> {
  const body = await ask(host, ADMIN_PATHS.members);
  return body === undefined ? undefined : (JSON.parse(body) as MembersAnswer);
}
export async function isAgentReady(host: DemoHost): Promise<boolean> {
  return (await ask(host, ADMIN_PATHS.ready)) !== undefined;
}
export const agentMetrics = (host: DemoHost): Promise<string | undefined> =>
  ask(host, ADMIN_PATHS.metrics);

/** Waits until every agent runs this version of the configuration, and tells when the last one did. */
export async function untilAllRun(version: number, withinMs: number): Promise<number> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    const all = await Promise.all(HOSTS.map(agentStatus));
    const nowMs = performance.now();
    if (all.every((one) => one?.version !== undefined && one.version >= version)) return nowMs;
    if (nowMs > deadline) {
      const states = HOSTS.map(({ name }, i) => `${name} ${all[i]?.version ?? "does not answer"}`);
      throw new Error(`not every agent runs version ${version}: ${states.join(", ")}`);
    }
    await new Promise((resolve) => setTimeout(resolve, ASKS_EVERY_MS));
  }
}

/** Makes the machine's own meshctl an operator of the demo's mesh: the context that every printed command uses. */
export async function logInAsOperator(operator: Operator, port: number): Promise<void> {
  const log = logPath("server");
  const isListening = (): boolean => /^config server /m.test(readFileSync(log, "utf8"));
  await until("the config server", 10_000, () => Promise.resolve(existsSync(log) && isListening()));
  const caSha256 = readFileSync(join(serverStateOf(), "ca-sha256"), "utf8").trim();
  const token = join(serverStateOf(), "operator-token");
  const known = ["--ca-sha256", caSha256, "--token-file", token, "--context", CONTEXT];
  await operator.runOrThrow("login", `https://127.0.0.1:${port}`, ...known);
}
