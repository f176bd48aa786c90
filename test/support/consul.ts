// A real Consul server for tests: its own process, ports, data directory and, when asked for, ACLs or TLS; on loopback only.
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { request as httpRequest } from "node:http";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const READY_WITHIN_MS = 20_000;

/** Where a Consul is: IRONMESH_CONSUL, or what `.ci/consul` finds or fetches. Throws with what that said. */
export function consulExecutable(): string {
  const named = process.env["IRONMESH_CONSUL"];
  if (named !== undefined && existsSync(named)) return named;
  const script = join(import.meta.dir, "../../.ci/consul");
  return execFileSync("bash", [script], { encoding: "utf8", stdio: ["ignore", "pipe", "inherit"] })
    .trim()
    .split("\n")
    .slice(-1)[0] as string;
}

export interface TestConsulOptions {
  /** Default deny, with a bootstrap token. */
  readonly hasAcl?: boolean;
  /** PEM files for its HTTPS port. */
  readonly tls?: { readonly certificate: string; readonly key: string };
}

export class TestConsul {
  readonly url: string;
  readonly httpsUrl: string;
  readonly #directory: string;
  readonly #options: TestConsulOptions;
  #child: ChildProcess | undefined;
  /** With hasAcl: may everything. */
  managementToken: string | undefined;

