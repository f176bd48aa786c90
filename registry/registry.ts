// Wires the config server: store, authority, mesh, hub, HTTP and sessions on one port. Decides nothing.
import { randomBytes } from "node:crypto";
import { chmodSync, mkdirSync } from "node:fs";
import { isIP } from "node:net";
import { join } from "node:path";
import { SERVER_MEMBER } from "../agent/api/gossip.ts";
import { ROOT_NAMESPACE } from "../agent/api/resource.ts";
import type { MeshSettings } from "../agent/api/session.ts";
import { type Clock, SeededRandom, type Timer, type Timers } from "../agent/base/clock.ts";
import type { Log } from "../agent/base/log.ts";
import { GossipSession } from "../agent/control/gossip-session.ts";
import { hasIpv6, hostAddresses } from "../agent/os/host-facts.ts";
import { openSigningKey, signText } from "../agent/pki/signature.ts";
import { AuthorityFiles, writePrivateFile } from "./ca/authority-files.ts";
import { gossipKeys } from "./ca/gossip-keys.ts";
import { Issuer, type ServerCredentials } from "./ca/issuer.ts";
import { hashOfSecret, makeSecret } from "./ca/secrets.ts";
import { EmbeddedCatalog } from "./catalog/embedded.ts";
import { isLive, Live } from "./dashboard/live.ts";
import { dashboardRoutes } from "./dashboard/routes.ts";
import { OperatorSessions } from "./dashboard/sessions.ts";
import { createApp } from "./http/app.ts";
import { graphNow } from "./http/graph.ts";
import { Listener, type TlsCredentials } from "./http/listener.ts";
import { Sessions } from "./http/sessions.ts";
import type { ManifestSigner } from "./push/agent-session.ts";
import { EdgeHistory } from "./push/edge-history.ts";
import { Hub } from "./push/hub.ts";
import { Mesh } from "./push/mesh.ts";
import { NO_FACTS } from "./push/mesh-facts.ts";
import type { ConsulAccess } from "./store/open-consul.ts";
import { SqliteStore } from "./store/sqlite.ts";
import type { Store } from "./store/store.ts";

const DAY_MS = 86_400_000;
/** At most; and a tenth of a short life. */
const RENEWAL_RETRY_MS = 60_000;

/** How often it is looked whether the gossip keys turn. */
const KEYS_LOOK_MS = 60_000;

export interface RegistryConfig {
  readonly stateDir: string;
  readonly listen: { readonly address: string; readonly port: number };
  /** Names or addresses, perhaps with a port, under which hosts reach this server; the first port default is the listener's. */
  readonly advertise: readonly string[];
  readonly trustDomain: string;
  readonly outboundPolicy?: MeshSettings["outboundPolicy"];
  /** Of hosts' and workloads' certificates and the server's own; default a day. */
  readonly certificateLifetimeMs?: number;
  /** Set once after the state was restored from an older copy: agents accept older versions of a newer epoch. */
  readonly isNewEpoch?: boolean;
  /** Where the mesh's state lies; default: SQLite in the state directory. */
  readonly consul?: ConsulAccess;
  /** Undefined: this server is no member of the gossip pool itself; agents are told of each other all the same. */
  readonly gossipPort?: number;
}

export interface RegistryDeps {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Log;
}

export interface Registry {
  /** The first advertised https URL. */
  readonly url: string;
  readonly port: number;
  readonly caSha256: string;
  readonly trustBundle: readonly string[];
  readonly operatorTokenFile: string;
  close(): Promise<void>;
}

