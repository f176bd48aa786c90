// Two hosts as network namespaces, joined by one cable, made and removed by the test that uses them.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";
import { hostRunner, type Runner } from "../../agent/os/redirect/runner.ts";
import { PublicPlace } from "../support/public-place.ts";

export const AGENT_UID = 54_242;
export const HOST = { ip: "10.77.1.1", ip6: "fd77:1::1" };
export const PEER = { ip: "10.77.1.2", ip6: "fd77:1::2" };

const needed = ["ip", "iptables-restore", "ipset", "nft", "setpriv"];
const isThere = (program: string): boolean =>
  spawnSync("sh", ["-c", `command -v ${program}`]).status === 0;

/** Why these tests cannot run here; undefined: they can. */
export function whyNot(): string | undefined {
  if (process.getuid?.() !== 0) return "needs root for network namespaces: run as root";
  const missing = needed.filter((program) => !isThere(program));
  if (missing.length > 0) return `needs ${missing.join(", ")}: npm run setup installs them`;
  const made = spawnSync("ip", ["netns", "add", `im-rd-probe-${process.pid}`]);
  spawnSync("ip", ["netns", "del", `im-rd-probe-${process.pid}`]);
  return made.status === 0 ? undefined : "the kernel allows no network namespaces here";
}

/** Skips aloud; where CI runs, a skipped test is a failed one. */
export function canRun(suite: string): boolean {
  const reason = whyNot();
  if (reason === undefined) return true;
  if (process.env["CI"] !== undefined) throw new Error(`${suite}: ${reason}`);
  console.error(`SKIPPED ${suite}: ${reason}`);
  return false;
}

let labs = 0;

/** A killed run leaves its namespaces behind; their names say whose they are. */
function removeLeftovers(): void {
  const listed = spawnSync("ip", ["netns", "list"], { encoding: "utf8" }).stdout;
  for (const [name, pid] of listed.matchAll(/^im-rd-(\d+)-\d+[hp]\b/gm)) {
    if (!existsSync(`/proc/${pid}`)) spawnSync("ip", ["netns", "del", name]);
  }
}

export class Lab {
  readonly host: string;
  readonly peer: string;
  readonly runner: Runner;
  readonly #actors: Actor[] = [];
  #place: PublicPlace | undefined;

  private constructor(name: string) {
    this.host = `${name}h`;
    this.peer = `${name}p`;
    this.runner = hostRunner(["ip", "netns", "exec", this.host]);
  }

  static async up(): Promise<Lab> {
    removeLeftovers();
    const lab = new Lab(`im-rd-${process.pid}-${labs++}`);
    const batch = (lines: string[], ns?: string) =>
      must(["ip", ...(ns === undefined ? [] : ["-n", ns]), "-batch", "-"], lines.join("\n"));
    await batch([`netns add ${lab.host}`, `netns add ${lab.peer}`]);
    // Without this the first two seconds of IPv6 are lost to duplicate address detection.
    for (const ns of [lab.host, lab.peer]) {
      await must([
        "ip",
        "netns",
        "exec",
        ns,
        "sysctl",
        "-qw",
        "net.ipv6.conf.all.accept_dad=0",
        "net.ipv6.conf.default.accept_dad=0",
        "net.ipv4.conf.all.rp_filter=1", // as strict as a careful distribution sets it
      ]);
    }
    await batch([`link add eth0 netns ${lab.host} type veth peer name eth0 netns ${lab.peer}`]);
    for (const [ns, own] of [
      [lab.host, HOST],
      [lab.peer, PEER],
    ] as const) {
      const addresses = [`addr add ${own.ip}/24 dev eth0`, `addr add ${own.ip6}/64 dev eth0 nodad`];
      await batch(["link set lo up", ...addresses, "link set eth0 up"], ns);
    }
    // The cable's carrier reaches IPv6 up to a second late, and a first packet sent before that is lost.
    const isReady = async (ns: string): Promise<boolean> => {
      const shown = await hostRunner().run([
        "ip",
        "-n",
        ns,
        "-6",
        "addr",
        "show",
        "dev",
        "eth0",
        "scope",
        "link",
      ]);
      return shown.stdout.includes("inet6");
    };
    if (
      !(await eventually(async () => (await isReady(lab.host)) && (await isReady(lab.peer)), 5_000))
    ) {
      throw new Error("the namespaces' cable did not come up within 5 s");
    }
    return lab;
  }

