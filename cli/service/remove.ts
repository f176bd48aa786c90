// The way back: an agent stopped, its redirect cleared, its files gone. On a systemd host the units too; elsewhere the process is
// found by its admin socket.
import { existsSync, readdirSync, rmdirSync, rmSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { AdminClient } from "../admin-client.ts";
import type { AgentOptions } from "../agent-options.ts";
import { CommandFailure } from "../failure.ts";
import type { Terminal } from "../terminal.ts";
import { isSystemdHost, run, runOrFail } from "./system.ts";
import {
  AGENT_CONFIG,
  AGENT_FILES,
  AGENT_UNIT,
  AGENT_USER,
  EXECUTABLE,
  REDIRECT_UNIT,
  SERVER_UNIT_FILE,
} from "./unit-files.ts";

/** Beyond the agent's own drain. */
const STOP_GRACE_MS = 10_000;

const hasUnits = (): boolean => isSystemdHost() && AGENT_FILES.some(({ path }) => existsSync(path));

/** First of all: a running agent would put its redirect back. Resolves when there is none. */
export async function stopAgent(options: AgentOptions, terminal: Terminal): Promise<boolean> {
  if (hasUnits()) {
    const look = `\`systemctl status ${AGENT_UNIT}\` shows what holds it`;
    for (const unit of [AGENT_UNIT, REDIRECT_UNIT]) {
      if (run("systemctl", "cat", unit).code !== 0) continue;
      runOrFail(look, "systemctl", "disable", "--quiet", "--now", unit);
    }
    run("systemctl", "reset-failed", AGENT_UNIT, REDIRECT_UNIT); // fails when neither had failed
    return true;
  }
  const pid = await pidOfAgent(options);
  if (pid === undefined) return false;
  process.kill(pid, "SIGTERM");
  if (await hasEnded(pid, options.drainTimeoutMs + STOP_GRACE_MS, terminal)) return true;
  process.kill(pid, "SIGKILL");
  if (await hasEnded(pid, STOP_GRACE_MS, terminal)) return true;
  throw new CommandFailure(`the agent (pid ${pid}) does not end`, "end it, then leave again");
}

/** The process behind the admin socket. It says its own pid, so it is believed only of a process of the state's owner. */
async function pidOfAgent({ adminSocket, stateDir }: AgentOptions): Promise<number | undefined> {
  if (!existsSync(adminSocket)) return undefined;
  let pid: number;
  try {
    ({ pid } = await new AdminClient(adminSocket).status());
  } catch (error) {
    if (error instanceof CommandFailure && error.message.includes("ECONNREFUSED")) return undefined;
    throw error;
  }
  const owner = statSync(stateDir, { throwIfNoEntry: false })?.uid;
  const runsAs = statSync(`/proc/${pid}`, { throwIfNoEntry: false })?.uid;
  if (Number.isInteger(pid) && pid > 1 && runsAs !== undefined && runsAs === owner) return pid;
  throw new CommandFailure(
    `${adminSocket} names process ${pid}, which does not run as the owner of ${stateDir}`,
    "give the --state-dir and --admin-socket that the agent runs with",
  );
}

async function hasEnded(pid: number, withinMs: number, terminal: Terminal): Promise<boolean> {
  const until = terminal.nowMs() + withinMs;
  for (;;) {
    if (!existsSync(`/proc/${pid}`) || isZombie(pid)) return true;
    if (terminal.nowMs() > until) return false;
    await terminal.sleep(20);
  }
}

/** Ended, and not yet asked about by its parent. */
const isZombie = (pid: number): boolean =>
  run("grep", "-q", "^State:.Z", `/proc/${pid}/status`).code === 0;

/** Units and sockets; returns what was removed. State, user and executable go only with `isPurged`. */
export function removeFiles(options: AgentOptions, isPurged: boolean): readonly string[] {
  const removed: string[] = [];
  const remove = (path: string): void => {
    if (!existsSync(path)) return;
    rmSync(path, { recursive: true, force: true });
    removed.push(path);
  };
  const hadUnits = hasUnits();
  for (const { path } of hadUnits ? AGENT_FILES : []) remove(path);
  if (hadUnits) run("systemctl", "daemon-reload");
  remove(options.adminSocket);
  removeIfEmpty(dirname(options.adminSocket));
  if (!isPurged) return removed;
  remove(options.stateDir);
  removeIfEmpty(dirname(options.stateDir));
  if (!hadUnits) return removed;
  remove(AGENT_CONFIG);
  removeIfEmpty(dirname(AGENT_CONFIG));
  if (run("getent", "passwd", AGENT_USER).code === 0) {
    runOrFail("what still runs as it? `ps -u ironmesh`", "userdel", AGENT_USER);
    removed.push(`user ${AGENT_USER}`);
  }
  if (!existsSync(SERVER_UNIT_FILE)) remove(EXECUTABLE);
  return removed;
}

function removeIfEmpty(directory: string): void {
  const isOurs = directory.includes("ironmesh");
  if (isOurs && existsSync(directory) && readdirSync(directory).length === 0) rmdirSync(directory);
}
