// Hosts out of kernel namespaces: each has a network of its own behind one router, a host name, and a view of /etc in which
// resolv.conf is an ordinary file that names a resolver on the router. The machine's own network is never touched: both ends
// of every cable are made inside namespaces. All names begin with PREFIX, so whatever a killed demo left can be found and removed.
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { copyBundle, DENO_COMMAND, DENO_IN_HOST, type DenoMesh } from "./deno.ts";
import {
  address6Of,
  addressOf,
  type DemoHost,
  gateway6Of,
  gatewayOf,
  HOSTS,
  namespaceOf,
  PREFIX,
  ROUTER,
  RUN_DIRECTORY,
} from "./layout.ts";
import { run, runOrThrow } from "./shell.ts";

/** Where the executable appears inside every host: its own place may be closed to other users (/root). */
export const EXECUTABLE_IN_HOST = `${RUN_DIRECTORY}/bin/meshctl`;
export const CONSUL_IN_HOST = `${RUN_DIRECTORY}/bin/consul`;

/** As /proc/net/tcp shows it. */
const TCP_LISTEN = "0A";

export interface ProcessOptions {
  readonly uid: number;
  /** Capabilities it starts with and hands to its children, as `net_admin`. */
  readonly capabilities?: readonly string[];
  readonly env?: { readonly [name: string]: string };
  /** Appended to; default: thrown away unless `stdio` pipes. */
  readonly log?: string;
  readonly stdio?: "log" | "pipe";
}

export class Lab {
  /** Namespace -> the process that keeps its mount and host-name namespaces alive. */
  readonly #holders = new Map<string, ChildProcess>();
  readonly #children = new Set<ChildProcess>();
  readonly #meshctl: readonly string[];
  readonly #consul: string | undefined;
  readonly #deno: DenoMesh | undefined;
  #isUp: Promise<void> = Promise.resolve();
  #isDown = false;

  /** `meshctl`: the command that starts it on this machine; its first word is the file that hosts get to see. `consul`: a file
   *  that they get to see too. `deno`: what the mesh runs under instead. */
  constructor(meshctl: readonly string[], consul?: string, deno?: DenoMesh) {
    this.#meshctl = meshctl;
    this.#consul = consul;
    this.#deno = deno;
  }

  /** meshctl as the mesh's programs are started inside a host. */
  meshctl(...args: readonly string[]): readonly string[] {
    return this.#deno === undefined ? this.ourselves(...args) : [...DENO_COMMAND, ...args];
  }

