// Wires an agent: data threads for traffic, this thread for control, redirect and admin. It decides nothing.
// Order of a start: keys and the last good snapshot from disk -> threads serve -> redirect -> only then the server. With every
// server gone the first three still happen.
import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { AgentStatus } from "./api/admin.ts";
import { MESH_PORT } from "./api/mesh-wire.ts";
import { SUPPORTED_KINDS } from "./api/resource.ts";
import { hostIdentity } from "./api/spiffe.ts";
import { SeededRandom } from "./base/clock.ts";
import { LineLog, type Log, type LogLevel } from "./base/log.ts";
import { SharedSlots } from "./base/slots.ts";
import { PkiCertificateMaker } from "./control/certificate-maker.ts";
import { ConfigPlane, loadCompiler } from "./control/config-plane.ts";
import {
  DataThreads,
  type FromThread,
  type ThreadConfig,
  type ToThread,
} from "./control/data-threads.ts";
import { openTrust, readHostState, writeTrust } from "./control/host-state.ts";
import { IdentityKeeper } from "./control/identity.ts";
import { DiskIdentityFiles, type HeldIdentity } from "./control/identity-files.ts";
import { RedirectKeeper } from "./control/redirect-keeper.ts";
import { HttpsServerClient } from "./control/server-client.ts";
import { ServerSession } from "./control/server-session.ts";
import { serverTls } from "./control/server-tls.ts";
import { DiskSnapshotStore } from "./control/snapshot-store.ts";
import { WebSocketTransport } from "./control/websocket-transport.ts";
import type { AccessLogMode } from "./observe/access-log.ts";
import { answerAdmin, answerMetrics } from "./observe/admin.ts";
import { renderPrometheus } from "./observe/prometheus.ts";
import { systemClock, systemTimers } from "./os/clock.ts";
import { gidOf, hasIpv6, hostAddresses, readResolvers, uidOf } from "./os/host-facts.ts";
import { serveTcp, serveUnix } from "./os/local-http.ts";
import { collectGarbage, dropCleanPages } from "./os/memory.ts";
import { DnsLease } from "./os/redirect/lease.ts";
import { hostRunner } from "./os/redirect/runner.ts";
import { startThread } from "./os/thread.ts";
import type { Snapshot } from "./policy/snapshot.ts";

export interface AgentOptions {
  readonly stateDir: string;
  readonly adminSocket: string;
  /** Group that may use the admin socket; undefined: the agent's own. */
  readonly adminGroup: string | undefined;
  readonly metricsAddress: string;
  readonly metricsPort: number;
  /** 0: one for each core. */
  readonly workers: number;
  readonly redirect: "auto" | "iptables" | "nft" | "none";
  readonly mode: "declared" | "all";
  readonly dns: boolean;
  readonly accessLog: AccessLogMode;
  readonly logLevel: LogLevel;
  /** Downstream connections of all threads together. */
  readonly connectionsMax: number;
  readonly excludeUids: readonly number[];
  readonly excludeCidrs: readonly string[];
  readonly excludePorts: readonly number[];
}

export const AGENT_VERSION = process.env["IRONMESH_VERSION"] ?? "0.0.0-dev";
const HOST_LISTENER_PORT = 15001;
const INBOUND_PORT = 15006;
const DNS_PORT = 15053;
/** Shared cells: the first are the agent's own, the rest the compiler hands out. 4 MiB, touched only as used. */
const SLOTS = 1 << 20;
const SLOT_FIRST = 64;
/** How long keys of a new workload may hold back the version that needs them. */
const KEYS_WAIT_MS = 3_000;
const THREADS_WAIT_MS = 5_000;
const MEMORY_TIDY_AFTER_MS = 5_000;

export interface RunningAgent {
  stop(): Promise<void>;
}