  private constructor(ports: readonly number[], options: TestConsulOptions) {
    const [http = 0, https = 0, server = 0, serf = 0] = ports;
    this.url = `http://127.0.0.1:${http}`;
    this.httpsUrl = `https://127.0.0.1:${https}`;
    this.#options = options;
    this.#directory = mkdtempSync(join(tmpdir(), "ironmesh-consul-"));
    const { tls, hasAcl } = options;
    writeFileSync(
      join(this.#directory, "consul.json"),
      JSON.stringify({
        server: true,
        bootstrap_expect: 1,
        node_name: "consul-1",
        data_dir: join(this.#directory, "data"),
        bind_addr: "127.0.0.1",
        client_addr: "127.0.0.1",
        ports: {
          http,
          https: tls === undefined ? -1 : https,
          server,
          serf_lan: serf,
          serf_wan: -1,
          dns: -1,
          grpc: -1,
        },
        performance: { raft_multiplier: 1 },
        disable_update_check: true,
        leave_on_terminate: false,
        ui: false,
        ...(tls === undefined
          ? {}
          : { cert_file: tls.certificate, key_file: tls.key, verify_incoming: false }),
        ...(hasAcl === true
          ? { acl: { enabled: true, default_policy: "deny", enable_token_persistence: true } }
          : {}),
      }),
    );
  }

  /** Resolves once it has a leader. */
  static async start(options: TestConsulOptions = {}): Promise<TestConsul> {
    const consul = new TestConsul(await freePorts(4), options);
    await consul.resume();
    if (options.hasAcl === true) await consul.#bootstrap();
    return consul;
  }

  /** Starts it (again) on the data it has. */
  async resume(): Promise<void> {
    const child = spawn(
      consulExecutable(),
      ["agent", `-config-file=${join(this.#directory, "consul.json")}`],
      { stdio: ["ignore", "pipe", "pipe"] },
    );
    this.#child = child;
    let said = "";
    for (const stream of [child.stdout, child.stderr])
      stream.on("data", (text: Buffer) => {
        said = (said + text.toString()).slice(-4_000);
      });
    const deadline = performance.now() + READY_WITHIN_MS;
    while (!(await this.#hasLeader())) {
      if (child.exitCode !== null || performance.now() > deadline)
        throw new Error(`Consul did not come up: ${said}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** SIGKILL: what it acknowledged must be there after resume(). */
  kill(): Promise<void> {
    return this.#end("SIGKILL");
  }

  /** Holds it still: connections are taken and never answered. */
  pause(): void {
    this.#child?.kill("SIGSTOP");
  }
  unpause(): void {
    this.#child?.kill("SIGCONT");
  }

  async stop(): Promise<void> {
    this.unpause();
    await this.#end("SIGKILL");
    rmSync(this.#directory, { recursive: true, force: true });
  }

  /** Throws away its data: the Consul that comes back has forgotten everything. */
  async wipe(): Promise<void> {
    await this.kill();
    rmSync(join(this.#directory, "data"), { recursive: true, force: true });
    await this.resume();
  }

  /** Its HTTP API as any other client of it would use it. Throws for what is not 2xx. */
  async ask<T>(method: string, path: string, body?: unknown): Promise<T> {
    const json = body === undefined ? undefined : JSON.stringify(body);
    const { status, text } = await exchange(this.url, method, path, json, this.managementToken);
    if (status < 200 || status > 299) throw new Error(`${method} ${path}: ${status} ${text}`);
    return (text === "" ? undefined : JSON.parse(text)) as T;
  }

  /** Sets a key to this text. */
  async putText(key: string, text: string): Promise<void> {
    const { status } = await exchange(this.url, "PUT", `/v1/kv/${key}`, text, this.managementToken);
    if (status !== 200) throw new Error(`PUT ${key}: ${status}`);
  }

  async #hasLeader(): Promise<boolean> {
    try {
      const { text } = await exchange(this.url, "GET", "/v1/status/leader");
      if (!/:\d+/.test(text)) return false;
      if (this.#options.hasAcl === true) return true; // nothing is visible without a token
      const nodes = await exchange(this.url, "GET", "/v1/catalog/nodes");
      return nodes.text.includes("consul-1");
    } catch {
      return false; // not listening yet
    }
  }

  async #bootstrap(): Promise<void> {
    const deadline = performance.now() + READY_WITHIN_MS;
    while (this.managementToken === undefined) {
      const { status, text } = await exchange(this.url, "PUT", "/v1/acl/bootstrap");
      if (status === 200)
        this.managementToken = (JSON.parse(text) as { SecretID: string }).SecretID;
      else if (performance.now() > deadline) throw new Error(`no ACL bootstrap: ${text}`);
      else await new Promise((resolve) => setTimeout(resolve, 50));
    }
    await this.ask("PUT", "/v1/agent/token/agent", { Token: this.managementToken });
  }

  /** A token that may do what these rules say. */
  async tokenFor(name: string, rules: string): Promise<string> {
    await this.ask("PUT", "/v1/acl/policy", { Name: name, Rules: rules });
    const token = { Policies: [{ Name: name }] };
    const made = await this.ask<{ SecretID: string }>("PUT", "/v1/acl/token", token);
    return made.SecretID;
  }

  #end(signal: "SIGKILL"): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null)
      return Promise.resolve();
    return new Promise((resolve) => {
      child.once("exit", () => resolve());
      child.kill(signal);
    });
  }
}

function exchange(
  url: string,
  method: string,
  path: string,
  body?: string,
  token?: string,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const headers = token === undefined ? {} : { "x-consul-token": token };
    const outgoing = httpRequest(
      url + path,
      { method, headers, agent: false, timeout: 5_000 },
      (incoming) => {
        let text = "";
        incoming.on("data", (chunk: Buffer) => {
          text += chunk.toString();
        });
        incoming.on("end", () => resolve({ status: incoming.statusCode ?? 0, text }));
      },
    );
    outgoing.on("timeout", () => outgoing.destroy(new Error("no answer in time")));
    outgoing.on("error", reject);
    outgoing.end(body);
  });
}

/** Ports that nobody listens on now; Consul takes numbers, not sockets. */
async function freePorts(count: number): Promise<readonly number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports: number[] = [];
  for (const server of servers) {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    if (typeof address === "object" && address !== null) ports.push(address.port);
  }
  for (const server of servers) await new Promise((resolve) => server.close(resolve));
  return ports;
}
