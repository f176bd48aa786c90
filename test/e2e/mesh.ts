// A mesh of two hosts with real agents from the executable, a config server on host c, an app on b and a client on a: what the tests
// of this directory share. Nothing is configured by hand but what a join token tells.
import type { ChildProcess } from "node:child_process";
import {
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { resolve } from "node:path";
import { ADMIN_PATHS, type AgentStatus } from "../../agent/api/admin.ts";
import type { Snapshot } from "../../agent/policy/snapshot.ts";
import { ADDRESS, eventually, type HostName, Hosts } from "../support/hosts.ts";
import type { Remote } from "../support/remote.ts";
import type { HboneJob, HboneOutcome } from "./hbone-client.ts";
import { UID } from "./ports.ts";
import { RESOURCES } from "./resources.ts";
import type { Outcome, TaggedJob } from "./tagged-conversation.ts";

export type Member = "a" | "b";
const CAPABILITIES = ["net_admin", "net_raw", "net_bind_service"];
const EXECUTABLE = process.env["IRONMESH_EXECUTABLE"] ?? "dist/meshctl";

export interface AccessLine {
  readonly method?: string;
  readonly path?: string;
  readonly response_code?: number;
  readonly response_flags?: string;
  readonly downstream_peer_identity?: string;
  readonly decision_id?: string;
}

type Addresses = Readonly<Record<Member, string>>;
type AgentWords = Readonly<Record<Member, readonly string[]>>;

export class Mesh {
  readonly hosts: Hosts;
  readonly #meshctl: readonly string[];
  readonly #agents = new Map<Member, ChildProcess>();
  readonly #agentWords: AgentWords;
  readonly #serverWords: readonly string[];
  readonly #addresses: Addresses | undefined;
  #server: ChildProcess | undefined;
  /** Answers names on c, as root. */
  #world: Remote | undefined;

  private constructor(
    hosts: Hosts,
    agentWords: AgentWords,
    serverWords: readonly string[],
    addresses: Addresses | undefined,
  ) {
    this.hosts = hosts;
    this.#addresses = addresses;
    this.#agentWords = agentWords;
    this.#serverWords = serverWords;
    // Its own place may be closed to other users.
    this.#meshctl = existsSync(EXECUTABLE)
      ? [hosts.place.copy(EXECUTABLE, "meshctl")]
      : [hosts.place.runtime, resolve("cli/main.ts")];
  }

  /** Further options of the agent on a, of both, and of the server; where services of a and b are reached, if not at IPv4. */
  static async up(
    onA: readonly string[] = [],
    onBoth: readonly string[] = [],
    onServer: readonly string[] = [],
    addresses?: Addresses,
  ): Promise<Mesh> {
    const hosts = await Hosts.up();
    const mesh = new Mesh(hosts, { a: [...onBoth, ...onA], b: onBoth }, onServer, addresses);
    try {
      await mesh.#start();
    } catch (cause) {
      for (const log of ["server", "agent-a", "agent-b"]) console.error(log, mesh.log(log));
      await hosts.down();
      throw cause;
    }
    return mesh;
  }

  async #start(): Promise<void> {
    const world = await this.remote("c", 0);
    this.#world = world;
    await world.run((kit, address) => kit.serveNames(address, "192.0.2.53"), ADDRESS.c);
    const app = await this.hosts.nodeProgram(new URL("./backend.ts", import.meta.url).pathname);
    this.hosts.spawn("b", ["node", app], { uid: UID.backend, log: "backend" });
    this.startServer();
    await eventually("the config server", () => /^config server /m.test(this.log("server")));
    const state = this.stateOf("server");
    const caSha256 = readFileSync(`${state}/ca-sha256`, "utf8").trim();
    const known = ["--ca-sha256", caSha256, "--token-file", `${state}/operator-token`];
    await this.meshctl("login", `https://${ADDRESS.c}:15010`, ...known, "--context", "e2e");
    await this.apply(RESOURCES);
    await Promise.all((["a", "b"] as const).map((host) => this.#join(host)));
    for (const host of ["a", "b"] as const) await this.untilServing(host);
  }

  async #join(host: Member): Promise<void> {
    const account = host === "a" ? "default/client" : "default/backend";
    const shown = await this.meshctl(
      "token",
      "create",
      "--host",
      host,
      "--service-account",
      account,
      ...(this.#addresses === undefined ? [] : ["--address", this.#addresses[host]]),
    );
    const token = /im1\.[A-Za-z0-9_-]+/.exec(shown)?.[0] ?? "";
    const directory = this.#directoryFor(`agent-${host}`, UID.agent);
    const command = [...this.#meshctl, "join", token, "--no-check", "--state-dir", directory];
    const { code, stderr } = await this.hosts.run(host, command, { uid: UID.agent });
    if (code !== 0) throw new Error(`host ${host} does not join: ${stderr}`);
    this.startAgent(host);
  }

  startServer(): ChildProcess {
    const state = this.#directoryFor("server", UID.server);
    const words = ["server", "--state-dir", state, "--advertise", ADDRESS.c, ...this.#serverWords];
    const as = { uid: UID.server, log: "server" };
    this.#server = this.hosts.spawn("c", [...this.#meshctl, ...words], as);
    return this.#server;
  }

  startAgent(host: Member): ChildProcess {
    const words = ["--workers", "4", "--access-log", "on", ...this.#agentWords[host]];
    const command = [...this.#meshctl, "agent", ...this.#filesOf(host), ...words];
    const as = { uid: UID.agent, capabilities: CAPABILITIES, env: { IRONMESH_POISON: "1" } };
    const child = this.hosts.spawn(host, command, { ...as, log: `agent-${host}` });
    this.#agents.set(host, child);
    return child;
  }

  kill(who: Member | "server"): Promise<void> {
    const child = who === "server" ? this.#server : this.#agents.get(who);
    if (child === undefined) throw new Error(`${who} was not started`);
    if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
    const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
    child.kill("SIGKILL");
    return ended;
  }

  /** Resolves when the agent has a snapshot, and its redirect stands. */
  untilServing(host: Member): Promise<AgentStatus> {
    return eventually(`agent ${host} serves`, async () => {
      const status = await this.status(host);
      return status?.redirect.isApplied === true && status.version !== undefined && status;
    });
  }

  async meshctl(...words: readonly string[]): Promise<string> {
    const env = { IRONMESH_CONFIG: `${this.hosts.directory}/contexts`, IRONMESH_CONTEXT: "e2e" };
    const { code, stdout, stderr } = await this.hosts.run("c", [...this.#meshctl, ...words], {
      uid: 0,
      env,
    });
    if (code !== 0) throw new Error(`meshctl ${words.join(" ")}: ${stderr || stdout}`);
    return stdout;
  }

  /** The process on c that is the resolver of all hosts. */
  get world(): Remote {
    if (this.#world === undefined) throw new Error("the mesh is not up");
    return this.#world;
  }

  /** As `meshctl config endpoints` shows them there. */
  async endpointsAt(host: Member): Promise<string> {
    const command = [...this.#meshctl, "config", "endpoints", "--admin", this.#socketOf(host)];
    return (await this.hosts.run(host, command, { uid: UID.agent })).stdout;
  }

  /** On that host, as its root would, with the options its agent runs with. */
  redirect(host: Member, verb: string, ...words: readonly string[]) {
    const command = [...this.#meshctl, "redirect", verb, ...this.#filesOf(host), ...words];
    return this.hosts.run(host, command, { uid: UID.agent, capabilities: CAPABILITIES });
  }

  /** As that host's root, told only where its agent is. */
  check(host: Member) {
    const command = [...this.#meshctl, "check", "-o", "json", ...this.#filesOf(host)];
    return this.hosts.run(host, command, { uid: 0 });
  }

  /** `meshctl explain` on that host, against its agent's admin socket. */
  explainThere(host: Member, ...words: readonly string[]) {
    const command = [...this.#meshctl, "explain", ...words, "--admin", this.#socketOf(host)];
    return this.hosts.run(host, command, { uid: UID.agent });
  }

  /** The file that agents were started from; undefined: they run from source. */
  get executable(): string | undefined {
    return this.#meshctl.length === 1 ? this.#meshctl[0] : undefined;
  }

  /** As the agent's own user; by that file, or the one agents run. */
  upgrade(host: Member, by = this.#meshctl[0] ?? "") {
    const command = [by, ...this.#meshctl.slice(1), "upgrade", "--admin", this.#socketOf(host)];
    return this.hosts.run(host, command, { uid: UID.agent }, 60_000);
  }

  /** Returns when every connected agent runs it. */
  async apply(yaml: string): Promise<void> {
    writeFileSync(`${this.hosts.directory}/resources.yaml`, yaml);
    await this.meshctl("apply", "-f", `${this.hosts.directory}/resources.yaml`, "--wait");
  }

  remote(host: HostName, uid: number): Promise<Remote> {
    return this.hosts.remote(host, uid);
  }

  /** What a request from host a comes back with: its body and, on a line of its own, status code and time. */
  async curl(
    ...words: readonly string[]
  ): Promise<{ body: string; code: string; seconds: number }> {
    const out = ["-s", "-S", "-m", "20", "-w", "\n%{http_code} %{time_total}"];
    const ran = await this.hosts.run("a", ["curl", ...out, ...words], { uid: UID.client });
    const at = ran.stdout.lastIndexOf("\n");
    const [code = "", seconds = ""] = ran.stdout.slice(at + 1).split(" ");
    if (ran.code !== 0) throw new Error(`curl ${words.join(" ")}: ${ran.stderr}${ran.stdout}`);
    return { body: ran.stdout.slice(0, at), code, seconds: Number(seconds) };
  }

  /** See tagged-conversation.ts; as the client, in a process of its own. */
  async taggedConversations(job: TaggedJob): Promise<Outcome> {
    const source = new URL("./tagged-conversation.ts", import.meta.url).pathname;
    const command = ["node", await this.hosts.nodeProgram(source), JSON.stringify(job)];
    const { code, stdout, stderr } = await this.hosts.run(
      "a",
      command,
      { uid: UID.client },
      300_000,
    );
    if (code !== 0) throw new Error(`tagged conversations: ${stderr}`);
    return JSON.parse(stdout) as Outcome;
  }

  /** See hbone-client.ts: from host c, which has no agent, with what the agent on a keeps as the client's own. */
  async hbone(job: Pick<HboneJob, "authority" | "send" | "times" | "servername">) {
    const source = new URL("./hbone-client.ts", import.meta.url).pathname;
    const held = `${this.stateOf("agent-a")}/identities/default@client.json`;
    const { certificates, keyPem } = JSON.parse(readFileSync(held, "utf8"));
    const whole: HboneJob = { host: ADDRESS.b, certificates, keyPem, ...job };
    const command = ["node", await this.hosts.nodeProgram(source), JSON.stringify(whole)];
    const { code, stdout, stderr } = await this.hosts.run("c", command, { uid: UID.outside });
    if (code !== 0) throw new Error(`hbone client: ${stderr}`);
    return JSON.parse(stdout) as HboneOutcome;
  }

  async status(host: Member): Promise<AgentStatus | undefined> {
    return this.#ask<AgentStatus>(host, ADMIN_PATHS.status);
  }

  async vipOf(service: string): Promise<{ vip4: string; vip6: string }> {
    const snapshot = await this.#ask<Snapshot>("a", ADMIN_PATHS.snapshot);
    const found = snapshot?.services.find((one) => one.names.includes(service));
    if (found?.vip4 === undefined || found.vip6 === undefined)
      throw new Error(`agent a knows no service ${service}`);
    return { vip4: found.vip4, vip6: found.vip6 };
  }

  /** Sum of a metric's series that have all of these labels. */
  async metric(host: Member, name: string, ...labels: readonly string[]): Promise<number> {
    const reply = await fetch(`http://agent${ADMIN_PATHS.metrics}`, { unix: this.#socketOf(host) });
    const lines = (await reply.text()).split("\n");
    return lines
      .filter((line) => line.startsWith(name) && labels.every((label) => line.includes(label)))
      .reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
  }

  /** The agent's access record of a path, once it is written. */
  accessOf(host: Member, path: string): Promise<AccessLine> {
    return eventually(`access record of ${path}`, () =>
      this.log(`agent-${host}`)
        .split("\n")
        .filter((line) => line.startsWith('{"start_time"') && line.includes(path))
        .map((line) => JSON.parse(line) as AccessLine)
        .find((record) => record.path === path),
    );
  }

  /** The agent's access records of refusals. */
  refusalsOf(host: Member): readonly AccessLine[] {
    return this.log(`agent-${host}`)
      .split("\n")
      .filter((line) => line.startsWith('{"start_time"') && line.includes('"decision_id"'))
      .map((line) => JSON.parse(line) as AccessLine);
  }

  /** Resident memory of an agent, in bytes. */
  rssOf(host: Member): number {
    const text = readFileSync(`/proc/${this.#agents.get(host)?.pid}/status`, "utf8");
    return Number(/^VmRSS:\s+(\d+)/m.exec(text)?.[1]) * 1024;
  }

  /** Open descriptors of an agent. */
  descriptorsOf(host: Member): number {
    return readdirSync(`/proc/${this.#agents.get(host)?.pid}/fd`).length;
  }

  /** So that a long test does not fill the disk. */
  async logErrorsOnly(host: Member): Promise<void> {
    const path = `http://agent${ADMIN_PATHS.accessLog}?mode=errors`;
    const reply = await fetch(path, { unix: this.#socketOf(host), method: "PUT" });
    if (!reply.ok) throw new Error(`the access log of ${host}: ${await reply.text()}`);
  }

  log(name: string): string {
    const path = `${this.hosts.directory}/${name}.log`;
    return existsSync(path) ? readFileSync(path, "utf8") : "";
  }

  down(): Promise<void> {
    return this.hosts.down();
  }

  stateOf(name: string): string {
    return `${this.hosts.directory}/state-${name}`;
  }
  #filesOf(host: Member): readonly string[] {
    return ["--state-dir", this.stateOf(`agent-${host}`), "--admin-socket", this.#socketOf(host)];
  }
  #socketOf(host: Member): string {
    return `${this.stateOf(`agent-${host}`)}/admin.sock`;
  }
  #directoryFor(name: string, uid: number): string {
    mkdirSync(this.stateOf(name), { recursive: true, mode: 0o700 });
    chownSync(this.stateOf(name), uid, uid);
    return this.stateOf(name);
  }

  async #ask<T>(host: Member, path: string): Promise<T | undefined> {
    try {
      const reply = await fetch(`http://agent${path}`, { unix: this.#socketOf(host) });
      return reply.ok ? ((await reply.json()) as T) : undefined;
    } catch {
      return undefined; // it is starting
    }
  }
}
