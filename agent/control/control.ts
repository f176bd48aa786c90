// The control side of one agent, put together: what it knows from disk serves first, then it talks to the config server.
// agent.ts gives it the kernel's things and the data threads' ears; it decides nothing about traffic.
import { SUPPORTED_KINDS } from "../api/resource.ts";
import type { Clock, Random, Timers } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import { TrustBundle } from "../pki/trust-bundle.ts";
import type { Snapshot } from "../policy/snapshot.ts";
import { PkiCertificateMaker } from "./certificate-maker.ts";
import { ConfigPlane, loadCompiler } from "./config-plane.ts";
import type { ThreadKeys } from "./data-threads.ts";
import { type HostState, readHostState, readTrust, writeTrust } from "./host-state.ts";
import { IdentityKeeper } from "./identity.ts";
import { DiskIdentityFiles } from "./identity-files.ts";
import { HttpsServerClient } from "./server-client.ts";
import { ServerSession } from "./server-session.ts";
import { serverTls } from "./server-tls.ts";
import { DiskSnapshotStore } from "./snapshot-store.ts";
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
  /** Resolves when all data threads serve it; the server's ack waits for that. Never rejects. */
  onSnapshot(snapshot: Snapshot): Promise<void> | void;
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
}

/** Throws when this host has not joined or its state is damaged; the message says what to do. Resolves when the last good
 *  version, if any, was handed out: the talk with the server begins after. */
export async function startControl(config: ControlConfig, deps: ControlDeps): Promise<Control> {
  const { stateDir, agentVersion } = config;
  const { clock, timers, random, log } = deps;
  const [host, trust] = await Promise.all([openHost(stateDir), openTrust(stateDir)]);
  const maker = new PkiCertificateMaker({ trustDomain: host.trustDomain }, clock);
  const tellKeys = (): void =>
    deps.onKeys({ identities: identities.identities, trustBundle: trust.roots });
  const tls = () => serverTls(trust, identities.own);
  const identities: IdentityKeeper = new IdentityKeeper(
    { host: host.host },
    {
      files: new DiskIdentityFiles({ stateDir }, { log }),
      client: new HttpsServerClient({ servers: host.servers }, { tls }),
      maker,
      trust,
      clock,
      timers,
      random,
      log,
      onIdentities: tellKeys,
      onTrust: async () => {
        await writeTrust(stateDir, trust);
        tellKeys();
      },
    },
  );
  const plane = new ConfigPlane(
    { host: host.host, slotFirst: config.slotFirst, slotCapacity: config.slotCapacity },
    {
      store: new DiskSnapshotStore({ stateDir, agentVersion }, { log }),
      compile: loadCompiler,
      hostAddresses: deps.hostAddresses,
      clearSlots: deps.clearSlots,
      onSnapshot: (snapshot) => {
        identities
          .follow(snapshot.workloads.map(({ identity }) => identity))
          .catch((cause: unknown) =>
            log.error("identities that left could not be removed from disk", {
              cause: String(cause),
            }),
          );
        return deps.onSnapshot(snapshot);
      },
      log,
    },
  );
  const session = new ServerSession(
    { host: host.host, agentVersion, runs: SUPPORTED_KINDS, servers: host.servers },
    {
      transport: new WebSocketTransport({ tls }),
      plane,
      verify: async (signed) => {
        const { verifyManifest } = await import("./manifest.ts");
        return verifyManifest(signed, host.host, trust, clock.wallMs());
      },
      clock,
      timers,
      random,
      log,
    },
  );
  await identities.boot();
  await plane.bootCompiled();
  identities.start();
  let isStopped = false;
  plane
    .bootSources()
    .catch((cause: unknown) =>
      log.error("the stored version cannot be used", { cause: String(cause) }),
    )
    .then(() => {
      if (!isStopped) session.start();
    }, undefined);
  return {
    host,
    identities,
    plane,
    session,
    trust,
    stop: async () => {
      isStopped = true;
      session.stop();
      identities.stop();
      await plane.settled();
    },
  };
}

async function openHost(stateDir: string): Promise<HostState> {
  const host = await readHostState(stateDir);
  if (host === undefined) {
    throw new Error(
      `this host has not joined a mesh (${stateDir} has no host.json): run meshctl join TOKEN; an operator makes the token with meshctl token create --host HOST`,
    );
  }
  return host;
}

async function openTrust(stateDir: string): Promise<TrustBundle> {
  const stored = await readTrust(stateDir);
  const trust = new TrustBundle(stored?.trustDomain ?? "");
  const taken = trust.replace(stored?.roots ?? []);
  if (!taken.ok) {
    throw new Error(
      `${stateDir}/trust.json is missing or damaged (${taken.error}): join again with a new token`,
    );
  }
  return trust;
}
