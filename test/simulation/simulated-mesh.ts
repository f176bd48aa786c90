// One config server and its agents as they are, but for sockets, disks, signatures and time. The server's store survives its
// restarts, an agent's disk survives the agent's. Everything random comes from the seed.
import { SUPPORTED_KINDS } from "../../agent/api/resource.ts";
import type { Manifest, SignedManifest } from "../../agent/api/session.ts";
import { SeededRandom } from "../../agent/base/clock.ts";
import { SILENT_LOG } from "../../agent/base/log.ts";
import { err, ok } from "../../agent/base/result.ts";
import { ConfigPlane, isLower, type Position } from "../../agent/control/config-plane.ts";
import { parseManifest } from "../../agent/control/manifest.ts";
import { ServerSession } from "../../agent/control/server-session.ts";
import type {
  CompiledSources,
  SnapshotStore,
  Sources,
} from "../../agent/control/snapshot-store.ts";
import { compile } from "../../agent/policy/compile.ts";
import type { Snapshot } from "../../agent/policy/snapshot.ts";
import { EmbeddedCatalog } from "../../registry/catalog/embedded.ts";
import { Hub } from "../../registry/push/hub.ts";
import { Mesh } from "../../registry/push/mesh.ts";
import { SqliteStore } from "../../registry/store/sqlite.ts";
import { VirtualClock } from "../support/virtual-clock.ts";
import { SimulatedNetwork } from "./simulated-network.ts";

const TRUST_DOMAIN = "mesh.test";
/** A VirtualService with this in its route's name does not compile on the host that it names: a compiler older than the server's. */
export const POISON = "poison-";

export class SimulatedMesh {
  readonly clock = new VirtualClock();
  readonly random: SeededRandom;
  readonly network: SimulatedNetwork;
  readonly agents: SimulatedAgent[];
  readonly #store = new SqliteStore({ path: ":memory:", epoch: 1, replaceEpoch: false });
  #server: { readonly hub: Hub; readonly mesh: Mesh } | undefined;

  private constructor(seed: number, agentCount: number) {
    this.random = new SeededRandom(seed);
    this.network = new SimulatedNetwork({ delayMaxMs: 40, duplicates: 0.01 }, this);
    this.agents = Array.from({ length: agentCount }, (_, i) => new SimulatedAgent(`vm-${i}`, this));
  }

  static async start(seed: number, agentCount: number): Promise<SimulatedMesh> {
    const world = new SimulatedMesh(seed, agentCount);
    for (const { host } of world.agents) await world.#admit(host);
    await world.startServer();
    for (const agent of world.agents) await agent.start();
    return world;
  }

  get hub(): Hub | undefined {
    return this.#server?.hub;
  }

  position(): Promise<Position> {
    return this.#store.position();
  }

  async #admit(host: string): Promise<void> {
    const atMs = this.clock.wallMs();
    const token = { secretSha256: host.padEnd(64, "-"), host, serviceAccounts: ["default/app"] };
    const more = { addresses: [`10.0.0.${host.slice(3)}`], createdBy: "test", createdAtMs: atMs };
    await this.#store.addToken({ ...token, ...more, expiresAtMs: atMs + 1_000 });
    const used = await this.#store.useToken({ ...token, atMs, observedAddress: undefined });
    if (!used.ok) throw new Error(used.error);
  }

  async startServer(): Promise<void> {
    if (this.#server !== undefined) return;
    const common = { clock: this.clock, log: SILENT_LOG };
    const signer = {
      sign: async (payload: string): Promise<SignedManifest> => ({
        payload,
        signature: "",
        certificates: [],
      }),
    };
    const hub = new Hub({ ...common, signer, timers: this.clock });
    const settings = {
      trustDomain: TRUST_DOMAIN,
      rootNamespace: "istio-system",
      outboundPolicy: "allow_any" as const,
    };
    const mesh = new Mesh(
      { settings },
      { ...common, store: this.#store, catalog: new EmbeddedCatalog(), hub },
    );
    await mesh.open();
    this.#server = { hub, mesh };
    this.network.accept = (host, socket) => hub.connect({ host, remoteAddress: undefined }, socket);
  }

  /** As kill -9 does: connections break, what the store acknowledged stays. */
  stopServer(): void {
    this.network.accept = undefined;
    this.#server?.hub.close();
    this.#server = undefined;
  }

  /** False: the server is down. Throws when it refuses. */
  async apply(documents: readonly unknown[]): Promise<boolean> {
    const applied = await this.#server?.mesh.apply({ documents, who: "test", isDryRun: false });
    if (applied === undefined) return false;
    if (!applied.ok) throw new Error(JSON.stringify(applied.error));
    return true;
  }

  /** Lets time pass in small steps, with all promises settled between two. */
  async pass(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += STEP_MS) {
      this.clock.pass(STEP_MS);
      await settled();
    }
  }

  async close(): Promise<void> {
    for (const agent of this.agents) agent.stop();
    this.stopServer();
    await this.#store.close();
  }
}