export async function startAgent(options: AgentOptions): Promise<RunningAgent> {
  const clock = systemClock();
  const timers = systemTimers();
  const log = new LineLog(options.logLevel, {
    write: (line) => process.stderr.write(line),
    wallMs: () => clock.wallMs(),
  });
  const state = await readHostState(options.stateDir);
  if (state === undefined) {
    throw new Error(
      `this host has not joined a mesh (no host.json in ${options.stateDir}): run \`meshctl join TOKEN --state-dir ${options.stateDir}\` first`,
    );
  }
  const trust = await openTrust(options.stateDir);
  const addresses = hostAddresses();
  const isIpv6 = hasIpv6(addresses);
  const resolvers = options.dns && options.redirect !== "none" ? readResolvers() : [];
  const slotMemory = new SharedArrayBuffer(SLOTS * 4);
  const slots = new SharedSlots(slotMemory);
  const random = new SeededRandom(crypto.getRandomValues(new Int32Array(1))[0] as number);
  const startedMs = clock.nowMs();

  let serving: { epoch: number; version: number } | undefined;
  let onServing: (() => void) | undefined;
  const threads = new DataThreads({
    log,
    spawn: (events) => startThread<FromThread, ToThread>(events),
    writeAccess: (lines) => process.stdout.write(lines),
    onServing: (epoch, version) => {
      serving = { epoch, version };
      onServing?.();
    },
  });
  const workers = options.workers > 0 ? options.workers : availableParallelism();
  threads.start(
    Array.from(
      { length: workers },
      (_, index): ThreadConfig => ({
        index,
        seed: random.int32(),
        slots: slotMemory,
        connectionsMax: options.connectionsMax,
        accessLog: options.accessLog,
        hostListenerPort: HOST_LISTENER_PORT,
        inboundPort: INBOUND_PORT,
        meshPort: MESH_PORT,
        hasIpv6: isIpv6,
        dns: index === 0 && resolvers.length > 0 ? { resolvers, port: DNS_PORT } : undefined,
      }),
    ),
  );

  let held: readonly HeldIdentity[] = [];
  const self = hostIdentity(state.trustDomain, state.host);
  const ownTls = () =>
    serverTls(
      trust,
      held.find((one) => one.identity === self),
    );
  const identities = new IdentityKeeper(
    { host: state.host },
    {
      files: new DiskIdentityFiles({ stateDir: options.stateDir }, { log }),
      client: new HttpsServerClient({ servers: state.servers }, { tls: ownTls }),
      maker: new PkiCertificateMaker({ trustDomain: state.trustDomain }, clock),
      trust,
      onTrust: async () => {
        threads.setKeys({ identities: keysOf(held, self), trustBundle: trust.roots });
        await writeTrust(options.stateDir, trust);
      },
      clock,
      timers,
      random,
      log,
      onIdentities: (now) => {
        held = now;
        threads.setKeys({ identities: keysOf(now, self), trustBundle: trust.roots });
      },
    },
  );
  await identities.boot();

  const redirect = new RedirectKeeper(
    {
      backend: options.redirect === "none" ? "auto" : options.redirect,
      mode: options.mode,
      agentUid: process.getuid?.() ?? 0,
      hostListenerPort: HOST_LISTENER_PORT,
      inboundPort: INBOUND_PORT,
      meshPort: MESH_PORT,
      dnsPort: DNS_PORT,
      resolvers,
      hasIpv6: isIpv6,
      exclusions: {
        uids: options.excludeUids,
        cidrs: options.excludeCidrs,
        ports: options.excludePorts,
      },
      sshPorts: [22],
    },
    { runner: hostRunner(), uidOf },
  );
  let lease: DnsLease | undefined;
  let snapshotFrom: AgentStatus["snapshotFrom"];

  const plane = new ConfigPlane(
    { host: state.host, slotFirst: SLOT_FIRST, slotCapacity: SLOTS },
    {
      store: new DiskSnapshotStore(
        { stateDir: options.stateDir, agentVersion: AGENT_VERSION },
        { log },
      ),
      compile: loadCompiler,
      hostAddresses,
      clearSlots: (cleared) => {
        for (const slot of cleared) slots.write(slot, 0);
      },
      onSnapshot: async (snapshot) => {
        await within(
          identities.follow(snapshot.workloads.map((one) => one.identity)),
          KEYS_WAIT_MS,
        );
        await serve(snapshot);
      },
      log,
    },
  );

  /** Threads first, rules after: no rule ever points to a listener that is not open. */
  async function serve(snapshot: Snapshot): Promise<void> {
    const isServed = new Promise<void>((resolve) => {
      onServing = () => {
        if (serving?.version === snapshot.version && serving.epoch === snapshot.epoch) resolve();
      };
    });
    threads.setSnapshot(snapshot);
    await within(isServed, THREADS_WAIT_MS);
    if (options.redirect === "none") return;
    const applied = await redirect.follow(snapshot);
    if (!applied.ok) log.error("the redirect is not as it should be", { reason: applied.error });
    else if (lease === undefined && resolvers.length > 0 && redirect.plan !== undefined) {
      lease = new DnsLease(
        { backend: redirect.plan.backend, resolvers },
        { runner: hostRunner(), timers, log },
      );
      lease.start();
    }
  }

  if (await plane.bootCompiled()) snapshotFrom = "disk";
  identities.start();

  const session = new ServerSession(
    {
      host: state.host,
      agentVersion: AGENT_VERSION,
      runs: SUPPORTED_KINDS,
      servers: state.servers,
    },
    {
      transport: new WebSocketTransport({ tls: ownTls }),
      plane,
      verify: async (signed) => {
        const { verifyManifest } = await import("./control/manifest.ts"); // ASN.1, not at the start
        return verifyManifest(signed, state.host, trust, clock.wallMs());
      },
      clock,
      timers,
      random,
      log,
    },
  );
  const source = {
    status: (): AgentStatus => ({
      agentVersion: AGENT_VERSION,
      host: state.host,
      pid: process.pid,
      uptimeSeconds: Math.round((clock.nowMs() - startedMs) / 1_000),
      epoch: serving?.epoch,
      version: serving?.version,
      snapshotFrom:
        session.status.state === "open" && serving !== undefined ? "server" : snapshotFrom,
      server: {
        url: session.status.server ?? state.servers[0] ?? "",
        isConnected: session.status.state === "open",
        lastError: session.status.lastError,
      },
      workers: threads.count,
      openConnections: slots.read(0),
      redirect: {
        backend: options.redirect === "none" ? "none" : redirect.backend,
        mode: options.mode,
        isApplied: redirect.isApplied,
        problem: redirect.problem,
      },
      problems: session.status.lastNack ?? [],
    }),
    snapshot: () => plane.snapshot,
    certificates: () =>
      held.map((one) => ({
        identity: one.identity,
        notBeforeMs: one.issuedAtMs,
        notAfterMs: one.notAfterMs,
        serial: "",
      })),
    metrics: () => renderPrometheus(threads.series),
    isReady: () => serving !== undefined && (options.redirect === "none" || redirect.isApplied),
    setAccessLog: (mode: AccessLogMode) => threads.setAccessLog(mode),
  };
  const group = options.adminGroup === undefined ? undefined : gidOf(options.adminGroup);
  const admin = await serveUnix(options.adminSocket, group, (method, target) =>
    answerAdmin(source, method, target),
  );
  const metrics = await serveTcp(options.metricsAddress, options.metricsPort, (method, target) =>
    answerMetrics(source, method, target),
  );
  let isStopped = false;
  // The sources first: what the hello names as known is not sent again.
  plane
    .bootSources()
    .catch((cause: Error) =>
      log.error("the stored version cannot be read", { reason: cause.message }),
    )
    .finally(() => {
      if (!isStopped) session.start();
    });
  const tidy = setTimeout(tidyMemory, MEMORY_TIDY_AFTER_MS, log);
  log.info("agent started", {
    host: state.host,
    version: AGENT_VERSION,
    workers,
    state: join(options.stateDir),
  });

  return {
    async stop() {
      isStopped = true;
      clearTimeout(tidy);
      lease?.stop();
      session.stop();
      identities.stop();
      threads.drain();
      admin.close();
      metrics.close();
      await plane.settled();
      threads.stop();
    },
  };
}

/** The host's own first: it is what a client without SNI is shown before it is refused. */
function keysOf(held: readonly HeldIdentity[], self: string): readonly HeldIdentity[] {
  return [...held].sort((a, b) => Number(b.identity === self) - Number(a.identity === self));
}

function within(promise: Promise<unknown>, ms: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    promise.then(
      () => {
        clearTimeout(timer);
        resolve();
      },
      (cause) => {
        clearTimeout(timer);
        reject(cause);
      },
    );
  });
}

function tidyMemory(log: Log): void {
  collectGarbage();
  log.debug("gave back clean pages", { kib: dropCleanPages() });
}
