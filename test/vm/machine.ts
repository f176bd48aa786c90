// A machine that boots: systemd as PID 1 on a disk of its own (systemd-nspawn over an overlay of the base image), in a network
// namespace of test/support/hosts.ts. It can be rebooted, and its power can be cut; its disk stays until it is removed.
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { type Finished, run, runOrThrow } from "../../cli/demo/shell.ts";
import { eventually } from "../support/hosts.ts";
import { baseImage } from "./base-image.ts";

const PROGRAMS = ["systemd-nspawn", "mmdebstrap", "nsenter", "nft", "ip"];
const BOOT_MAX_MS = 60_000;
const PREFIX = "im-vm-";
const CGROUPS = "/sys/fs/cgroup";
/** SIGRTMIN+4 (34 + 4): systemd starts poweroff.target (systemd(1)). */
const POWEROFF = 38;

/** Skips aloud; where CI runs, a skipped test is a failed one. */
export function canBoot(suite: string, alsoNeeded: readonly string[] = []): boolean {
  const has = (name: string): boolean => spawnSync("sh", ["-c", `command -v ${name}`]).status === 0;
  const missing = [...PROGRAMS, ...alsoNeeded].filter((name) => !has(name));
  const reasons = [
    ...(process.getuid?.() === 0 ? [] : ["machines need root"]),
    ...(missing.length === 0 ? [] : [`needs ${missing.join(", ")}: bash .ci/setup full`]),
    ...(existsSync("dist/meshctl") ? [] : ["dist/meshctl is not built: npm run build"]),
  ];
  if (reasons.length === 0) return true;
  if (process.env["CI"] !== undefined) throw new Error(`${suite}: ${reasons.join("; ")}`);
  console.error(`SKIPPED ${suite}: ${reasons.join("; ")}`);
  return false;
}

export class Machine {
  readonly name: string;
  readonly #namespace: string;
  readonly #directory: string;
  #nspawn: ChildProcess | undefined;
  #init = 0;

  private constructor(name: string, namespace: string) {
    this.name = name;
    this.#namespace = namespace;
    this.#directory = mkdtempSync(join(tmpdir(), `${PREFIX}${process.pid}-${name}-`));
  }

  /** Resolves when its manager says that the machine is up. */
  static async boot(name: string, namespace: string): Promise<Machine> {
    removeLeftovers();
    const machine = new Machine(name, namespace);
    await machine.#makeDisk(await baseImage());
    await machine.start();
    return machine;
  }

  /** A path of the machine as seen from here. */
  path(inside: string): string {
    return join(this.#directory, "root", inside);
  }

  write(inside: string, text: string, mode = 0o644): void {
    mkdirSync(dirname(this.path(inside)), { recursive: true });
    writeFileSync(this.path(inside), text, { mode });
  }

  async #makeDisk(base: string): Promise<void> {
    const at = this.#directory;
    for (const part of ["disk", "root"]) mkdirSync(join(at, part));
    await runOrThrow(["mount", "-t", "tmpfs", "-o", "mode=755,size=1g", "im-vm", join(at, "disk")]);
    for (const part of ["upper", "work"]) mkdirSync(join(at, "disk", part));
    const layers = `lowerdir=${base},upperdir=${at}/disk/upper,workdir=${at}/disk/work`;
    await runOrThrow(["mount", "-t", "overlay", "overlay", "-o", layers, join(at, "root")]);
    this.write("etc/hostname", `${this.name}\n`);
    this.write("etc/hosts", `127.0.0.1 localhost\n127.0.1.1 ${this.name}\n::1 localhost\n`);
    const resolv = readFileSync(`/etc/netns/${this.#namespace}/resolv.conf`, "utf8");
    this.write("etc/resolv.conf", resolv);
  }

  async start(): Promise<void> {
    await this.#forgetRules();
    const log = openSync(join(this.#directory, "console.log"), "a");
    const command = [
      ...["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--boot"],
      ...[`--directory=${this.path("")}`, `--machine=${this.name}`, `--hostname=${this.name}`],
      `--network-namespace-path=/run/netns/${this.#namespace}`,
      ...["--capability=CAP_NET_ADMIN,CAP_NET_RAW", "--resolv-conf=off", "--timezone=off"],
      ...["--link-journal=no", "--console=pipe", "--kill-signal=SIGRTMIN+3"],
    ];
    // This host's init may be anything: each machine gets the cgroup that a systemd host would make for it, in every hierarchy.
    const groups = this.#cgroups();
    for (const group of groups) makeCgroup(group);
    const enter = groups.map((group) => `echo $$ > ${group}/cgroup.procs`).join("; ");
    this.#nspawn = spawn("sh", ["-c", `${enter}; exec "$@"`, "sh", ...command], {
      env: { ...process.env, SYSTEMD_NSPAWN_UNIFIED_HIERARCHY: "1" },
      stdio: ["ignore", log, log],
      detached: true,
    });
    const supervisor = this.#nspawn.pid ?? 0;
    this.#init = await eventually(`${this.name} begins to boot`, () => initOf(supervisor), 20_000);
    await eventually(
      `${this.name} is up`,
      async () =>
        /^(running|degraded)/.test((await this.exec("systemctl", "is-system-running")).stdout),
      BOOT_MAX_MS,
    ).catch((cause: unknown) => {
      throw new Error(
        `${String(cause)}\n${readFileSync(join(this.#directory, "console.log"), "utf8")}`,
      );
    });
  }