export async function startRegistry(config: RegistryConfig, deps: RegistryDeps): Promise<Registry> {
  const { clock, timers, log } = deps;
  mkdirSync(config.stateDir, { recursive: true, mode: 0o700 });
  chmodSync(config.stateDir, 0o700);
  const files = new AuthorityFiles(config.stateDir);
  const { certificateLifetimeMs } = config;
  const issuer = await Issuer.open(config.trustDomain, {
    files,
    nowMs: () => clock.wallMs(),
    ...(certificateLifetimeMs === undefined ? {} : { leafLifetimeMs: certificateLifetimeMs }),
  });
  const store = await openStore(config, deps, issuer);
  try {
    const operatorTokenFile = await firstOperator(config.stateDir, store, clock);
    // For whoever may read the state directory and wants to log in or to compare.
    writePrivateFile(join(config.stateDir, "ca-sha256"), `${issuer.caSha256}\n`);
    const signer = new ServerSigner();
    const edges = new EdgeHistory({ clock, log });
    const hub: Hub = new Hub({
      signer,
      clock,
      timers,
      log,
      heard: (host, report) => edges.hear(host, report, hub.latest?.facts ?? NO_FACTS),
    });
    const settings: MeshSettings = {
      trustDomain: config.trustDomain,
      rootNamespace: ROOT_NAMESPACE,
      outboundPolicy: config.outboundPolicy ?? "allow_any",
    };
    const catalog = new EmbeddedCatalog();
    const mesh = new Mesh({ settings }, { store, catalog, hub, clock, log });
    await mesh.open();
    const keys = keepGossipKeys(issuer, hub, deps);
    const gossip = await joinPool(config.gossipPort, hub, deps);
    let servers: readonly string[] = [];
    const operators = new OperatorSessions({ store, clock });
    const app = createApp({
      ...{ store, mesh, hub, edges, issuer, clock, log },
      version: process.env["IRONMESH_VERSION"] ?? "0.0.0-dev",
      servers: () => servers,
      members: () => gossip?.members ?? [],
    });
    app.route("/", dashboardRoutes({ store, hub, sessions: operators, log }));
    const sessions = new Sessions(config, { hub, mesh, store, timers, log });
    const live = new Live({
      sessions: operators,
      hub,
      graph: (windowSeconds) => graphNow({ hub, edges, clock }, windowSeconds, "service"),
      timers,
      log,
    });
    const names = namesOf(config.advertise);
    const credentials = await issuer.issueServer(names);
    await signer.adopt(credentials);
    const listener = new Listener(
      { credentials: tlsOf(credentials, issuer) },
      {
        fetch: (request, bindings) => app.fetch(request, bindings),
        upgrade: (request, socket, head) =>
          (isLive(request) ? live : sessions).upgrade(request, socket, head),
      },
    );
    const { port } = await listener.listen(config.listen.address, config.listen.port);
    servers = config.advertise.map((name) => urlOf(name, port));
    const renewal = keepRenewed(issuer, names, credentials, deps, async (renewed) => {
      await signer.adopt(renewed);
      listener.rotate(tlsOf(renewed, issuer));
    });
    const unfollow = await followCatalog(config, deps, { store, mesh, hub });
    return {
      url: servers[0] ?? urlOf("127.0.0.1", port),
      port,
      caSha256: issuer.caSha256,
      trustBundle: issuer.trustBundle,
      operatorTokenFile,
      close: async () => {
        renewal.cancel();
        live.close();
        await unfollow();
        keys.cancel();
        await gossip?.stop();
        hub.close();
        await listener.close();
        await store.close();
      },
    };
  } catch (cause) {
    await store.close();
    throw cause;
  }
}

function keepGossipKeys(issuer: Issuer, hub: Hub, { clock, timers }: RegistryDeps): Timer {
  const look = (): Timer => {
    hub.gossip.setKeys(gossipKeys(issuer.gossipSecret, clock.wallMs()));
    return timers.after(KEYS_LOOK_MS, () => {
      timer = look();
    });
  };
  let timer = look();
  return { cancel: () => timer.cancel() };
}

/** The server as a member: `meshctl members` shows what it sees. */
async function joinPool(
  port: number | undefined,
  hub: Hub,
  deps: RegistryDeps,
): Promise<GossipSession | undefined> {
  if (port === undefined) return undefined;
  const random = new SeededRandom(randomBytes(4).readInt32LE());
  const session = await GossipSession.open(
    { name: SERVER_MEMBER, port, hasIpv6: hasIpv6(hostAddresses()), stateDir: undefined },
    { ...deps, random, onHealth: () => undefined },
  );
  hub.gossip.addServer();
  hub.gossip.onMembers = () => {
    const view = hub.gossip.viewFor(SERVER_MEMBER, undefined);
    if (view !== undefined) session.follow(view);
  };
  hub.gossip.onMembers();
  return session;
}

/** Consul's part of the program is loaded only where it is the registry. */
async function openStore(
  config: RegistryConfig,
  deps: RegistryDeps,
  issuer: Issuer,
): Promise<Store> {
  // Seconds since 1970: a state that was lost and begun anew is still of a later epoch.
  const epoch = Math.floor(deps.clock.wallMs() / 1000);
  const replaceEpoch = config.isNewEpoch ?? false;
  const { stateDir, consul } = config;
  if (consul === undefined) return openSqlite(join(stateDir, "store.sqlite"), epoch, replaceEpoch);
  const { openConsulStore } = await import("./store/open-consul.ts");
  return openConsulStore(
    { ...consul, stateDir, epoch, replaceEpoch, sealKey: issuer.storeSealKey },
    deps,
  );
}

/** Where Consul is the registry, its catalog and the mesh's know each other. Returns how to end it. */
async function followCatalog(
  { consul: access }: RegistryConfig,
  { clock, timers, log }: RegistryDeps,
  { store, mesh, hub }: { readonly store: Store; readonly mesh: Mesh; readonly hub: Hub },
): Promise<() => Promise<void>> {
  if (access === undefined) return () => Promise.resolve();
  const { followConsulCatalog } = await import("./catalog/consul.ts");
  const { openConsulClient } = await import("./store/open-consul.ts");
  const { PREFIX_DEFAULT } = await import("./store/consul-state.ts");
  const consul = openConsulClient(access);
  const facts = () => hub.latest?.facts ?? NO_FACTS;
  const unfollow = followConsulCatalog(PREFIX_DEFAULT, {
    consul,
    clock,
    timers,
    random: new SeededRandom(clock.wallMs()),
    log,
    services: () => facts().services.values(),
    endpointsOf: (host) => facts().endpointsOf(host),
    version: () => JSON.stringify(hub.latest?.position),
    connectedHosts: () => hub.connectedHosts,
    known: async () => (await store.state()).discovered,
    discover: async (found) => {
      const done = await mesh.discover(found);
      if (done.ok) return;
      const reasons = done.error.problems.map(({ reason }) => reason);
      log.warn("services found in Consul do not fit the mesh", { code: done.error.code, reasons });
    },
  });
  return async () => {
    await unfollow();
    consul.close();
  };
}

