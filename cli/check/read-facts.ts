// Reads all facts of a check, side by side and each with a deadline: what is slow is told as not looked at, and nothing waits for it.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { parseJoinToken } from "../../agent/api/join-token.ts";
import type { JoinToken } from "../../agent/api/session.ts";
import { err, ok, type Result } from "../../agent/base/result.ts";
import type { Snapshot } from "../../agent/policy/snapshot.ts";
import { AdminClient } from "../admin-client.ts";
import { type AgentOptions, parseAgentOptions } from "../agent-options.ts";
import { CommandFailure, usage } from "../failure.ts";
import { isRoot } from "../service/system.ts";
import type { Surroundings } from "../surroundings.ts";
import { VERSION } from "../version.ts";
import type { AgentFacts, Facts, Seen } from "./facts.ts";
import type { Unseen } from "./finding.ts";
import { AS_ROOT } from "./finding.ts";
import { readFirewall } from "./reading/firewall.ts";
import { readHost, readKernel } from "./reading/host.ts";
import {
  askResolver,
  type MeshQuestion,
  type NamesFacts,
  OUTSIDE_NAME,
  readResolvConf,
} from "./reading/names.ts";
import { openFilesMaxOf, type Process, readProcesses } from "./reading/processes.ts";
import { readServer, type ServerFacts } from "./reading/server.ts";
import { readListening } from "./reading/sockets.ts";
import { type HostFiles, readHostFiles } from "./reading/state.ts";
import { readUnits } from "./reading/units.ts";

/** Each look; the agent's words come first, the rest side by side, so that all is done within 3 s. */
const LOOK_MS = 2_000;
const AGENT_MS = 800;
/** Longer than the lease of DNS capture by an agent that died just now. */
const RESOLVER_MS = 1_700;

export interface CheckGiven {
  /** Options of an agent: where to find it. One that answers tells those it runs with. */
  readonly words: readonly string[];
  readonly token?: string;
}

export async function readFacts(
  { programs, terminal }: Pick<Surroundings, "programs" | "terminal">,
  given: CheckGiven,
): Promise<Facts> {
  const nowMs = (): number => terminal.nowMs();
  const first = parseAgentOptions(given.words);
  const processes = readProcesses();
  const agent = await readAgent(first.adminSocket, processes);
  const options = optionsOf(first, agent, processes);
  const files = readHostFiles(options.stateDir);
  const token = parseToken(given.token);
  const known = files?.ok === true ? files.value : undefined;
  const status = agent?.ok === true ? agent.value.status : undefined;
  const isPlanned =
    options.redirect !== "none" &&
    (agent !== undefined || existsSync(join(options.stateDir, "snapshot")));
  const [servers, names, firewall, units, redirect, trial] = await Promise.all([
    readServers(known, token, nowMs),
    readNames(options, agent, programs.refuseHost),
    within(LOOK_MS, readFirewall(LOOK_MS), late),
    readUnits(LOOK_MS),
    isPlanned ? asRoot(() => programs.redirect("status", options)) : undefined,
    isPlanned || options.redirect === "none"
      ? undefined
      : asRoot(() => programs.tryRedirect(options)),
  ]);
  return {
    nowMs: nowMs(),
    isRoot: isRoot(),
    version: VERSION,
    options,
    host: readHost(options.stateDir, status?.pid),
    kernel: readKernel(),
    processes,
    sockets: readListening(agentFirst(processes, status?.pid)),
    agent,
    units,
    files,
    token: token && { host: token.host, expiresAtMs: token.expiresAtMs },
    servers,
    names,
    firewall,
    redirect,
    trial,
  };
}

const late = (): Result<never, Unseen> =>
  err({
    why: `no answer within ${LOOK_MS} ms`,
    next: "run `meshctl check` again; if it stays so, look at this host's load",
  });

const asRoot = <T>(look: () => Promise<T>): Promise<Seen<T>> | Seen<T> =>
  isRoot() ? within<Seen<T>>(LOOK_MS, look().then(ok), late) : err(AS_ROOT);

function within<T>(ms: number, wanted: Promise<T>, instead: () => T): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => resolve(instead()), ms);
    wanted.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}

/** Most sockets that matter are its own. */
const agentFirst = (
  processes: readonly Process[],
  agent: number | undefined,
): readonly number[] => {
  const pids = processes.map(({ pid }) => pid);
  return agent === undefined ? pids : [agent, ...pids.filter((pid) => pid !== agent)];
};

