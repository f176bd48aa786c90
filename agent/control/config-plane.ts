// Which version this agent runs: units and manifests in, compiled snapshots out.
//
//   none --accept--> running(N) --accept(M >= N, or a higher epoch)--> running(M)
//                        ^------- refuse: the compiler found errors, a lower version, a unit is missing; N stays
//
// The last good version is on disk before long and is what an agent begins with. Sockets and signatures are server-session's.
import type {
  CatalogEndpoint,
  CatalogService,
  Manifest,
  MeshSettings,
  ResourceDocument,
  SignedManifest,
  Unit,
  UnitBody,
} from "../api/session.ts";
import type { Log } from "../base/log.ts";
import { err, ok, type Problem, type Result } from "../base/result.ts";
import { PortBook, SlotBook } from "../policy/books.ts";
import type { Compiled, CompileInput } from "../policy/compile.ts";
import type { Snapshot } from "../policy/snapshot.ts";
import { hashOfManifest, type SnapshotStore } from "./snapshot-store.ts";

export interface Position {
  readonly epoch: number;
  readonly version: number;
}

/** Why a version was not taken. `unit_missing`: ask for all again; the others go to the server as they are. */
export type VersionRefusal =
  | { readonly is: "unit_missing"; readonly count: number }
  | { readonly is: "refused"; readonly reasons: readonly string[] };

export interface ConfigPlaneConfig {
  readonly host: string;
  /** Shared slots that compile() may hand out: [first, capacity). */
  readonly slotFirst: number;
  readonly slotCapacity: number;
}

export interface ConfigPlaneDeps {
  readonly store: SnapshotStore;
  /** The compiler; see loadCompiler for the one that costs nothing until it is needed. */
  compile(input: CompileInput): Promise<Compiled> | Compiled;
  /** This host's own addresses, asked at each compilation. */
  hostAddresses(): readonly string[];
  /** Zeroes slots that change hands, before the snapshot that uses them goes live. */
  clearSlots(slots: readonly number[]): void;
  /** Resolves when it is served; then the server is told. */
  onSnapshot(snapshot: Snapshot): Promise<void> | void;
  readonly log: Log;
}

/** Keeps the compiler and all it needs out of an agent's start. */
export async function loadCompiler(input: CompileInput): Promise<Compiled> {
  return (await import("../policy/compile.ts")).compile(input);
}

interface Running {
  readonly units: readonly Unit[];
  readonly byHash: ReadonlyMap<string, Unit>;
}

export class ConfigPlane {
  readonly #config: ConfigPlaneConfig;
  readonly #deps: ConfigPlaneDeps;
  #slots: SlotBook;
  #ports = new PortBook();
  #running: Running | undefined;
  #snapshot: Snapshot | undefined;
  /** hashOfManifest of what the snapshot was made of. */
  #madeOf: string | undefined;
  /** What stands on disk or is being written; and what is to follow. */
  #saving: Promise<void> | undefined;
  #toSave: (() => Promise<void>) | undefined;
  /** Versions are judged one after the other, whichever connection they came by. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(config: ConfigPlaneConfig, deps: ConfigPlaneDeps) {
    this.#config = config;
    this.#deps = deps;
    this.#slots = new SlotBook(config.slotFirst, config.slotCapacity);
  }

  get snapshot(): Snapshot | undefined {
    return this.#snapshot;
  }

  /** What this agent runs, as the hello message states it. */
  get position(): Position {
    const { epoch, version } = this.#snapshot ?? { epoch: 0, version: 0 };
    return { epoch, version };
  }

  /** Hashes of the running version's units, in its order. */
  get unitHashes(): readonly string[] {
    return this.#running?.units.map(({ hash }) => hash) ?? [];
  }

  unit(hash: string): Unit | undefined {
    return this.#running?.byHash.get(hash);
  }

