// The agent's control side against the real config server, both over real sockets on loopback: join, session, renewal.
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { request } from "node:https";
import type { AddressInfo } from "node:net";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer as createTlsServer } from "node:tls";
import { parseJoinToken, writeJoinToken } from "../../agent/api/join-token.ts";
import type { JoinToken } from "../../agent/api/session.ts";
import { hostIdentity, serverIdentity, spiffeIdOf } from "../../agent/api/spiffe.ts";
import { SeededRandom } from "../../agent/base/clock.ts";
import { SILENT_LOG } from "../../agent/base/log.ts";
import { type Control, startControl } from "../../agent/control/control.ts";
import { readHostState } from "../../agent/control/host-state.ts";
import { DiskIdentityFiles } from "../../agent/control/identity-files.ts";
import { joinHost } from "../../agent/control/join.ts";
import { serverTls } from "../../agent/control/server-tls.ts";
import { WebSocketTransport } from "../../agent/control/websocket-transport.ts";
import { systemClock, systemTimers } from "../../agent/os/clock.ts";
import {
  createCsr,
  createIntermediate,
  createRoot,
  issueCertificate,
  readCsr,
} from "../../agent/pki/x509.ts";
import type { Snapshot } from "../../agent/policy/snapshot.ts";
import { type Registry, startRegistry } from "../../registry/registry.ts";

const TRUST_DOMAIN = "mesh.test";
const clock = systemClock();
const timers = systemTimers();
const deps = { wallMs: () => clock.wallMs(), log: SILENT_LOG };
const root = mkdtempSync(join(tmpdir(), "ironmesh-control-"));
let registry: Registry;
let operator: string;

beforeAll(async () => {
  registry = await startRegistry(
    {
      stateDir: join(root, "server"),
      listen: { address: "127.0.0.1", port: 0 },
      advertise: ["127.0.0.1"],
      trustDomain: TRUST_DOMAIN,
    },
    { clock, timers, log: SILENT_LOG },
  );
  operator = readFileSync(registry.operatorTokenFile, "utf8").trim();
});
afterAll(async () => {
  await registry.close();
  rmSync(root, { recursive: true });
});

function ask(path: string, body: unknown): Promise<{ status: number; body: { token: string } }> {
  return new Promise((resolve, reject) => {
    const sent = request(
      registry.url + path,
      {
        method: "POST",
        agent: false,
        ca: [...registry.trustBundle],
        headers: { authorization: `Bearer ${operator}`, "content-type": "application/json" },
      },
      (answer) => {
        let text = "";
        answer.on("data", (part) => {
          text += String(part);
        });
        answer.on("end", () => resolve({ status: answer.statusCode ?? 0, body: JSON.parse(text) }));
      },
    );
    sent.on("error", reject);
    sent.end(JSON.stringify(body));
  });
}

async function tokenFor(host: string, serviceAccounts: readonly string[]): Promise<JoinToken> {
  const made = await ask("/v1/tokens", {
    host,
    serviceAccounts,
    ttlSeconds: 600,
    address: "10.0.0.7",
  });
  const parsed = parseJoinToken(made.body.token);
  if (!parsed.ok) throw new Error(parsed.error);
  return parsed.value;
}

const stateOf = (name: string): string => join(root, "hosts", name);
const modeOf = (path: string): number => statSync(path).mode & 0o777;

async function joined(host: string, serviceAccounts: readonly string[]): Promise<string> {
  const stateDir = stateOf(host);
  const result = await joinHost(
    writeJoinToken(await tokenFor(host, serviceAccounts)),
    stateDir,
    deps,
  );
  if (!result.ok) throw new Error(result.error.message);
  return stateDir;
}

/** The control side as agent.ts starts it, without data threads. */
class TestAgent {
  held: readonly string[] = [];
  readonly snapshots: Snapshot[] = [];
  readonly #changed = new Set<() => void>();
  #control: Control | undefined;

