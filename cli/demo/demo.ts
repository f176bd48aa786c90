// The demo from nothing to a page and back to nothing: hosts, config server, agents, bookstore, forwarders.
import { cpSync, existsSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  agentDaemon,
  isAgentReady,
  joinHost,
  logInAsOperator,
  serverDaemon,
  untilAllRun,
} from "./agents.ts";
import { consulDaemon, ON_CONSUL, untilConsulServes } from "./consul.ts";
import type { Daemon } from "./daemon.ts";
import type { DenoMesh } from "./deno.ts";
import { type Forwarder, openForwarder } from "./forwarder.ts";
import { Lab, privateDirectory, removeLab } from "./lab.ts";
import {
  addressOf,
  type DemoHost,
  HOSTS,
  HTTP_PORT,
  hostNamed,
  hostOf,
  namespaceOf,
  RUN_DIRECTORY,
  SERVER_HOST,
  UID,
} from "./layout.ts";
import { Operator } from "./operator.ts";
import { partCommand, portsOf, startPrograms, startResolver } from "./programs.ts";
import type { Progress } from "./progress.ts";
import { LOGS, logPath, writeRunDirectory } from "./run-directory.ts";
import { until } from "./until.ts";
import { untilWholePage } from "./whole-page.ts";

/** Service accounts each host may hold: what its programs are declared as in bookstore.yaml, and nothing else. */
export const grantOf = (host: DemoHost): readonly string[] =>
  host.programs.map((name) => `default/${name.replace(/-v[0-9]+$/, "")}`);

export type MakeDemo = (registry: "embedded" | "consul") => Demo;

export class Demo {
  readonly lab: Lab;
  readonly operator: Operator;
  readonly #progress: Progress;
  readonly #forwarders: Forwarder[] = [];
  /** Whoever lets one die says so here, or it is taken for running. */
  readonly server: Daemon;
  /** What the config server is started with beside where it is. */
  serverOptions: readonly string[] = [];
  /** The same for agents. */
  agentOptions: readonly string[] = [];
  /** Keeps the mesh's state, where the demo was made on one. */
  readonly consul: Daemon | undefined;
  /** The config server's port on this machine's 127.0.0.1. */
  serverPort = 0;
  readonly #agents: ReadonlyMap<string, Daemon>;
  /** Tokens the hosts joined with; each has been used. */
  readonly tokens = new Map<string, string>();