/** Undefined: there is no agent. */
async function readAgent(
  path: string,
  processes: readonly Process[],
): Promise<Seen<AgentFacts> | undefined> {
  if (!existsSync(path)) return undefined;
  const admin = new AdminClient(path);
  const silent = (): Seen<AgentFacts> =>
    err({
      why: `${path} took no question within ${AGENT_MS} ms`,
      next: "is the agent stuck? `systemctl restart ironmesh-agent`, and report its log",
    });
  return within<Seen<AgentFacts> | undefined>(AGENT_MS, askAgent(admin, processes), silent);
}

async function askAgent(
  admin: AdminClient,
  processes: readonly Process[],
): Promise<Seen<AgentFacts> | undefined> {
  try {
    const status = await admin.status();
    const isServing = status.version !== undefined;
    const [snapshot, certificates, members] = await Promise.all([
      isServing ? admin.snapshot() : Promise.resolve<Snapshot | undefined>(undefined),
      admin.certificates(),
      admin.members(),
    ]);
    return ok({
      ...{ status, snapshot, certificates, members },
      openFilesMax: openFilesMaxOf(status.pid),
      uid: processes.find(({ pid }) => pid === status.pid)?.uid,
    });
  } catch (error) {
    if (!(error instanceof CommandFailure)) throw error;
    if (error.message.includes("ECONNREFUSED")) return undefined; // left by one that was killed
    return err({ why: error.message, next: error.next ?? AS_ROOT.next });
  }
}

/** The words of the process that answers, where the kernel shows them. */
function optionsOf(
  first: AgentOptions,
  agent: Seen<AgentFacts> | undefined,
  processes: readonly Process[],
): AgentOptions {
  if (agent?.ok !== true) return first;
  const { words = [] } = processes.find(({ pid }) => pid === agent.value.status.pid) ?? {};
  const at = words.indexOf("agent");
  if (at < 0) return first;
  try {
    return parseAgentOptions(words.slice(at + 1));
  } catch (error) {
    if (error instanceof CommandFailure) return first; // of another version
    throw error;
  }
}

function parseToken(text: string | undefined): JoinToken | undefined {
  if (text === undefined) return undefined;
  const token = parseJoinToken(text);
  if (token.ok) return token.value;
  throw usage(token.error, "ask an operator: meshctl token create --host HOST");
}

async function readServers(
  files: HostFiles | undefined,
  token: JoinToken | undefined,
  nowMs: () => number,
): Promise<readonly ServerFacts[]> {
  const clock = { nowMs, timeoutMs: LOOK_MS };
  const late = (url: string): ServerFacts => ({
    url,
    outcome: { is: "unreachable", why: `no answer within ${LOOK_MS} ms` },
  });
  const ask = (url: string, roots: string, own: HostFiles["own"]): Promise<ServerFacts> =>
    within(LOOK_MS, readServer({ url, roots, own }, clock), () => late(url));
  if (token === undefined)
    return Promise.all(
      (files?.servers ?? []).map((url) => ask(url, files?.rootsPem ?? "", files?.own)),
    );
  const { fetchRoot, parseServerUrl } = await import("../server-connection.ts");
  const { servers, caSha256 } = token;
  const prove = async (url: string): Promise<ServerFacts> => {
    try {
      return await ask(url, await fetchRoot(parseServerUrl(url), caSha256), undefined);
    } catch (error) {
      if (!(error instanceof CommandFailure)) throw error;
      return { url, outcome: { is: "unreachable", why: error.message } };
    }
  };
  return Promise.all(servers.map((url) => within(LOOK_MS, prove(url), () => late(url))));
}

async function readNames(
  options: AgentOptions,
  agent: Seen<AgentFacts> | undefined,
  refuseHost: Surroundings["programs"]["refuseHost"],
): Promise<NamesFacts> {
  const resolvers = readResolvConf();
  const [resolver] = resolvers;
  const [refusal, mesh, ...outside] = await Promise.all([
    refuseHost(options),
    resolver === undefined ? undefined : askMesh(resolver, options, agent),
    ...resolvers.map((one) => askResolver(one, { name: OUTSIDE_NAME, type: "NS" }, RESOLVER_MS)),
  ]);
  return {
    resolvers,
    refusal,
    mesh,
    outside: resolvers.flatMap((one, i) => {
      const answered = outside[i];
      return answered === undefined ? [] : [{ resolver: one, answered }];
    }),
  };
}

async function askMesh(
  resolver: string,
  { dns, redirect }: AgentOptions,
  agent: Seen<AgentFacts> | undefined,
): Promise<MeshQuestion | undefined> {
  if (!dns || redirect === "none" || agent?.ok !== true) return undefined;
  const service = agent.value.snapshot?.services.find(({ vip4 }) => vip4 !== undefined);
  const [name] = service?.names ?? [];
  if (service?.vip4 === undefined || name === undefined) return undefined;
  const answered = await askResolver(resolver, { name, type: "A" }, RESOLVER_MS);
  return { name, expected: service.vip4, answered };
}