  /** A process on one of the two, as some user; the agent keeps the capabilities its unit gives it. */
  async actor(where: "host" | "peer", uid: number): Promise<Actor> {
    const caps = uid === AGENT_UID ? "+net_admin,+net_raw,+net_bind_service" : "-all";
    this.#place ??= new PublicPlace("im-rd");
    const place = this.#place;
    const program = await place.program(new URL("./actor.ts", import.meta.url).pathname);
    const child = spawn(
      "ip",
      [
        ...["netns", "exec", where === "host" ? this.host : this.peer],
        ...["setpriv", `--reuid=${uid}`, `--regid=${uid}`, "--clear-groups"],
        ...(uid === 0 ? [] : [`--inh-caps=${caps}`, `--ambient-caps=${caps}`]),
        ...[place.runtime, program],
      ],
      { stdio: ["pipe", "pipe", "inherit"], cwd: place.directory },
    );
    const actor = new Actor(child);
    this.#actors.push(actor);
    await actor.ask({ act: "hello" });
    return actor;
  }

  get actors(): readonly Actor[] {
    return this.#actors;
  }

  /** Everything a redirect could leave behind, as the kernel's own tools tell it. */
  async dump(): Promise<string> {
    const commands = [
      ...[
        "iptables-nft-save",
        "ip6tables-nft-save",
        "iptables-legacy-save",
        "ip6tables-legacy-save",
      ],
      ...["nft list ruleset", "ipset list -n", "ip rule", "ip -6 rule"],
      ...["ip route show table all", "ip -6 route show table all"],
    ];
    const parts = await Promise.all(commands.map((command) => this.runner.run(command.split(" "))));
    return parts.map((ran, i) => `## ${commands[i]}\n${withoutCounts(ran.stdout)}`).join("\n");
  }

  async down(): Promise<void> {
    for (const actor of this.#actors) actor.kill();
    await Promise.all(this.#actors.map((actor) => actor.ended));
    for (const ns of [this.host, this.peer]) await hostRunner().run(["ip", "netns", "del", ns]);
    this.#place?.remove();
  }
}

const withoutCounts = (text: string): string =>
  text
    .split("\n")
    .filter((line) => !line.startsWith("#"))
    .map((line) => line.replace(/\[\d+:\d+\]/, "").replace(/ expires \S+/, ""))
    .join("\n");

async function must(argv: readonly string[], input?: string): Promise<void> {
  const ran = await hostRunner().run(argv, input);
  if (ran.code !== 0) throw new Error(`${argv.join(" ")}: ${ran.stderr}`);
}

/** A process that does what it is told, one line of JSON at a time; see actor.ts. */
export class Actor {
  readonly #child: ChildProcess;
  readonly #waiting: ((answer: unknown) => void)[] = [];
  readonly ended: Promise<void>;

  constructor(child: ChildProcess) {
    this.#child = child;
    this.ended = new Promise((resolve) => child.once("close", () => resolve()));
    if (child.stdout === null) throw new Error("the actor has no output");
    createInterface({ input: child.stdout }).on("line", (line) =>
      this.#waiting.shift()?.(JSON.parse(line)),
    );
    child.once("close", () => {
      for (const waiting of this.#waiting.splice(0)) waiting({ ended: true });
    });
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  ask<T>(order: Record<string, unknown>): Promise<T> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve as (answer: unknown) => void);
      this.#child.stdin?.write(`${JSON.stringify(order)}\n`);
    });
  }

  /** As a crash would. `ip netns exec` and setpriv became the process itself, so this is the one. */
  kill(): void {
    this.#child.kill("SIGKILL");
  }
}

export async function eventually(
  claim: () => Promise<boolean> | boolean,
  withinMs: number,
): Promise<boolean> {
  const untilMs = performance.now() + withinMs;
  for (;;) {
    if (await claim()) return true;
    if (performance.now() > untilMs) return false;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
