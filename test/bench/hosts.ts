// Two hosts for the benchmark: namespaces joined by one cable, programs pinned to a core. Client and backend share core 0, the
// proxy under test has core 1 to itself, so what one costs the other is not measured as its own.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, rmSync } from "node:fs";

export const DIRECTORY = "/tmp/im-bench";
/** By a program that has ended: what this one wrote by itself was found busy (ETXTBSY) when it was to be executed at once. */
export const copyProgram = (from: string, to: string): void => {
  execFileSync("cp", [from, to]);
};

export type HostName = "a" | "b";
export const addressOf = (host: HostName): string => (host === "a" ? "10.78.1.1" : "10.78.1.2");
const PREFIX = "im-bench-";
const namespaceOf = (host: string): string => `${PREFIX}${host}`;
/** Hosts beside the two, each with a cable of its own to b. */
const EXTRA_MAX = 60;
export const LOAD_CORE = 0;
export const PROXY_CORE = 1;
export const BOTH_CORES = "0,1";
const NET_CAPABILITIES = "+net_admin,+net_raw,+net_bind_service";

/** Whatever a developer's shell has: the runtime would read a bundle of 140 certificates into each agent, and a service has none. */
const NO_EXTRA_CAS = { NODE_EXTRA_CA_CERTS: undefined };

const children: ChildProcess[] = [];

export function up(): void {
  down();
  mkdirSync(DIRECTORY, { recursive: true, mode: 0o755 });
  const sh = `
    ip netns add im-bench-a; ip netns add im-bench-b
    ip link add eth0 netns im-bench-a type veth peer name eth0 netns im-bench-b
    for h in a b; do ip -n im-bench-$h link set lo up; ip -n im-bench-$h link set eth0 up; done
    ip -n im-bench-a addr add 10.78.1.1/24 dev eth0; ip -n im-bench-b addr add 10.78.1.2/24 dev eth0`;
  execFileSync("sh", ["-ec", sh]);
}

/** Another host, that reaches b; the `at`th. Returns its name. */
export function addHost(at: number): string {
  if (at >= EXTRA_MAX) throw new Error(`at most ${EXTRA_MAX} more hosts`);
  const name = `x${at}`;
  const subnet = `10.78.${100 + at}`;
  const sh = `
    ip netns add ${PREFIX}${name}
    ip link add eth0 netns ${PREFIX}${name} type veth peer name ${name} netns ${PREFIX}b
    ip -n ${PREFIX}b addr add ${subnet}.1/24 dev ${name}; ip -n ${PREFIX}b link set ${name} up
    ip -n ${PREFIX}${name} addr add ${subnet}.2/24 dev eth0
    ip -n ${PREFIX}${name} link set lo up; ip -n ${PREFIX}${name} link set eth0 up
    ip -n ${PREFIX}${name} route add default via ${subnet}.1`;
  execFileSync("sh", ["-ec", sh]);
  return name;
}

/** Every host of this benchmark, or of a run before it that was killed. */
function namespaces(): string[] {
  const listed = execFileSync("ip", ["netns", "list"]).toString();
  return listed.match(new RegExp(`^${PREFIX}[a-z0-9]+`, "gm")) ?? [];
}

export function down(): void {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  for (const name of namespaces()) {
    try {
      const pids = execFileSync("ip", ["netns", "pids", name], {
        stdio: ["ignore", "pipe", "ignore"],
      }).toString();
      for (const pid of pids.split(/\s+/).filter(Boolean)) process.kill(Number(pid), "SIGKILL");
      execFileSync("ip", ["netns", "del", name], { stdio: "ignore" });
    } catch {
      // it was not there
    }
  }
  rmSync(DIRECTORY, { recursive: true, force: true });
}

export interface Start {
  readonly core: number | typeof BOTH_CORES;
  readonly uid?: number;
  /** Default: named after the program and the host. */
  readonly log?: string;
  readonly env?: { readonly [name: string]: string };
}

function wrapped(host: string, command: readonly string[], { core, uid }: Start): string[] {
  const user =
    uid === undefined
      ? []
      : [
          "setpriv",
          "--reuid",
          `${uid}`,
          "--regid",
          `${uid}`,
          "--clear-groups",
          "--inh-caps",
          NET_CAPABILITIES,
          "--ambient-caps",
          NET_CAPABILITIES,
        ];
  return [
    "ip",
    "netns",
    "exec",
    namespaceOf(host),
    "taskset",
    "-c",
    `${core}`,
    ...user,
    ...command,
  ];
}

/** Its pid is the program's own: every wrapper replaces itself. */
export function start(host: string, command: readonly string[], options: Start): ChildProcess {
  const [file = "", ...args] = wrapped(host, command, options);
  const path = options.log ?? `${DIRECTORY}/${command[0]?.split("/").at(-1)}-${host}.log`;
  const log = openSync(path, "a");
  const child = spawn(file, args, {
    stdio: ["ignore", log, log],
    env: { ...process.env, ...NO_EXTRA_CAS, ...options.env },
  });
  closeSync(log);
  children.push(child);
  return child;
}

/** All threads of what was started elsewhere. */
export const pin = (pid: number, core: number): void => {
  execFileSync("taskset", ["-a", "-p", "-c", `${core}`, `${pid}`]);
};

export function runToEnd(host: string, command: readonly string[], options: Start): string {
  const [file = "", ...args] = wrapped(host, command, options);
  return execFileSync(file, args, {
    env: { ...process.env, ...options.env },
    stdio: ["ignore", "pipe", "pipe"],
    maxBuffer: 1 << 26,
  }).toString();
}

/** A machine that is busy with something else is slow to start things. */
const READY_MS = 60_000;

export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = performance.now() + READY_MS;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`never came: ${what} (logs in ${DIRECTORY})`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

export function answers(host: HostName, url: string): boolean {
  try {
    return (
      runToEnd(host, ["curl", "-s", "-m", "1", "-o", "/dev/null", "-w", "%{http_code}", url], {
        core: LOAD_CORE,
      }) === "200"
    );
  } catch {
    return false;
  }
}