  /** The executable that runs the demo, inside a host. */
  ourselves(...args: readonly string[]): readonly string[] {
    return [EXECUTABLE_IN_HOST, ...this.#meshctl.slice(1), ...args];
  }

  /** Being taken down, or gone: nothing is started in it any more. */
  get isDown(): boolean {
    return this.#isDown;
  }

  up(): Promise<void> {
    this.#isUp = this.#make();
    return this.#isUp;
  }

  async #make(): Promise<void> {
    mkdirSync(`${RUN_DIRECTORY}/bin`, { recursive: true, mode: 0o755 });
    for (const file of [EXECUTABLE_IN_HOST, CONSUL_IN_HOST, DENO_IN_HOST])
      writeFileSync(file, "", { mode: 0o755 });
    if (this.#deno !== undefined) copyBundle(this.#deno);
    for (const host of HOSTS) writeEtc(host);
    await runOrThrow(["sh", "-e"], { input: networkScript() });
    await Promise.all([ROUTER, ...HOSTS.map(namespaceOf)].map((name) => this.#hold(name)));
  }

  /** Starts a program inside a host (or ROUTER). Its pid is the program's own: every wrapper replaces itself. */
  spawn(namespace: string, command: readonly string[], options: ProcessOptions): ChildProcess {
    const log = options.log === undefined ? "ignore" : openSync(options.log, "a", 0o644);
    const piped = options.stdio === "pipe";
    const [file = "", ...args] = [
      ...this.#enter(namespace),
      ...asUser(options.uid, options.capabilities ?? []),
      ...command,
    ];
    const child = spawn(file, args, {
      env: { ...process.env, ...options.env },
      cwd: "/",
      detached: true,
      stdio: piped ? ["pipe", "pipe", log] : ["ignore", log, log],
    });
    if (typeof log === "number") closeSync(log);
    child.on("error", () => this.#children.delete(child));
    child.on("exit", () => this.#children.delete(child));
    this.#children.add(child);
    return child;
  }

  /** Runs a command inside a host to its end. */
  run(
    namespace: string,
    command: readonly string[],
    options: ProcessOptions & { readonly input?: string; readonly timeoutMs?: number },
  ): ReturnType<typeof run> {
    return run(
      [...this.#enter(namespace), ...asUser(options.uid, options.capabilities ?? []), ...command],
      options,
    );
  }

  /** Cuts a host's cable and kills all it runs. What keeps its namespaces stays, as a machine without power does. */
  async crash(host: DemoHost): Promise<void> {
    const namespace = namespaceOf(host);
    await runOrThrow(["ip", "-n", namespace, "link", "set", "eth0", "down"]);
    const { stdout } = await run(["ip", "netns", "pids", namespace]);
    const holder = this.#holders.get(namespace)?.pid;
    for (const pid of stdout.split(/\s+/).filter(Boolean).map(Number)) {
      if (pid !== holder) killIfThere(pid);
    }
  }

  /** The cable, and what the kernel forgot of its addresses and routes. */
  async plugIn(host: DemoHost): Promise<void> {
    const own = namespaceOf(host);
    const lines = [
      `ip -n ${own} link set eth0 up`,
      `ip -n ${own} route replace default via ${gatewayOf(host)}`,
      "[ -d /proc/sys/net/ipv6 ] || exit 0",
      `ip -n ${own} addr replace ${address6Of(host)}/64 dev eth0 nodad`,
      `ip -n ${own} route replace default via ${gateway6Of(host)}`,
    ];
    await runOrThrow(["sh", "-e"], { input: `${lines.join("\n")}\n` });
  }

  /** TCP, either family. */
  async listeningPorts(host: DemoHost): Promise<readonly number[]> {
    const files = ["/proc/net/tcp", "/proc/net/tcp6"];
    const { stdout } = await this.run(namespaceOf(host), ["cat", ...files], { uid: 0 });
    return stdout.split("\n").flatMap((line) => {
      const [, port = "", state] =
        /^ *\d+: [0-9A-F]+:([0-9A-F]{4}) \S+ ([0-9A-F]{2}) /.exec(line) ?? [];
      return state === TCP_LISTEN ? [Number.parseInt(port, 16)] : [];
    });
  }

  /** Another file lies where the hosts' executable lay: the same program, as a package manager would have replaced it. What runs goes on
   *  with the old one. */
  async replaceExecutable(): Promise<void> {
    const file = `${RUN_DIRECTORY}/bin/meshctl.replaced`;
    await runOrThrow(["cp", "--reflink=auto", this.#meshctl[0] ?? "", file]);
    await Promise.all(
      HOSTS.map((host) =>
        runOrThrow([
          ...this.#enter(namespaceOf(host)),
          "mount",
          "--bind",
          file,
          EXECUTABLE_IN_HOST,
        ]),
      ),
    );
  }

  async down(): Promise<void> {
    this.#isDown = true;
    await this.#isUp.catch(() => undefined); // half a lab is removed as a whole one
    for (const child of this.#children) child.kill("SIGKILL");
    await removeLab();
  }

  #enter(namespace: string): readonly string[] {
    const pid = this.#isDown ? undefined : this.#holders.get(namespace)?.pid;
    if (pid === undefined) throw new Error(`the demo has no namespace ${namespace}`);
    return ["nsenter", "-t", String(pid), "--mount", "--uts", "--net", "--"];
  }

  async #hold(namespace: string): Promise<void> {
    const name = namespace.slice(PREFIX.length);
    // `ip netns exec` makes the mount namespace and lays /etc/netns/NAME over /etc.
    const script = `hostname ${name}; mount --bind "$1" ${EXECUTABLE_IN_HOST}; [ -z "$2" ] || mount --bind "$2" ${CONSUL_IN_HOST}; [ -z "$3" ] || mount --bind "$3" ${DENO_IN_HOST}; echo ready; exec sleep infinity`;
    const args = ["netns", "exec", namespace, "unshare", "--uts", "sh", "-ec", script, "sh"];
    const files = [this.#meshctl[0], this.#consul, this.#deno?.runtime];
    const child = spawn("ip", [...args, ...files.map((file) => file ?? "")], {
      detached: true,
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#holders.set(namespace, child);
    this.#children.add(child);
    await new Promise<void>((resolve, reject) => {
      let said = "";
      child.on("error", reject);
      child.on("exit", (code) => reject(new Error(`host ${name} ended with ${code}: ${said}`)));
      for (const stream of [child.stdout, child.stderr]) {
        stream?.on("data", (text: Buffer) => {
          said += text.toString();
          if (said.includes("ready")) resolve();
        });
      }
    });
  }
}

function asUser(uid: number, capabilities: readonly string[]): readonly string[] {
  const user = ["setpriv", "--reuid", `${uid}`, "--regid", `${uid}`, "--clear-groups"];
  const listed = capabilities.map((one) => `+${one}`).join(",");
  return capabilities.length === 0
    ? [...user, "--"]
    : [...user, "--inh-caps", listed, "--ambient-caps", listed, "--"];
}

function writeEtc(host: DemoHost): void {
  const etc = `/etc/netns/${namespaceOf(host)}`;
  mkdirSync(etc, { recursive: true });
  writeFileSync(join(etc, "hostname"), `${host.name}\n`);
  writeFileSync(join(etc, "hosts"), "127.0.0.1 localhost\n::1 localhost\n");
  writeFileSync(join(etc, "resolv.conf"), `nameserver ${gatewayOf(host)}\n`);
  mkdirSync(`${RUN_DIRECTORY}/${host.name}`, { recursive: true, mode: 0o755 });
}

function networkScript(): string {
  const lines = [
    `ip netns add ${ROUTER}`,
    ...HOSTS.map((host) => `ip netns add ${namespaceOf(host)}`),
  ];
  // Duplicate address detection would lose the first seconds of IPv6; there is nobody to collide with.
  const settings =
    "[ ! -d /proc/sys/net/ipv6 ] || for f in all default; do echo 0 > /proc/sys/net/ipv6/conf/$f/accept_dad; done";
  const forwarding =
    "echo 1 > /proc/sys/net/ipv4/ip_forward; [ ! -d /proc/sys/net/ipv6 ] || echo 1 > /proc/sys/net/ipv6/conf/all/forwarding";
  lines.push(`ip netns exec ${ROUTER} sh -ec '${settings}; ${forwarding}; ip link set lo up'`);
  const hasIpv6 = "[ ! -d /proc/sys/net/ipv6 ] ||";
  for (const host of HOSTS) {
    const own = namespaceOf(host);
    const cable = `to-${host.name}`;
    lines.push(
      `ip netns exec ${own} sh -ec '${settings}'`,
      `ip link add eth0 netns ${own} type veth peer name ${cable} netns ${ROUTER}`,
      `ip -n ${own} link set lo up`,
      `ip -n ${own} link set eth0 up`,
      `ip -n ${own} addr add ${addressOf(host)}/24 dev eth0`,
      `ip -n ${ROUTER} addr add ${gatewayOf(host)}/24 dev ${cable}`,
      `${hasIpv6} ip -n ${own} addr add ${address6Of(host)}/64 dev eth0 nodad`,
      `${hasIpv6} ip -n ${ROUTER} addr add ${gateway6Of(host)}/64 dev ${cable} nodad`,
      `ip -n ${ROUTER} link set ${cable} up`,
      `ip -n ${own} route add default via ${gatewayOf(host)}`,
      `${hasIpv6} ip -n ${own} route add default via ${gateway6Of(host)}`,
    );
  }
  return `${lines.join("\n")}\n`;
}

/** Removes every namespace, process and file of a demo, whoever made it. Nothing to remove is fine. */
export async function removeLab(): Promise<void> {
  const left = names("/run/netns").filter((name) => name.startsWith(PREFIX));
  for (const name of left) await killAllIn(name);
  for (const name of left) await run(["ip", "netns", "del", name]);
  for (const name of names("/etc/netns").filter((one) => one.startsWith(PREFIX)))
    rmSync(`/etc/netns/${name}`, { recursive: true, force: true });
  rmSync(RUN_DIRECTORY, { recursive: true, force: true });
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, "SIGKILL");
  } catch {
    // it ended by itself meanwhile
  }
}

/** A namespace with our prefix is ours, and so is every process in it. */
async function killAllIn(namespace: string): Promise<void> {
  for (let round = 0; round < 5; round++) {
    const { stdout } = await run(["ip", "netns", "pids", namespace]);
    const pids = stdout.split(/\s+/).filter(Boolean).map(Number);
    if (pids.length === 0) return;
    for (const pid of pids) killIfThere(pid);
  }
}

function names(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

/** Gives a directory of the demo to the user whose state it will hold. */
export async function privateDirectory(path: string, uid: number): Promise<string> {
  mkdirSync(path, { recursive: true, mode: 0o700 });
  await runOrThrow(["chown", `${uid}:${uid}`, path]);
  return path;
}