function openSqlite(path: string, epoch: number, replaceEpoch: boolean): Store {
  try {
    return new SqliteStore({ path, epoch, replaceEpoch });
  } catch (cause) {
    if (String(cause).includes("locked")) {
      const message = `${path} is in use: another meshctl server runs on this state directory; stop it, or choose another --state-dir`;
      throw new Error(message, { cause });
    }
    throw cause;
  }
}

/** The first operator's token, written once. The file first: a crash in between makes a new one at the next start. */
async function firstOperator(stateDir: string, store: Store, clock: Clock): Promise<string> {
  const file = join(stateDir, "operator-token");
  const operators = await store.operators();
  if (operators.length > 0) return file;
  const secret = makeSecret();
  writePrivateFile(file, `${secret}\n`);
  const createdAtMs = clock.wallMs();
  await store.putOperator({ name: "admin", secretSha256: hashOfSecret(secret), createdAtMs });
  return file;
}

/** Signs with the certificate that serves, so that what agents check is one identity and one lifetime. */
class ServerSigner implements ManifestSigner {
  #current: { readonly key: CryptoKey; readonly certificates: readonly string[] } | undefined;

  async adopt({ keyPem, certificates }: ServerCredentials): Promise<void> {
    this.#current = { key: await openSigningKey(keyPem), certificates };
  }

  async sign(payload: string) {
    if (this.#current === undefined) throw new Error("no signing key yet");
    const { key, certificates } = this.#current;
    return { payload, signature: await signText(key, payload), certificates };
  }
}

const tlsOf = (credentials: ServerCredentials, issuer: Issuer): TlsCredentials => ({
  keyPem: credentials.keyPem,
  chainPem: [...credentials.certificates, ...issuer.trustBundle],
  trustBundle: issuer.trustBundle,
});

type Names = { readonly dns: readonly string[]; readonly ips: readonly string[] };

function keepRenewed(
  issuer: Issuer,
  names: Names,
  first: ServerCredentials,
  { clock, timers, log }: RegistryDeps,
  adopt: (renewed: ServerCredentials) => Promise<void>,
): Timer {
  const halfLifeOf = ({ issuedAtMs, notAfterMs }: ServerCredentials) =>
    Math.min(DAY_MS, Math.max(1_000, (issuedAtMs + notAfterMs) / 2 - clock.wallMs()));
  const retryMs = Math.min(RENEWAL_RETRY_MS, (first.notAfterMs - first.issuedAtMs) / 10);
  const renew = async (): Promise<void> => {
    try {
      await issuer.renew();
      const renewed = await issuer.issueServer(names);
      await adopt(renewed);
      log.info("server certificate renewed", { until: new Date(renewed.notAfterMs).toISOString() });
      pending = timers.after(halfLifeOf(renewed), () => void renew());
    } catch (cause) {
      log.error("server certificate not renewed: it is tried again", {
        cause: String(cause),
        afterMs: retryMs,
      });
      pending = timers.after(retryMs, () => void renew());
    }
  };
  let pending = timers.after(halfLifeOf(first), () => void renew());
  return { cancel: () => pending.cancel() };
}

/** HOST, HOST:PORT, ADDRESS, ADDRESS:PORT, [ADDRESS6]:PORT or a bare IPv6 address; https:// may stand before it. */
export function splitAdvertised(advertised: string): { host: string; port: number | undefined } {
  const text = advertised.replace(/^https:\/\//, "").replace(/\/$/, "");
  if (isIP(text) === 6) return { host: text, port: undefined };
  const [, host6, host, port] = /^(?:\[([^\]]+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(text) ?? [];
  const name = host6 ?? host;
  if (name === undefined)
    throw new Error(`--advertise ${advertised}: write a name or an address, perhaps with :PORT`);
  return { host: name, port: port === undefined ? undefined : Number(port) };
}

function urlOf(advertised: string, listenPort: number): string {
  const { host, port = listenPort } = splitAdvertised(advertised);
  return `https://${isIP(host) === 6 ? `[${host}]` : host}:${port}`;
}

/** Loopback names are always in: the operator's CLI on the server itself. */
function namesOf(advertise: readonly string[]): Names {
  const hosts = new Set(["localhost", "127.0.0.1", "::1"]);
  for (const text of advertise) hosts.add(splitAdvertised(text).host);
  const all = [...hosts];
  return { dns: all.filter((h) => isIP(h) === 0), ips: all.filter((h) => isIP(h) !== 0) };
}