  /** First half of the start: serve the last good snapshot. True: there was one. */
  async bootCompiled(): Promise<boolean> {
    const stored = await this.#deps.store.loadCompiled();
    if (stored === undefined || stored.snapshot.host.name !== this.#config.host) {
      this.#ports = new PortBook(await this.#deps.store.loadPorts());
      return false;
    }
    const { snapshot } = stored;
    this.#slots = new SlotBook(this.#config.slotFirst, this.#config.slotCapacity, stored.slots);
    this.#ports = new PortBook(
      snapshot.workloads.map(({ namespace, name, outboundPort }) => [
        `${namespace}/${name}`,
        outboundPort,
      ]),
    );
    this.#snapshot = snapshot;
    this.#madeOf = stored.manifestHash;
    await this.#deps.onSnapshot(snapshot);
    const { epoch, version } = snapshot;
    this.#deps.log.info("serving the last good version from disk", { epoch, version });
    return true;
  }

  /** Second half, off the path to the first request: the sources, compiled if the snapshot on disk was not made of them. */
  bootSources(): Promise<void> {
    return this.#inTurn(() => this.#readSources());
  }

  async #readSources(): Promise<void> {
    const sources = await this.#deps.store.loadSources();
    if (sources === undefined) return;
    const manifest = JSON.parse(sources.manifest.payload) as Manifest;
    if (manifest.host !== this.#config.host || isLower(manifest, this.position)) return;
    if (this.#madeOf === hashOfManifest(sources.manifest)) {
      this.#running = runningOf(sources.units);
      return;
    }
    const accepted = await this.#run(manifest, sources.manifest, sources.units);
    if (!accepted.ok) {
      this.#deps.log.error("the stored version does not compile; waiting for the server", {
        version: manifest.version,
        reasons: reasonsOf(accepted.error),
      });
    }
  }

  /** `arrived`: units that came with this manifest; the running version's are known. The manifest's signature, host and
   *  origin have been checked. */
  accept(
    manifest: Manifest,
    signed: SignedManifest,
    arrived: ReadonlyMap<string, Unit>,
  ): Promise<Result<Position, VersionRefusal>> {
    return this.#inTurn(() => this.#judge(manifest, signed, arrived));
  }

  #inTurn<T>(task: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(task);
    this.#turn = done.catch(() => undefined); // Its caller is told; the next one's turn comes all the same.
    return done;
  }

  async #judge(
    manifest: Manifest,
    signed: SignedManifest,
    arrived: ReadonlyMap<string, Unit>,
  ): Promise<Result<Position, VersionRefusal>> {
    const running = this.position;
    if (isLower(manifest, running)) {
      const reason = `version ${manifest.epoch}.${manifest.version} is lower than ${running.epoch}.${running.version}, which runs: if the server was restored from a copy, start it once with --new-epoch`;
      return err({ is: "refused", reasons: [reason] });
    }
    const units: Unit[] = [];
    for (const hash of manifest.units) {
      const unit = arrived.get(hash) ?? this.unit(hash);
      if (unit !== undefined) units.push(unit);
    }
    const missing = manifest.units.length - units.length;
    if (missing > 0) return err({ is: "unit_missing", count: missing });
    return this.#run(manifest, signed, units);
  }

  /** Resolves when nothing is left to write. */
  async settled(): Promise<void> {
    while (this.#saving !== undefined) await this.#saving;
  }

  async #run(
    manifest: Manifest,
    signed: SignedManifest,
    units: readonly Unit[],
  ): Promise<Result<Position, VersionRefusal>> {
    const position = { epoch: manifest.epoch, version: manifest.version };
    const parts = sortUnits(units);
    if (!parts.ok) return err({ is: "refused", reasons: [parts.error] });
    const slots = this.#slots.draft();
    const ports = this.#ports.draft();
    const host = { name: this.#config.host, addresses: this.#deps.hostAddresses() };
    const compiled = await this.#deps.compile({ ...position, ...parts.value, host, slots, ports });
    const errors = compiled.problems.filter(({ severity }) => severity === "error");
    if (errors.length > 0) return err({ is: "refused", reasons: errors.map(textOf) });
    this.#deps.clearSlots(this.#slots.adopt(slots));
    this.#ports.adopt(ports);
    const hasNewPorts = portsOf(compiled.snapshot) !== portsOf(this.#snapshot);
    this.#snapshot = compiled.snapshot;
    this.#madeOf = hashOfManifest(signed);
    this.#running = runningOf(units);
    const save = (): void => this.#save(signed, units, compiled.snapshot);
    // Before any rule points to a new port; else traffic and the server's ack need not wait for the disk.
    if (hasNewPorts) save();
    await this.#deps.onSnapshot(compiled.snapshot);
    if (!hasNewPorts) save();
    this.#deps.log.info("running a new version", { ...position, units: units.length });
    return ok(position);
  }

  /** One write at a time, and after it only the newest: a burst of versions costs the disk two. */
  #save(manifest: SignedManifest, units: readonly Unit[], snapshot: Snapshot): void {
    const slots = this.#slots.entries;
    const compiled = { manifestHash: this.#madeOf ?? "", snapshot, slots };
    this.#toSave = () => this.#deps.store.save({ manifest, units }, compiled);
    this.#saving ??= this.#saveAll();
  }

  async #saveAll(): Promise<void> {
    while (this.#toSave !== undefined) {
      const save = this.#toSave;
      this.#toSave = undefined;
      try {
        await save();
      } catch (cause) {
        const reason = cause instanceof Error ? cause.message : "unknown";
        this.#deps.log.error(
          "the last good version is not on disk: a restart would begin with an older one",
          {
            reason,
          },
        );
      }
    }
    this.#saving = undefined;
  }
}

export const isLower = (a: Position, than: Position): boolean =>
  a.epoch < than.epoch || (a.epoch === than.epoch && a.version < than.version);

export const reasonsOf = (refusal: VersionRefusal): readonly string[] =>
  refusal.is === "refused"
    ? refusal.reasons
    : [`${refusal.count} units of the version are missing`];

const runningOf = (units: readonly Unit[]): Running => ({
  units,
  byHash: new Map(units.map((unit) => [unit.hash, unit])),
});

/** As the rules name them. */
const portsOf = (snapshot: Snapshot | undefined): string =>
  (snapshot?.workloads ?? [])
    .map(({ namespace, name, outboundPort }) => `${namespace}/${name} ${outboundPort}`)
    .join();

type CompileParts = Pick<CompileInput, "mesh" | "resources" | "services" | "endpoints">;

/** Bodies come from a server whose signature held: their shape is its promise, but a kind of unit may be newer than we are. */
function sortUnits(units: readonly Unit[]): Result<CompileParts, string> {
  let mesh: MeshSettings | undefined;
  const resources: ResourceDocument[] = [];
  const services: CatalogService[] = [];
  const endpoints = new Map<string, readonly CatalogEndpoint[]>();
  for (const unit of units) {
    const body = JSON.parse(unit.body) as UnitBody;
    switch (body.is) {
      case "mesh":
        mesh = body.mesh;
        break;
      case "resource":
        resources.push(body.resource);
        break;
      case "service":
        services.push(body.service);
        break;
      case "endpoints":
        endpoints.set(body.service, body.endpoints);
        break;
      default:
        return err(
          `a unit is of a kind this agent does not know: ${(body as { is: string }).is}: update the agent`,
        );
    }
  }
  if (mesh === undefined) return err("the version has no mesh settings");
  return ok({ mesh, resources, services, endpoints });
}

const textOf = ({ place, path, reason }: Problem): string =>
  [place, path, reason].filter((part) => part !== undefined && part !== "").join(": ");