const STEP_MS = 10;
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** What one agent's disk holds. */
class MemoryDisk implements SnapshotStore {
  #stored: { readonly sources: Sources; readonly compiled: CompiledSources } | undefined;

  async save(sources: Sources, compiled: CompiledSources): Promise<void> {
    this.#stored = { sources, compiled };
  }
  async loadCompiled(): Promise<CompiledSources | undefined> {
    return this.#stored?.compiled;
  }
  async loadSources(): Promise<Sources | undefined> {
    return this.#stored?.sources;
  }
  async loadPorts() {
    return []; // simulated agents are never updated
  }
}

export class SimulatedAgent {
  readonly host: string;
  readonly #world: SimulatedMesh;
  readonly #disk = new MemoryDisk();
  #parts: { readonly plane: ConfigPlane; readonly session: ServerSession } | undefined;
  #ran: Position = { epoch: 0, version: 0 };
  /** Broken invariants, in words. */
  readonly faults: string[] = [];
  nacks = 0;

  constructor(host: string, world: SimulatedMesh) {
    this.host = host;
    this.#world = world;
  }

  get plane(): ConfigPlane | undefined {
    return this.#parts?.plane;
  }

  async start(): Promise<void> {
    if (this.#parts !== undefined) return;
    const { clock, random, network } = this.#world;
    const plane = new ConfigPlane(
      { host: this.host, slotFirst: 0, slotCapacity: 8_192 },
      {
        store: this.#disk,
        compile: (input) => {
          const isPoisoned = JSON.stringify(input.resources).includes(`${POISON}${this.host}.`);
          const compiled = compile(input);
          if (!isPoisoned) return compiled;
          this.nacks++;
          const problem = {
            path: "spec",
            reason: "not with this agent",
            severity: "error" as const,
          };
          return { ...compiled, problems: [problem] };
        },
        hostAddresses: () => [],
        clearSlots() {},
        onSnapshot: (snapshot) => this.#run(snapshot),
        log: SILENT_LOG,
      },
    );
    const session = new ServerSession(
      { host: this.host, agentVersion: "test", runs: SUPPORTED_KINDS, servers: ["https://server"] },
      {
        transport: network.transport(this.host),
        plane,
        verify: async (signed) => {
          const manifest: Manifest | undefined = parseManifest(signed.payload);
          return manifest?.host === this.host ? ok(manifest) : err("not for this host");
        },
        clock,
        timers: clock,
        random,
        log: SILENT_LOG,
      },
    );
    this.#parts = { plane, session };
    await plane.bootCompiled();
    await plane.bootSources();
    session.start();
  }

  stop(): void {
    this.#parts?.session.stop();
    this.#parts = undefined;
  }

  #run(snapshot: Snapshot): void {
    const text = `${this.host}: ${this.#ran.epoch}.${this.#ran.version} then ${snapshot.epoch}.${snapshot.version}`;
    if (isLower(snapshot, this.#ran)) this.faults.push(`ran a lower version: ${text}`);
    if (snapshot.host.name !== this.host) this.faults.push(`ran another host's snapshot: ${text}`);
    this.#ran = snapshot;
  }
}
