// A real config server with member hosts that tell of traffic over real sessions, for tests of what operators see. Its wall clock
// can be moved on, so that nobody waits for a window to fill.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EDGES_FORMAT, type EdgeReport, type EdgeSample, UNKNOWN } from "../../agent/api/edges.ts";
import { parseJoinToken } from "../../agent/api/join-token.ts";
import type { JoinResponse, Manifest, ServerMessage } from "../../agent/api/session.ts";
import { hostIdentity } from "../../agent/api/spiffe.ts";
import { SILENT_LOG } from "../../agent/base/log.ts";
import { systemClock, systemTimers } from "../../agent/os/clock.ts";
import { createCsr } from "../../agent/pki/x509.ts";
import { type Registry, startRegistry } from "../../registry/registry.ts";
import { ask, TestAgent } from "./config-server-client.ts";

export const TRUST_DOMAIN = "mesh.test";
const identityOf = (workload: string): string =>
  `spiffe://${TRUST_DOMAIN}/ns/default/sa/${workload}`;

type Question = Extract<ServerMessage, { type: "decision" }>;

export class ReportingMesh {
  readonly #directory: string;
  readonly #agents = new Map<string, TestAgent>();
  readonly #asked = new Map<string, (question: Question) => void>();
  readonly #clock: { aheadMs: number };
  #nextUid = 20_000;
  registry: Registry;
  readonly operatorToken: string;

  private constructor(directory: string, registry: Registry, clock: { aheadMs: number }) {
    this.#directory = directory;
    this.#clock = clock;
    this.registry = registry;
    this.operatorToken = readFileSync(registry.operatorTokenFile, "utf8").trim();
  }

  static async start(): Promise<ReportingMesh> {
    const directory = mkdtempSync(join(tmpdir(), "ironmesh-reporting-"));
    const ahead = { aheadMs: 0 };
    const registry = await serve(directory, 0, ahead);
    return new ReportingMesh(directory, registry, ahead);
  }

