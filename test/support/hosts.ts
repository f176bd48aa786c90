// A small lab for tests with real agents: hosts a and b, each a network namespace with a cable to host c, which is a switch and a host
// of its own. Every host has an ordinary resolv.conf that names a resolver on c. Names carry this process's id: what a killed run
// left is known as nobody's and removed by the next.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { missingRequirements } from "../../cli/demo/requirements.ts";
import { type Finished, run, runOrThrow } from "../../cli/demo/shell.ts";
import { PublicPlace } from "./public-place.ts";
import { Remote } from "./remote.ts";

export type HostName = "a" | "b" | "c";
export const HOST_NAMES: readonly HostName[] = ["a", "b", "c"];
export const ADDRESS = { a: "10.79.1.1", b: "10.79.1.2", c: "10.79.1.3" } as const;
export const ADDRESS6 = { a: "fd79:1::1", b: "fd79:1::2", c: "fd79:1::3" } as const;
const PREFIX = "im-e2e-";

/** Skips aloud; where CI runs, a skipped test is a failed one. */
export async function canRun(suite: string): Promise<boolean> {
  const missing = await missingRequirements();
  for (const program of ["curl", "node"])
    if (spawnSync("sh", ["-c", `command -v ${program}`]).status !== 0)
      missing.push(`The tests need ${program}: npm run setup installs it.`);
  if (missing.length === 0) return true;
  if (process.env["CI"] !== undefined) throw new Error(`${suite}: ${missing.join(" ")}`);
  console.error(`SKIPPED ${suite}: ${missing.join(" ")}`);
  return false;
}

export interface As {
  readonly uid: number;
  readonly capabilities?: readonly string[];
  readonly env?: { readonly [name: string]: string };
}

let labs = 0;

export class Hosts {
  readonly place: PublicPlace;
  readonly #name: string;
  readonly #children: ChildProcess[] = [];

  private constructor(name: string) {
    this.#name = name;
    this.place = new PublicPlace(name);
  }

