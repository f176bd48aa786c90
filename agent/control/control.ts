// The control side of one agent, put together: what it knows from disk serves first, then it talks to the config server.
// agent.ts gives it the kernel's things and the data threads' ears; it decides nothing about traffic.
import type { DecisionAnswer } from "../api/decisions.ts";
import type { GossipView } from "../api/gossip.ts";
import { SUPPORTED_KINDS } from "../api/resource.ts";
import type { Clock, Random, Timers } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import type { Result } from "../base/result.ts";
import type { TableView } from "../observe/prometheus.ts";
import type { TrustBundle } from "../pki/trust-bundle.ts";
import type { Snapshot } from "../policy/snapshot.ts";
import { PkiCertificateMaker } from "./certificate-maker.ts";
import { ConfigPlane, loadCompiler } from "./config-plane.ts";
import { EdgeReporter } from "./edge-reporter.ts";
import { type HostState, openTrust, readHostState, writeTrust } from "./host-state.ts";
import { IdentityKeeper } from "./identity.ts";
import { DiskIdentityFiles } from "./identity-files.ts";
import { HttpsServerClient } from "./server-client.ts";
import { ServerSession } from "./server-session.ts";
import { type ServerTlsOptions, serverTls } from "./server-tls.ts";
import { DiskSnapshotStore } from "./snapshot-store.ts";
import type { ThreadKeys } from "./thread-messages.ts";
import { WebSocketTransport } from "./websocket-transport.ts";

export interface ControlConfig {
  readonly stateDir: string;
  readonly agentVersion: string;
  /** Shared slots for clusters and endpoints: [first, capacity). */
  readonly slotFirst: number;
  readonly slotCapacity: number;
}

export interface ControlDeps {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly log: Log;
  hostAddresses(): readonly string[];
  /** Zeroes slots that change hands. */
  clearSlots(slots: readonly number[]): void;
  /** What the data threads count. */
  series(): readonly TableView[];
  /** Resolves when all data threads serve it; the server's ack waits for that. Never rejects. */
  onSnapshot(snapshot: Snapshot): Promise<void> | void;
  /** The gossip pool as the server tells it; undefined: this agent takes no part. */
  readonly onGossip?: ((view: GossipView) => void) | undefined;
  /** Of what this host refused, for its server; undefined: it cannot be asked. */
  readonly explain?: ((id: string) => Promise<Result<DecisionAnswer, string>>) | undefined;
  /** All keys to be used from now on; the host's own identity first. */
  onKeys(keys: ThreadKeys): void;
}

export interface Control {
  readonly host: HostState;
  readonly identities: IdentityKeeper;
  readonly plane: ConfigPlane;
  readonly session: ServerSession;
  readonly trust: TrustBundle;
  /** Resolves when what it was writing is on disk. */
  stop(): Promise<void>;
  /** After a stop(): a successor that was to go on did not. */
  resume(): void;
}

/** Throws when this host has not joined or its state is damaged; the message says what to do. Resolves when the last good
 *  version, if any, was handed out: the talk with the server begins after. */
export async function startControl(config: ControlConfig, deps: ControlDeps): Promise<Control> {
  const host = await openHost(config.stateDir);
  const trust = await openTrust(config.stateDir);
  const identities: IdentityKeeper = makeIdentities(config, deps, host, trust);
  const tls = (): ServerTlsOptions => serverTls(trust, identities.own);
  const plane = makePlane(config, deps, host, identities);
  const session = new ServerSession(
    {
      host: host.host,
      agentVersion: config.agentVersion,
      runs: SUPPORTED_KINDS,
      servers: host.servers,
    },
    {
      ...deps,
      transport: new WebSocketTransport({ tls }),
      plane,
      verify: async (signed) => {
        const { verifyManifest } = await import("./manifest.ts"); // ASN.1: not at the start
        return verifyManifest(signed, host.host, trust, deps.clock.wallMs());
      },
    },
  );
  const reporter = new EdgeReporter({ ...deps, report: (report) => session.report(report) });
  await identities.boot();
  identities.start();
  reporter.start();
  await plane.bootCompiled();
  let isStopped = false;
  // The sources first: what the hello names as known is not sent again.
  plane
    .bootSources()
    .catch((cause: unknown) =>
      deps.log.error("the stored version cannot be used", { cause: String(cause) }),
    )
    .finally(() => {
      if (!isStopped) session.start();
    });
  return {
    host,
    identities,
    plane,
    session,
    trust,
    stop: async () => {
      isStopped = true;
      reporter.stop();
      session.stop();
      identities.stop();
      await plane.settled();
    },
    resume: () => {
      isStopped = false;
      identities.start();
      session.start();
    },
  };
}

function makeIdentities(
  { stateDir }: ControlConfig,
  deps: ControlDeps,
  host: HostState,
  trust: TrustBundle,
): IdentityKeeper {
  const tellKeys = (): void =>
    deps.onKeys({ identities: keeper.identities, trustBundle: trust.roots });
  const tls = (): ServerTlsOptions => serverTls(trust, keeper.own);
  const keeper: IdentityKeeper = new IdentityKeeper(
    { host: host.host },
    {
      ...deps,
      files: new DiskIdentityFiles({ stateDir }, deps),
      client: new HttpsServerClient({ servers: host.servers }, { tls }),
      maker: new PkiCertificateMaker({ trustDomain: host.trustDomain }, deps.clock),
      trust,
      onIdentities: tellKeys,
      onTrust: async () => {
        tellKeys();
        await writeTrust(stateDir, trust);
      },
    },
  );
  return keeper;
}

function makePlane(
  config: ControlConfig,
  deps: ControlDeps,
  host: HostState,
  identities: IdentityKeeper,
): ConfigPlane {
  const { stateDir, agentVersion, slotFirst, slotCapacity } = config;
  return new ConfigPlane(
    { host: host.host, slotFirst, slotCapacity },
    {
      ...deps,
      store: new DiskSnapshotStore({ stateDir, agentVersion }, deps),
      compile: loadCompiler,
      onSnapshot: (snapshot) => {
        // Whoever serves the snapshot waits for its keys, by onKeys.
        void identities.follow(snapshot.workloads.map(({ identity }) => identity));
        return deps.onSnapshot(snapshot);
      },
    },
  );
}

async function openHost(stateDir: string): Promise<HostState> {
  const host = await readHostState(stateDir);
  if (host !== undefined) return host;
  throw new Error(
    `this host has not joined a mesh (no host.json in ${stateDir}): run \`meshctl join TOKEN --state-dir ${stateDir}\` first; an operator makes the token with \`meshctl token create --host HOST\``,
  );
}