  /** After `registry.close()`: the same server on the same port. */
  async restart(): Promise<void> {
    this.registry = await serve(this.#directory, this.registry.port, this.#clock);
  }

  async close(): Promise<void> {
    for (const agent of this.#agents.values()) agent.socket.terminate();
    await this.registry.close();
    rmSync(this.#directory, { recursive: true });
  }

  ask<T>(method: string, path: string, body?: unknown) {
    return ask<T>(this.registry, method, path, body, { operator: this.operatorToken });
  }

  /** Every name a service of its own, backed by the workload of that name on `host`; one document's text each. */
  async declare(host: string, ...names: readonly string[]): Promise<void> {
    const documents = names.map((name) => ({
      apiVersion: "ironmesh.dev/v1",
      kind: "Workload",
      metadata: { name, namespace: "default", labels: { app: name, version: "v1" } },
      spec: {
        hosts: [host],
        serviceAccount: name,
        process: { uid: this.#nextUid },
        services: [{ name, ports: [{ port: 80, targetPort: this.#nextUid++, protocol: "HTTP" }] }],
      },
    }));
    await this.apply(documents);
  }

  async apply(documents: readonly object[]): Promise<void> {
    const applied = await this.ask("POST", "/v1/apply", { documents });
    if (applied.status !== 200) throw new Error(JSON.stringify(applied.body));
  }

  /** Joins the host with grants for these accounts of `default` and opens its session. */
  join(host: string, address: string, ...accounts: readonly string[]): Promise<void> {
    return this.joinAs(host, address, {}, ...accounts);
  }

  /** `hello`: what its agent says beyond what all say. */
  async joinAs(
    host: string,
    address: string,
    hello: object,
    ...accounts: readonly string[]
  ): Promise<void> {
    const serviceAccounts = accounts.map((account) => `default/${account}`);
    const grant = { host, serviceAccounts, ttlSeconds: 600, address };
    const made = await this.ask<{ token: string }>("POST", "/v1/tokens", grant);
    const token = parseJoinToken(made.body.token);
    if (!token.ok) throw new Error(token.error);
    const { csrPem, keyPem } = await createCsr(hostIdentity(TRUST_DOMAIN, host));
    const body = { secret: token.value.secret, host, csr: csrPem };
    const joined = await ask<JoinResponse>(this.registry, "POST", "/v1/join", body);
    if (joined.status !== 200) throw new Error(JSON.stringify(joined.body));
    const agent = new TestAgent(this.registry, {
      cert: joined.body.certificates.join(""),
      key: keyPem,
    });
    await agent.opened();
    agent.hello(host, hello);
    this.#agents.set(host, agent);
    void this.#acknowledge(host, agent);
  }

  /** Tells it now; resolves when the server has heard it. */
  async tell(host: string, edges: readonly EdgeSample[], overMs = 60_000): Promise<void> {
    const report: EdgeReport = { type: "edges", format: EDGES_FORMAT, overMs, edges, omitted: 0 };
    this.agent(host).say(report);
    await this.heard(host);
  }

  /** A steady traffic that fills every window up to a minute: each edge's sample again and again, for three minutes. */
  async steady(told: { readonly [host: string]: readonly EdgeSample[] }): Promise<void> {
    for (let minute = 0; minute < 3; minute++) {
      this.pass(60_000);
      for (const [host, edges] of Object.entries(told)) await this.tell(host, edges);
    }
  }

  /** The server has read what this host said: it answers pings in order. */
  heard(host: string): Promise<void> {
    const { socket } = this.agent(host);
    return new Promise((resolve) => {
      socket.once("pong", () => resolve());
      socket.ping();
    });
  }

  /** Takes every version, so that its session lives, and keeps what it is asked. */
  async #acknowledge(host: string, agent: TestAgent): Promise<void> {
    while (agent.closed === undefined) {
      const message = await agent.next();
      if (message?.type === "decision") this.#asked.get(host)?.(message);
      if (message?.type !== "manifest") continue;
      const { epoch, version } = JSON.parse(message.manifest.payload) as Manifest;
      agent.say({ type: "ack", epoch, version });
    }
  }

  /** The next that the host is asked about a decision. */
  question(host: string): Promise<Question> {
    return new Promise((resolve) => this.#asked.set(host, resolve));
  }

  agent(host: string): TestAgent {
    const agent = this.#agents.get(host);
    if (agent === undefined) throw new Error(`${host} has not joined`);
    return agent;
  }

  pass(ms: number): void {
    this.#clock.aheadMs += ms;
  }
}

function serve(directory: string, port: number, ahead: { aheadMs: number }): Promise<Registry> {
  const real = systemClock();
  const clock = {
    nowMs: () => real.nowMs() + ahead.aheadMs,
    wallMs: () => real.wallMs() + ahead.aheadMs,
  };
  return startRegistry(
    {
      stateDir: join(directory, "server"),
      listen: { address: "127.0.0.1", port },
      advertise: ["127.0.0.1"],
      trustDomain: TRUST_DOMAIN,
    },
    { clock, timers: systemTimers(), log: SILENT_LOG },
  );
}

/** A minute of `requests` from one workload to another, as the source's agent tells it; all go well within 10 ms. */
export function sample(
  source: string,
  destination: string,
  parts: Partial<EdgeSample> = {},
): EdgeSample {
  const end = (workload: string) => ({
    workload,
    namespace: workload === UNKNOWN ? UNKNOWN : "default",
    identity: workload === UNKNOWN ? UNKNOWN : identityOf(workload),
  });
  const requests = parts.requests ?? 600;
  return {
    reporter: "source",
    source: end(source),
    destination: end(destination),
    service: `${destination}.default.mesh`,
    protocol: "http",
    security: "mutual_tls",
    requests,
    failed: 0,
    answers: [],
    latencies: requests === 0 ? [] : [[3, requests]],
    opened: 0,
    broken: 0,
    sentBytes: 0,
    receivedBytes: 0,
    ...parts,
  };
}