  static async up(): Promise<Hosts> {
    removeLeftovers();
    const hosts = new Hosts(`${PREFIX}${process.pid}-${labs++}`);
    for (const host of HOST_NAMES) hosts.#writeEtc(host);
    await runOrThrow(["sh", "-e"], { input: hosts.#script() });
    return hosts;
  }

  get directory(): string {
    return this.place.directory;
  }
  namespaceOf(host: HostName): string {
    return `${this.#name}-${host}`;
  }

  /** Its pid is the program's own: every wrapper replaces itself. Standard output and error go to the log, appended. */
  spawn(
    host: HostName,
    command: readonly string[],
    as: As & { readonly log: string },
  ): ChildProcess {
    const log = openSync(`${this.directory}/${as.log}.log`, "a");
    const child = this.#start(host, command, as, ["ignore", log, log]);
    closeSync(log);
    return child;
  }

  run(host: HostName, command: readonly string[], as: As, timeoutMs = 20_000): Promise<Finished> {
    return run([...this.#enter(host, as), ...command], { env: as.env ?? {}, timeoutMs });
  }

  /** A process there that does what tests tell it. */
  async remote(host: HostName, uid: number): Promise<Remote> {
    const program = await this.nodeProgram(new URL("./remote-kit.ts", import.meta.url).pathname);
    const child = this.#start(host, ["node", program], { uid }, ["pipe", "pipe", "inherit"]);
    return new Remote(child, `host ${host}, user ${uid}`);
  }

  /** One TypeScript program with everything it imports, as a file that Node can run. */
  async nodeProgram(source: string): Promise<string> {
    const name = `${source.split("/").at(-1)?.replace(/\.ts$/, "")}.mjs`;
    const outdir = this.directory;
    const known = `${outdir}/${name}`;
    if (existsSync(known)) return known;
    await Bun.build({ entrypoints: [source], target: "node", outdir, naming: name });
    chmodSync(known, 0o644);
    return known;
  }

  /** Pulls the cable: nobody hears of it but by silence. */
  async cut(host: "a" | "b"): Promise<void> {
    await runOrThrow(["ip", "-n", this.namespaceOf("c"), "link", "set", `to-${host}`, "nomaster"]);
  }

  async down(): Promise<void> {
    const ended = this.#children
      .filter((child) => child.exitCode === null && child.signalCode === null)
      .map((child) => new Promise((resolve) => child.once("exit", resolve)));
    for (const child of this.#children) child.kill("SIGKILL");
    await Promise.all(ended);
    for (const host of HOST_NAMES) removeNamespace(this.namespaceOf(host));
    this.place.remove();
  }

  #start(
    host: HostName,
    command: readonly string[],
    as: As,
    stdio: ["ignore" | "pipe", number | "pipe", number | "inherit"],
  ): ChildProcess {
    const [file = "", ...args] = [...this.#enter(host, as), ...command];
    const child = spawn(file, args, { env: { ...process.env, ...as.env }, cwd: "/", stdio });
    this.#children.push(child);
    return child;
  }

  #enter(host: HostName, { uid, capabilities = [] }: As): readonly string[] {
    const listed = capabilities.map((one) => `+${one}`).join(",");
    const caps = listed === "" ? [] : ["--inh-caps", listed, "--ambient-caps", listed];
    const user = ["setpriv", "--reuid", `${uid}`, "--regid", `${uid}`, "--clear-groups", ...caps];
    return ["ip", "netns", "exec", this.namespaceOf(host), ...user, "--"];
  }

  /** `ip netns exec` lays these over /etc. */
  #writeEtc(host: HostName): void {
    const etc = `/etc/netns/${this.namespaceOf(host)}`;
    mkdirSync(etc, { recursive: true });
    writeFileSync(`${etc}/hosts`, "127.0.0.1 localhost\n::1 localhost\n");
    writeFileSync(`${etc}/resolv.conf`, `nameserver ${ADDRESS.c}\n`);
  }

  #script(): string {
    const [a, b, c] = (["a", "b", "c"] as const).map((host) => this.namespaceOf(host));
    return `
      for n in ${a} ${b} ${c}; do
        ip netns add $n
        ip netns exec $n sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
        ip -n $n link set lo up
      done
      ip -n ${c} link add eth0 type bridge forward_delay 0
      ip link add eth0 netns ${a} type veth peer name to-a netns ${c}
      ip link add eth0 netns ${b} type veth peer name to-b netns ${c}
      for p in to-a to-b; do ip -n ${c} link set $p master eth0; ip -n ${c} link set $p up; done
      set -- ${HOST_NAMES.map((host) => `${this.namespaceOf(host)} ${ADDRESS[host]} ${ADDRESS6[host]}`).join(" ")}
      while [ $# -gt 0 ]; do
        ip -n $1 addr add $2/24 dev eth0; ip -n $1 addr add $3/64 dev eth0 nodad; ip -n $1 link set eth0 up
        shift 3
      done
      for n in ${a} ${b} ${c}; do
        for i in $(seq 100); do ip -n $n -6 addr show dev eth0 scope link | grep -q inet6 && break; sleep 0.05; done
      done`;
  }
}

/** A namespace of ours, and so every process in it. */
function removeNamespace(name: string): void {
  const { stdout } = spawnSync("ip", ["netns", "pids", name], { encoding: "utf8" });
  for (const pid of (stdout ?? "").split(/\s+/).filter(Boolean)) {
    try {
      process.kill(Number(pid), "SIGKILL");
    } catch {
      // it ended by itself meanwhile
    }
  }
  spawnSync("ip", ["netns", "del", name]);
  rmSync(`/etc/netns/${name}`, { recursive: true, force: true });
}

function removeLeftovers(): void {
  const listed = spawnSync("ls", ["/run/netns"], { encoding: "utf8" }).stdout ?? "";
  for (const [name, pid] of listed.matchAll(/^im-e2e-(\d+)-\d+-[abc]$/gm))
    if (!existsSync(`/proc/${pid}`)) removeNamespace(name);
}

/** Times the usual wait, where what is waited for starts more slowly: under another runtime. */
const PATIENCE = Number(process.env["IRONMESH_PATIENCE"] ?? 1);

export async function eventually<T>(
  what: string,
  look: () => Promise<T | undefined | false> | T | undefined | false,
  withinMs = 10_000,
): Promise<T> {
  const deadline = performance.now() + withinMs * PATIENCE;
  for (;;) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (performance.now() > deadline)
      throw new Error(`not within ${withinMs * PATIENCE} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