  #cgroups(): readonly string[] {
    const hierarchies = existsSync(`${CGROUPS}/cgroup.controllers`)
      ? [CGROUPS]
      : readdirSync(CGROUPS).map((name) => `${CGROUPS}/${name}`);
    return hierarchies
      .filter((path) => existsSync(`${path}/cgroup.procs`))
      .map((path) => `${path}/im-vm-${process.pid}/${this.name}`);
  }

  /** A namespace outlives the machine in it, a real host's rules and routes do not outlive a reboot. */
  async #forgetRules(): Promise<void> {
    const script = `
      nft flush ruleset
      for f in -4 -6; do
        ip $f route show table all proto 143 | while read -r line; do ip $f route del $line || true; done
        ip $f rule show | grep -v -e 'lookup local' -e 'lookup main' -e 'lookup default' | sed 's/:.*//' | while read -r p; do ip $f rule del pref $p; done
      done`;
    await runOrThrow(["ip", "netns", "exec", this.#namespace, "sh", "-c", script]);
  }

  /** Runs a command in the machine, as its root. */
  exec(...command: readonly string[]): Promise<Finished> {
    const enter = ["nsenter", "-t", `${this.#init}`, "-m", "-u", "-i", "-n", "-p", "-C", "--"];
    return run([...enter, ...command], { timeoutMs: 120_000, env: { HOME: "/root" } });
  }

  /** The same for what must succeed; returns what it printed. */
  async sh(script: string): Promise<string> {
    const { code, stdout, stderr } = await this.exec("bash", "-c", script);
    if (code === 0) return stdout.trim();
    throw new Error(`${this.name}: ${script}\nended with ${code}: ${stderr}${stdout}`);
  }

  /** An orderly shutdown, then power again. */
  async reboot(): Promise<void> {
    process.kill(this.#init, POWEROFF);
    await this.#hasEnded();
    await this.start();
  }

  /** No unit gets to say a word. */
  async cutPower(): Promise<void> {
    process.kill(this.#init, "SIGKILL");
    await this.#hasEnded();
  }

  async remove(): Promise<void> {
    if (this.#nspawn !== undefined && !isOver(this.#nspawn)) {
      for (const pid of [this.#init, this.#nspawn.pid ?? 0]) killIfThere(pid);
      await this.#hasEnded();
    }
    removeDisk(this.#directory);
    for (const group of this.#cgroups())
      spawnSync("sh", [
        "-c",
        `find ${group} -depth -type d -exec rmdir {} + ; rmdir ${dirname(group)}`,
      ]);
  }

  #hasEnded(): Promise<boolean> {
    return eventually(
      `${this.name} is off`,
      () => this.#nspawn !== undefined && isOver(this.#nspawn),
      60_000,
    );
  }
}

const isOver = (child: ChildProcess): boolean =>
  child.exitCode !== null || child.signalCode !== null;

/** Never steps over a mount: one that did not come off keeps what is behind it. */
function removeDisk(directory: string): void {
  for (const part of ["root", "disk"]) spawnSync("umount", [join(directory, part)]);
  spawnSync("rm", ["-rf", "--one-file-system", directory]);
}

/** Machines of a run that was killed; their names say whose they were. */
function removeLeftovers(): void {
  for (const name of readdirSync(tmpdir())) {
    const [, pid] = /^im-vm-(\d+)-/.exec(name) ?? [];
    if (pid === undefined || existsSync(`/proc/${pid}`)) continue;
    const directory = join(tmpdir(), name);
    const listed = spawnSync("pgrep", ["-f", `^systemd-nspawn .*--directory=${directory}/`], {
      encoding: "utf8",
    });
    for (const supervisor of listed.stdout.split("\n").filter(Boolean).map(Number)) {
      killIfThere(initOf(supervisor) ?? 0);
      killIfThere(supervisor);
    }
    removeDisk(directory);
  }
}

function killIfThere(pid: number): void {
  try {
    if (pid > 1) process.kill(pid, "SIGKILL");
  } catch {
    // it ended by itself
  }
}

/** The machine's PID 1: nspawn makes it by way of a child that does not stay. */
function initOf(supervisor: number): number | undefined {
  const { stdout } = spawnSync("pgrep", ["-P", `${supervisor}`], { encoding: "utf8" });
  return stdout
    .split("\n")
    .filter(Boolean)
    .map(Number)
    .find((pid) => /^NSpid:\t\d+\t1$/m.test(statusOf(pid)));
}

function statusOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/status`, "utf8");
  } catch {
    return ""; // it ended meanwhile
  }
}

/** A new group of the cpuset hierarchy is unusable until it has CPUs and memory. */
function makeCgroup(path: string): void {
  mkdirSync(path, { recursive: true });
  for (const group of [dirname(path), path])
    for (const file of ["cpuset.cpus", "cpuset.mems"])
      if (existsSync(`${group}/${file}`) && existsSync(`${dirname(group)}/${file}`))
        writeFileSync(`${group}/${file}`, readFileSync(`${dirname(group)}/${file}`, "utf8"));
}