  static async start(stateDir: string): Promise<TestAgent> {
    const agent = new TestAgent();
    agent.#control = await startControl(
      { stateDir, agentVersion: "test", slotFirst: 64, slotCapacity: 4_096 },
      {
        clock,
        timers,
        random: new SeededRandom(1),
        log: SILENT_LOG,
        hostAddresses: () => ["10.0.0.7"],
        clearSlots() {},
        series: () => [],
        onKeys: ({ identities }) => {
          agent.held = identities.map(({ identity }) => identity);
          agent.#tell();
        },
        onSnapshot: (snapshot) => {
          agent.snapshots.push(snapshot);
          agent.#tell();
        },
      },
    );
    return agent;
  }

  get control(): Control {
    if (this.#control === undefined) throw new Error("not started");
    return this.#control;
  }

  async until(claim: (agent: TestAgent) => boolean): Promise<void> {
    while (!claim(this)) await new Promise<void>((wake) => this.#changed.add(wake));
  }

  #tell(): void {
    for (const wake of this.#changed) wake();
    this.#changed.clear();
  }
}

const workload = (name: string, host: string) => ({
  apiVersion: "ironmesh.dev/v1",
  kind: "Workload",
  metadata: { name, namespace: "default", labels: { app: name } },
  spec: {
    hosts: [host],
    serviceAccount: name,
    process: { user: name },
    services: [{ name, ports: [{ port: 80, protocol: "HTTP" }] }],
  },
});
const reviews = spiffeIdOf({
  trustDomain: TRUST_DOMAIN,
  namespace: "default",
  serviceAccount: "reviews",
});

test("a host joins with its token, and what it keeps is for its owner alone", async () => {
  const stateDir = await joined("vm-a", ["default/reviews"]);
  for (const file of ["host.json", "trust.json", "identities/ironmesh-system@host.vm-a.json"]) {
    expect(modeOf(join(stateDir, file))).toBe(0o600);
  }
  expect(await readHostState(stateDir)).toMatchObject({ host: "vm-a", trustDomain: TRUST_DOMAIN });
});

test("an agent follows an apply, gets its workload's certificate, and starts again from disk without the server", async () => {
  const stateDir = await joined("vm-b", ["default/reviews"]);
  const agent = await TestAgent.start(stateDir);
  await agent.until(({ snapshots }) => snapshots.length > 0);
  await ask("/v1/apply", { documents: [workload("reviews", "vm-b")] });
  await agent.until(({ snapshots }) => snapshots.at(-1)?.workloads.length === 1);
  await agent.until(({ held }) => held.includes(reviews));
  const last = agent.snapshots.at(-1);
  expect(agent.control.session.status.state).toBe("open");
  await agent.control.stop();

  const again = await TestAgent.start(stateDir);
  expect(again.snapshots).toEqual(last === undefined ? [] : [last]);
  expect(again.held).toEqual([hostIdentity(TRUST_DOMAIN, "vm-b"), reviews]);
  await again.control.stop();
});

test("a host that joins again keeps its name and gives up the workload keys it held", async () => {
  const stateDir = await joined("vm-j", ["default/reviews"]);
  const file = join(stateDir, "identities/ironmesh-system@host.vm-j.json");
  const held = JSON.parse(readFileSync(file, "utf8"));
  const stale = new DiskIdentityFiles({ stateDir }, deps);
  await stale.write({ ...held, identity: reviews });
  await joined("vm-j", []);
  expect((await stale.load()).map(({ identity }) => identity)).toEqual([held.identity]);
  expect(JSON.parse(readFileSync(file, "utf8")).keyPem).not.toBe(held.keyPem);
});

test("a token used twice is refused by name, and says what to do", async () => {
  const token = writeJoinToken(await tokenFor("vm-c", []));
  expect((await joinHost(token, stateOf("vm-c"), deps)).ok).toBe(true);
  const twice = await joinHost(token, stateOf("vm-c"), deps);
  if (twice.ok) throw new Error("joined twice");
  expect(twice.error.code).toBe("refused");
  expect(twice.error.message).toContain("token_used");
  expect(twice.error.next).toContain("meshctl token create");
});

test("a token with another CA's hash is refused before anything is sent", async () => {
  const token = { ...(await tokenFor("vm-d", [])), caSha256: "0".repeat(64) };
  const refused = await joinHost(writeJoinToken(token), stateOf("vm-d"), deps);
  expect(refused).toMatchObject({ ok: false, error: { code: "wrong_ca" } });
  // So it is still good for who has the right hash.
  const good = writeJoinToken({ ...token, caSha256: registry.caSha256 });
  expect((await joinHost(good, stateOf("vm-d"), deps)).ok).toBe(true);
});

test("an expired token, a damaged token and a token of another host are refused without a connection", async () => {
  const token = await tokenFor("vm-e", []);
  const nowhere = { ...token, servers: ["https://127.0.0.1:1"] };
  const expired = writeJoinToken({ ...nowhere, expiresAtMs: clock.wallMs() - 1 });
  expect(await joinHost(expired, stateOf("vm-e"), deps)).toMatchObject({
    error: { code: "token_expired" },
  });
  expect(await joinHost("im1.x", stateOf("vm-e"), deps)).toMatchObject({
    error: { code: "bad_token" },
  });
  const stateDir = await joined("vm-f", []);
  const other = await joinHost(writeJoinToken(nowhere), stateDir, deps);
  expect(other).toMatchObject({ error: { code: "joined_as_another" } });
});

test("a server that is away, or speaks no TLS, is named with the reason", async () => {
  const server: Server = createServer((socket) => socket.end("220 mail\r\n"));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const servers = ["https://127.0.0.1:1", `https://127.0.0.1:${port}`];
  const token = writeJoinToken({ ...(await tokenFor("vm-g", [])), servers });
  const refused = await joinHost(token, stateOf("vm-g"), deps);
  server.close();
  if (refused.ok) throw new Error("joined nobody");
  expect(refused.error.code).toBe("unreachable");
  for (const url of servers) expect(refused.error.message).toContain(url);
});

/** Shows certificates of its own and counts what it is told. */
async function impostor(chain: readonly string[], keyPem: string) {
  let bytes = 0;
  const server = createTlsServer(
    { key: keyPem, cert: chain.join(""), minVersion: "TLSv1.3" },
    (socket) => {
      socket.on("data", (part) => {
        bytes += part.length;
      });
      socket.on("error", () => socket.destroy());
    },
  );
  server.on("tlsClientError", () => undefined);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
  const { port } = server.address() as AddressInfo;
  return { url: `https://127.0.0.1:${port}`, told: () => bytes, close: () => server.close() };
}

async function leafOf(identity: string) {
  const common = { trustDomain: TRUST_DOMAIN, nowMs: clock.wallMs(), lifetimeMs: 3_600_000 };
  const ca = await createRoot(common);
  const intermediate = await createIntermediate(ca, common);
  const { csrPem, keyPem } = await createCsr(identity);
  const csr = await readCsr(csrPem);
  if (!csr.ok) throw new Error(csr.error);
  const leaf = await issueCertificate(intermediate, {
    ...csr.value,
    ...common,
    ips: ["127.0.0.1"],
  });
  return { chain: [leaf, intermediate.certificatePem, ca.certificatePem], keyPem, ca };
}

test("who shows the pinned root without having been signed by it never sees the secret", async () => {
  const theirs = await leafOf(serverIdentity(TRUST_DOMAIN));
  const [leaf = "", intermediate = ""] = theirs.chain;
  const server = await impostor([leaf, intermediate, ...registry.trustBundle], theirs.keyPem);
  const token = writeJoinToken({ ...(await tokenFor("vm-h", [])), servers: [server.url] });
  const refused = await joinHost(token, stateOf("vm-h"), deps);
  expect(refused.ok).toBe(false);
  expect(server.told()).toBe(0);
  server.close();
});

test("a workload of the mesh cannot pose as its config server: neither join nor session sends it a byte", async () => {
  const { sha256OfCertificate } = await import("../../agent/pki/pem.ts");
  const theirs = await leafOf(reviews);
  const server = await impostor(theirs.chain, theirs.keyPem);
  const caSha256 = sha256OfCertificate(theirs.ca.certificatePem) ?? "";
  const token = writeJoinToken({
    ...(await tokenFor("vm-i", [])),
    servers: [server.url],
    caSha256,
  });
  expect((await joinHost(token, stateOf("vm-i"), deps)).ok).toBe(false);
  const trust = { trustDomain: TRUST_DOMAIN, roots: [theirs.ca.certificatePem] };
  const reason = await new Promise<string>((resolve) => {
    new WebSocketTransport({ tls: () => serverTls(trust, undefined) }).connect(server.url, {
      onOpen: () => resolve("opened"),
      onText() {},
      onPong() {},
      onClose: resolve,
    });
  });
  expect(reason).toContain("is not the config server");
  expect(server.told()).toBe(0);
  server.close();
});