  /** `contextsFile`: see Operator. `consul`: the file of a Consul to keep the mesh in. `deno`: what the mesh runs under. */
  constructor(
    meshctl: readonly string[],
    progress: Progress,
    {
      contextsFile,
      consul,
      deno,
    }: {
      readonly contextsFile?: string;
      readonly consul?: string;
      readonly deno?: DenoMesh;
    } = {},
  ) {
    this.lab = new Lab(meshctl, consul, deno);
    this.operator = new Operator(meshctl, contextsFile);
    this.#progress = progress;
    this.consul = consul === undefined ? undefined : consulDaemon(this.lab);
    const onConsul = consul === undefined ? [] : ON_CONSUL;
    this.server = serverDaemon(this.lab, () => [...onConsul, ...this.serverOptions]);
    this.#agents = new Map(
      HOSTS.map((host) => [host.name, agentDaemon(this.lab, host, () => this.agentOptions)]),
    );
  }

  agentOn({ name }: DemoHost): Daemon {
    const agent = this.#agents.get(name);
    if (agent === undefined) throw new Error(`the demo has no host ${name}`);
    return agent;
  }

  /** Everything, up to the first page that shows details and reviews. Returns its URL on this machine. */
  async start(onLabUp: () => Promise<void> = () => Promise.resolve()): Promise<string> {
    const say = (text: string): void => {
      if (this.lab.isDown) throw new Error("the demo was interrupted");
      this.#progress.step(text);
    };
    say("removing what an earlier demo left");
    await removeLab();
    writeRunDirectory();
    say("making five hosts behind a router");
    await this.lab.up();
    await onLabUp();
    say("starting the config server and the bookstore");
    startResolver(this.lab);
    for (const host of HOSTS) startPrograms(this.lab, host);
    if (this.consul !== undefined) {
      say("starting Consul, and the config server on it");
      await this.consul.start();
      await untilConsulServes(this.lab);
    }
    await this.server.start();
    await this.#openServer();
    say("giving each host a join token, and declaring the bookstore");
    await this.operator.apply("bookstore.yaml");
    for (const host of HOSTS)
      this.tokens.set(host.name, await this.operator.createToken(host.name, grantOf(host)));
    say("joining five hosts");
    await Promise.all(
      HOSTS.map((host) => joinHost(this.lab, host, this.tokens.get(host.name) ?? "")),
    );
    await Promise.all(HOSTS.map((host) => this.agentOn(host).start()));
    say("waiting for five agents to serve");
    await until("every agent is ready", 15_000, async () =>
      (await Promise.all(HOSTS.map(isAgentReady))).every(Boolean),
    );
    const { version } = await this.operator.status();
    await untilAllRun(version, 10_000);
    say("asking for the first page");
    const { port } = await this.#openPage();
    const url = `http://127.0.0.1:${port}/productpage`;
    // The apps may still be starting, which is no fault of the mesh.
    await untilWholePage("the first page", url, 15_000);
    return url;
  }

  /** As when the plug is pulled: the cable is dead, then every process ends without a word. */
  powerOff(host: DemoHost): Promise<void> {
    return this.lab.crash(host);
  }

  /** The host boots: network, programs, and, when these listen, its agent. */
  async powerOn(host: DemoHost): Promise<void> {
    await this.lab.plugIn(host);
    startPrograms(this.lab, host);
    const ports = portsOf(host);
    await until(`the programs of ${host.name}`, 10_000, async () => {
      const listening = await this.lab.listeningPorts(host);
      return ports.every((port) => listening.includes(port));
    });
    await this.agentOn(host).start();
    await until(`the agent of ${host.name}`, 15_000, () => isAgentReady(host));
  }

  /** Copies the logs to where they outlive the demo. */
  keepLogs(): void {
    const place = mkdtempSync(join(tmpdir(), "ironmesh-demo-logs-"));
    cpSync(LOGS, place, { recursive: true });
    this.#progress.line(`logs of everything: ${place}`);
  }

  async stop(): Promise<void> {
    for (const forwarder of this.#forwarders) forwarder.close();
    await this.lab.down();
    await removeLab(); // what a start under way made meanwhile
  }

  /** The config server on this machine's 127.0.0.1, and an operator who is logged in to it. */
  async #openServer(): Promise<void> {
    const target = `${addressOf(hostNamed(SERVER_HOST))}:15010`;
    const { port } = await this.#bridge(hostNamed(SERVER_HOST), "server", target, 15010);
    this.serverPort = port;
    await logInAsOperator(this.operator, port);
  }

  #openPage(): Promise<Forwarder> {
    // Not 127.0.0.1: the page is asked for as another host's user would, at the host's own address.
    const target = `${addressOf(hostOf("productpage"))}:${HTTP_PORT}`;
    return this.#bridge(hostOf("productpage"), "page", target, HTTP_PORT);
  }

  async #bridge(
    host: DemoHost,
    name: string,
    target: string,
    preferredPort: number,
  ): Promise<Forwarder> {
    const directory = await privateDirectory(
      `${RUN_DIRECTORY}/${host.name}/bridge-${name}`,
      UID.bystander,
    );
    const socket = `${directory}/sock`;
    this.lab.spawn(namespaceOf(host), partCommand(this.lab, "relay", [`${socket}=${target}`]), {
      uid: UID.bystander,
      log: logPath(`bridge-${name}`),
    });
    await until(`the way to ${name}`, 5_000, () => Promise.resolve(existsSync(socket)));
    const forwarder = await openForwarder(preferredPort, socket);
    this.#forwarders.push(forwarder);
    return forwarder;
  }
}
