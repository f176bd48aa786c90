// The mesh's state in Consul as one server holds it: all of one head in memory, kept current by a blocking query, and written by
// compare-and-set. consul-pages.ts says how it lies there; consul.ts makes a Store of it.
// Consul is trusted to keep, not to say: what is not sealed by the mesh's servers is not believed, and neither is an empty answer.
import { randomBytes } from "node:crypto";
import type { Log } from "../../agent/base/log.ts";
import { ok, type Result } from "../../agent/base/result.ts";
import { type ConsulClient, ConsulFailure, type Entry } from "../consul/client.ts";
import { type WatchDeps, watch } from "../consul/watch.ts";
import { ConsulAudit } from "./consul-audit.ts";
import {
  type Bucket,
  changedBuckets,
  type Head,
  padded,
  parseHead,
  type RowChange,
  writeBucket,
} from "./consul-pages.ts";
import { ConsulParts } from "./consul-parts.ts";
import { type MeshTables, tablesOf } from "./consul-tables.ts";
import { Sealer } from "./seal.ts";
import { type AuditRecord, type Position, StoreUnavailable } from "./store.ts";

/** Under which everything of one mesh lies. */
export const PREFIX_DEFAULT = "ironmesh";
/** Writes of ours that another server's write came before are computed again this often. */
const WRITE_ATTEMPTS_MAX = 16;
/** Between reading a head and its pages another commit may sweep them away: then the newer head is read. */
const LOAD_ATTEMPTS_MAX = 8;
/** How long a write whose answer was lost is looked for. */
const SETTLE_ATTEMPTS = 3;

export interface ConsulStoreConfig {
  readonly prefix: string;
  /** Counts only when Consul holds nothing yet, or when `replaceEpoch` says that what it holds was restored from elsewhere. */
  readonly epoch: number;
  readonly replaceEpoch?: boolean;
  /** The mesh's servers share it; see Sealer. */
  readonly sealKey: Uint8Array;
  /** What this server saw last, if it ran before: a Consul that holds less lost it. */
  readonly seen?: Position | undefined;
}

export interface ConsulStoreDeps extends WatchDeps {
  readonly consul: ConsulClient;
  readonly log: Log;
}

/** All of one head. */
export interface Loaded {
  readonly head: Head;
  readonly modifyIndex: number;
  readonly buckets: ReadonlyMap<number, Bucket>;
  readonly tables: MeshTables;
}

export interface Write<T> {
  readonly rows: readonly RowChange[];
  /** Agents can see it: the version rises, and the audit says why. */
  readonly audit?: Omit<AuditRecord, "version" | "what"> & { readonly what: readonly string[] };
  readonly value: (position: Position) => T;
}

export class ConsulState {
  readonly #headKey: string;
  readonly #sealer: Sealer;
  readonly #parts: ConsulParts;
  readonly #audit: ConsulAudit;
  readonly #deps: ConsulStoreDeps;
  readonly #listeners = new Set<() => void>();
  #loaded: Loaded;
  #turn: Promise<unknown> = Promise.resolve();
  #stopWatching: () => void = () => undefined;
  /** Why writes would fail now, as last seen; undefined: nothing known against them. */
  #trouble: Error | undefined;

  private constructor(config: ConsulStoreConfig, deps: ConsulStoreDeps) {
    this.#headKey = `${config.prefix}/head`;
    this.#sealer = new Sealer(config.sealKey);
    this.#parts = new ConsulParts(config.prefix, deps.consul);
    this.#audit = new ConsulAudit(config.prefix, {
      consul: deps.consul,
      parts: this.#parts,
      sealer: this.#sealer,
    });
    this.#deps = deps;
    const head: Head = { format: 1, epoch: 0, version: 0, sequence: 0, attempt: "", pages: {} };
    this.#loaded = { head, modifyIndex: 0, buckets: new Map(), tables: tablesOf([]) };
  }

  /** Reads what Consul holds, or begins anew where it never held anything. Throws StoreUnavailable. */
  static async open(config: ConsulStoreConfig, deps: ConsulStoreDeps): Promise<ConsulState> {
    const state = new ConsulState(config, deps);
    await named(state.#begin(config), "the config server cannot start");
    state.#follow();
    return state;
  }

  get loaded(): Loaded {
    return this.#loaded;
  }

  audit(countMax: number): Promise<readonly AuditRecord[]> {
    return named(this.#audit.read(countMax), "the audit cannot be read");
  }

  onForeignWrite(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async close(): Promise<void> {
    this.#stopWatching();
    await this.#turn.catch(() => undefined); // its caller was told
    this.#deps.consul.close();
  }

  async #begin({ epoch, replaceEpoch, seen }: ConsulStoreConfig): Promise<void> {
    let isReplaced = false;
    for (let attempt = 0; attempt < WRITE_ATTEMPTS_MAX; attempt++) {
      const entry = await this.#readHead();
      const loaded = entry === undefined ? undefined : await this.#load(entry);
      if (replaceEpoch !== true && seen !== undefined) this.#compare(loaded?.head, seen);
      if (loaded !== undefined) this.#loaded = loaded;
      if (loaded !== undefined && (replaceEpoch !== true || isReplaced)) {
        await this.#parts.sweep(loaded.head);
        await this.#audit.sweep(loaded.head.version);
        return;
      }
      const before = this.#loaded.head;
      const rising = loaded === undefined ? epoch : Math.max(before.epoch + 1, epoch);
      isReplaced = await this.#swing({ ...before, epoch: rising }, []);
    }
    throw new StoreUnavailable("other servers kept changing the mesh's state", "start again");
  }

  /** What Consul holds must not be less than what this server knew. */
  #compare(found: Head | undefined, seen: Position): void {
    if (found === undefined) throw this.#lost("no mesh", seen);
    if (isBefore(found, seen)) throw this.#lost(`version ${found.version}`, seen);
  }

  #lost(found: string, { version, epoch }: Position): StoreUnavailable {
    return new StoreUnavailable(
      `Consul at ${this.#deps.consul.url} holds ${found} under ${this.#headKey}, and this server knew version ${version} of epoch ${epoch}: Consul lost its data, is another one, or hides it from our token`,
      "restore Consul's data or mend the address and the token; or, to go on with what is there, start once with --new-epoch",
    );
  }

  /** One write of ours at a time. Computed again from what another server left, until it holds or is refused. */
  write<T, E extends string>(
    compute: (loaded: Loaded) => Result<Write<T>, E>,
  ): Promise<Result<T, E>> {
    return this.#oneAtATime(() => named(this.#tryWrite(compute), "nothing was stored"));
  }

  /** As write(), and writes nothing. */
  judge<T, E extends string>(compute: (loaded: Loaded) => Result<T, E>): Promise<Result<T, E>> {
    const judged = compute(this.#loaded);
    if (judged.ok) return Promise.resolve(judged);
    const again = async () => {
      await this.#refresh(); // or it was told of what is newer while this waited for its turn
      return compute(this.#loaded);
    };
    return this.#oneAtATime(() => named(again(), "nothing was stored"));
  }

  async #tryWrite<T, E extends string>(
    compute: (loaded: Loaded) => Result<Write<T>, E>,
  ): Promise<Result<T, E>> {
    // What was computed from memory may be refused for what another server changed a moment ago: ask before believing it.
    let isFresh = false;
    for (let attempt = 0; attempt < WRITE_ATTEMPTS_MAX; attempt++) {
      const computed = compute(this.#loaded);
      if (!computed.ok) {
        if (isFresh || !(await this.#refresh())) return computed;
        isFresh = true;
        continue;
      }
      const { rows, audit, value } = computed.value;
      const before = this.#loaded.head;
      const version = before.version + (audit === undefined ? 0 : 1);
      if (await this.#swing({ ...before, version }, rows, audit))
        return ok(value({ epoch: before.epoch, version }));
      await this.#refresh();
      isFresh = true;
    }
    throw new StoreUnavailable("other servers kept changing the mesh's state", "try again");
  }

  /** Writes pages, then the head that names them; false: another server's head came first. */
  async #swing(
    position: Position,
    rows: readonly RowChange[],
    audit?: Write<unknown>["audit"],
  ): Promise<boolean> {
    const { head: before, modifyIndex, buckets } = this.#loaded;
    const attempt = randomBytes(12).toString("hex");
    const sequence = before.sequence + 1;
    const changed = changedBuckets(buckets, rows);
    const pages = { ...before.pages };
    for (const [number, bucket] of changed) {
      const name = `${padded(sequence)}-${attempt}-${number}`;
      pages[number] = await this.#parts.write("page", name, writeBucket(bucket));
    }
    const { epoch, version } = position;
    const head: Head = { format: 1, epoch, version, sequence, attempt, pages };
    const sealed = this.#sealer.seal(this.#headKey, JSON.stringify(head));
    const auditing =
      audit === undefined ? [] : await this.#audit.operations({ ...audit, version }, attempt);
    const index = await this.#committed(
      [{ verb: "cas", key: this.#headKey, value: sealed, index: modifyIndex }, ...auditing],
      attempt,
    );
    if (index === undefined) {
      await this.#parts.remove("page", partsNotIn(pages, before.pages)).catch(() => undefined); // swept at the next start
      return false;
    }
    const now = new Map([...buckets, ...changed]);
    this.#loaded = { head, modifyIndex: index, buckets: now, tables: tablesOf(now.values()) };
    // Readers that still hold the older head read the newer one instead; what fails here is swept at the next start.
    await this.#parts.remove("page", partsNotIn(before.pages, pages)).catch(() => undefined);
    return true;
  }

  /** The head's new index; undefined: another server's head came first. A lost answer tells nothing: then the head tells whose
   *  write it holds. */
  async #committed(
    operations: Parameters<ConsulClient["transact"]>[0],
    attempt: string,
  ): Promise<number | undefined> {
    try {
      return await this.#deps.consul.transact(operations);
    } catch (cause) {
      if (!(cause instanceof ConsulFailure) || cause.is !== "unreachable") throw cause;
      for (let i = 0; i < SETTLE_ATTEMPTS; i++) {
        const entry = await this.#readHead().catch(() => undefined);
        if (entry === undefined) continue;
        if (this.#openHead(entry).attempt === attempt) return entry.modifyIndex;
        if (entry.modifyIndex !== this.#loaded.modifyIndex) return undefined;
      }
      throw new StoreUnavailable(
        `${cause.message}, and whether it stored the change is not known`,
        "look with `meshctl get` or `meshctl diff` once Consul answers, then apply again",
      );
    }
  }

  /** Adopts what Consul holds. True: it is newer than what we had. */
  async #refresh(): Promise<boolean> {
    const entry = await this.#readHead();
    if (entry === undefined) throw this.#lost("no mesh", this.#loaded.head);
    return this.#adopt(entry);
  }

  async #adopt(entry: Entry): Promise<boolean> {
    const { modifyIndex, head } = this.#loaded;
    if (entry.modifyIndex === modifyIndex) return false;
    const found = this.#openHead(entry);
    if (isBefore(found, head) || (found.epoch === head.epoch && found.sequence < head.sequence))
      throw this.#lost(`version ${found.version}`, head);
    this.#loaded = await this.#load(entry);
    return true;
  }

  #follow(): void {
    this.#stopWatching = watch(
      {
        read: (blocking) => this.#deps.consul.getKey(this.#headKey, blocking),
        onValue: (entry) => this.#oneAtATime(() => this.#see(entry)),
        onFailure: (cause) => this.#note(cause),
        intervalMinMs: 0,
      },
      this.#deps,
    );
  }

  async #see(entry: Entry | undefined): Promise<void> {
    if (entry === undefined) throw this.#lost("no mesh", this.#loaded.head);
    const isNewer = entry.modifyIndex > this.#loaded.modifyIndex && (await this.#adopt(entry));
    if (this.#trouble !== undefined)
      this.#deps.log.info("Consul answers again", { version: this.#loaded.head.version });
    this.#trouble = undefined;
    if (isNewer) for (const listener of this.#listeners) listener();
  }

  #note(cause: Error): void {
    if (this.#trouble?.message === cause.message) return;
    this.#trouble = cause;
    this.#deps.log.error(
      "Consul is not to be had: agents keep what they have, changes are refused",
      { cause: cause.message, next: "next" in cause ? String(cause.next) : undefined },
    );
  }

  async #readHead(): Promise<Entry | undefined> {
    return (await this.#deps.consul.getKey(this.#headKey)).value;
  }

  #openHead(entry: Entry): Head {
    const text = this.#sealer.open(this.#headKey, entry.value);
    const head = text === undefined ? undefined : parseHead(text);
    if (head !== undefined) return head;
    throw new StoreUnavailable(
      text === undefined
        ? `what Consul at ${this.#deps.consul.url} holds under ${this.#headKey} is not sealed by this mesh's servers: another mesh has its place there, or somebody wrote to it`
        : `what Consul at ${this.#deps.consul.url} holds under ${this.#headKey} is of another format: a newer meshctl wrote it`,
      text === undefined
        ? "copy STATE_DIR/ca from a server of that mesh into this one's state directory, or restore Consul's data"
        : "run the newer meshctl",
    );
  }

  async #load(first: Entry): Promise<Loaded> {
    let entry = first;
    for (let attempt = 0; attempt < LOAD_ATTEMPTS_MAX; attempt++) {
      const head = this.#openHead(entry);
      const buckets = await this.#parts.buckets(head, this.#loaded.head, this.#loaded.buckets);
      if (buckets !== undefined)
        return {
          head,
          modifyIndex: entry.modifyIndex,
          buckets,
          tables: tablesOf(buckets.values()),
        };
      const again = await this.#readHead();
      if (again === undefined) throw this.#lost("no mesh", head);
      entry = again;
    }
    throw new StoreUnavailable(
      `pages of the mesh's state are missing in Consul at ${this.#deps.consul.url}, or are not what was written`,
      "restore Consul's data from its last snapshot (consul snapshot restore)",
    );
  }

  #oneAtATime<T>(task: () => Promise<T>): Promise<T> {
    const done = this.#turn.then(task);
    this.#turn = done.then(
      () => undefined,
      () => undefined, // Its caller is told.
    );
    return done;
  }
}

const isBefore = (a: Position, b: Position): boolean =>
  a.epoch < b.epoch || (a.epoch === b.epoch && a.version < b.version);

/** Names in `pages` that `others` lacks. */
function partsNotIn(pages: Head["pages"], others: Head["pages"]): string[] {
  const kept = new Set(Object.values(others).flatMap((parts) => parts.map(({ name }) => name)));
  return Object.values(pages)
    .flatMap((parts) => parts.map(({ name }) => name))
    .filter((name) => !kept.has(name));
}

/** A failure of Consul's as the caller is to hear it: what it means for him, and what he does next. */
async function named<T>(work: Promise<T>, meaning: string): Promise<T> {
  try {
    return await work;
  } catch (cause) {
    if (!(cause instanceof ConsulFailure)) throw cause;
    throw new StoreUnavailable(`${cause.message}: ${meaning}`, cause.next, cause);
  }
}
