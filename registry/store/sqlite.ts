// The embedded store: one SQLite file in WAL mode with synchronous=FULL, so a commit that returned is on disk. One process
// opens it at a time: EXCLUSIVE locking makes a second server fail at start instead of disagreeing later.
// node:sqlite is in Bun and Deno alike.
import { DatabaseSync, type SQLInputValue, type StatementSync } from "node:sqlite";
import type { ResourceDocument } from "../../agent/api/session.ts";
import { assert } from "../../agent/base/assert.ts";
import { err, ok, type Result } from "../../agent/base/result.ts";
import type {
  Allocation,
  AuditRecord,
  Commit,
  DiscoveredService,
  HostRecord,
  MeshState,
  OperatorRecord,
  Position,
  Store,
  TokenRecord,
  TokenRefusal,
  TokenUse,
} from "./store.ts";
import { DEAD_TOKEN_KEPT_MS, hostOfUse, keyOf, keyText } from "./store.ts";

/** Older audit lines are dropped, so that the file stays bounded. */
export const AUDIT_RECORDS_MAX = 10_000;
const SCHEMA_VERSION = 2;

const SCHEMA = `
create table position (id integer primary key check (id = 0), epoch integer not null, version integer not null) strict;
create table resource (key text primary key, document text not null, revision integer not null) strict, without rowid;
create table host (name text primary key, record text not null) strict, without rowid;
create table token (secret_sha256 text primary key, record text not null, expires_at_ms integer not null,
  used_at_ms integer) strict, without rowid;
create table operator (name text primary key, record text not null) strict, without rowid;
create table allocation (service text primary key, idx integer not null unique, freed_at_ms integer) strict, without rowid;
create table audit (id integer primary key autoincrement, version integer not null, at_ms integer not null,
  who text not null, what text not null) strict;
`;
const SCHEMA_SINCE_2 =
  "create table discovered (name text primary key, record text not null) strict, without rowid;";

interface DocumentRow {
  readonly document: string;
  readonly revision: number;
}
interface RecordRow {
  readonly record: string;
}
interface TokenRow extends RecordRow {
  readonly used_at_ms: number | null;
}
interface AllocationRow {
  readonly service: string;
  readonly idx: number;
  readonly freed_at_ms: number | null;
}
interface AuditRow {
  readonly version: number;
  readonly at_ms: number;
  readonly who: string;
  readonly what: string;
}

export class SqliteStore implements Store {
  readonly #db: DatabaseSync;
  /** By their text, of which there are as many as this file writes down. */
  readonly #statements = new Map<string, StatementSync>();

  /** `path` may be ":memory:". `epoch` counts only when the file is new, or when `replaceEpoch` says that what it holds was
   *  restored from elsewhere. Throws when the file is another process's or from a newer meshctl. */
  constructor(config: {
    readonly path: string;
    readonly epoch: number;
    readonly replaceEpoch?: boolean;
  }) {
    this.#db = new DatabaseSync(config.path);
    this.#db.exec("pragma locking_mode = exclusive");
    this.#db.exec("pragma journal_mode = wal");
    this.#db.exec("pragma synchronous = full");
    this.#open(config.epoch, config.replaceEpoch === true);
  }

  #open(epoch: number, replaceEpoch: boolean): void {
    this.#transaction(() => {
      const found = this.#one<{ user_version: number }>("pragma user_version")?.user_version ?? 0;
      if (found > SCHEMA_VERSION) {
        throw new Error(
          `the store has schema ${found} and this meshctl knows ${SCHEMA_VERSION}: run the newer meshctl that wrote it`,
        );
      }
      if (found === 0) {
        this.#db.exec(SCHEMA);
        this.#run("insert into position values (0, ?, 0)", [epoch]);
      } else if (replaceEpoch) {
        this.#run("update position set epoch = max(epoch + 1, ?)", [epoch]);
      }
      if (found < 2) this.#db.exec(SCHEMA_SINCE_2);
      this.#db.exec(`pragma user_version = ${SCHEMA_VERSION}`);
    });
  }

  position(): Promise<Position> {
    return Promise.resolve(this.#position());
  }

  state(): Promise<MeshState> {
    const state = this.#transaction(() => ({
      ...this.#position(),
      resources: this.#all<DocumentRow>("select document, revision from resource order by key").map(
        (row) => ({
          document: JSON.parse(row.document) as ResourceDocument,
          revision: row.revision,
        }),
      ),
      hosts: this.#all<RecordRow>("select record from host order by name").map(
        (row) => JSON.parse(row.record) as HostRecord,
      ),
      allocations: this.#all<AllocationRow>("select * from allocation order by idx").map(
        allocationOf,
      ),
      discovered: this.#all<RecordRow>("select record from discovered order by name").map(
        (row) => JSON.parse(row.record) as DiscoveredService,
      ),
    }));
    return Promise.resolve(state);
  }

  commit(change: Commit): Promise<Result<Position, "conflict">> {
    const result = this.#transaction((): Result<Position, "conflict"> => {
      if (this.#position().version !== change.expectVersion) return err("conflict");
      const version = change.expectVersion + 1;
      this.#writeResources(change, version);
      for (const name of change.removeHosts) this.#run("delete from host where name = ?", [name]);
      for (const host of change.putHosts) this.#putHost(host);
      this.#writeAllocations(change.putAllocations);
      this.#writeDiscovered(change);
      this.#record(change, version);
      this.#run("update position set version = ?", [version]);
      return ok(this.#position());
    });
    return Promise.resolve(result);
  }

  #writeResources(change: Commit, version: number): void {
    for (const key of change.remove) {
      this.#run("delete from resource where key = ?", [keyText(key)]);
    }
    for (const document of change.put) {
      this.#run("insert or replace into resource values (?, ?, ?)", [
        keyText(keyOf(document)),
        JSON.stringify(document),
        version,
      ]);
    }
  }

  #writeAllocations(allocations: readonly Allocation[]): void {
    // An index may pass from one service to another in one commit: clear all first.
    for (const { service, index } of allocations) {
      this.#run("delete from allocation where service = ? or idx = ?", [service, index]);
    }
    for (const { service, index, freedAtMs } of allocations) {
      this.#run("insert into allocation values (?, ?, ?)", [service, index, freedAtMs ?? null]);
    }
  }

  #writeDiscovered({ putDiscovered, removeDiscovered }: Commit): void {
    for (const name of removeDiscovered) {
      this.#run("delete from discovered where name = ?", [name]);
    }
    for (const service of putDiscovered) {
      this.#run("insert or replace into discovered values (?, ?)", [
        service.name,
        JSON.stringify(service),
      ]);
    }
  }

  #record(change: Commit, version: number): void {
    for (const what of change.what) {
      this.#run("insert into audit (version, at_ms, who, what) values (?, ?, ?, ?)", [
        version,
        change.atMs,
        change.who,
        what,
      ]);
    }
    this.#run("delete from audit where id <= (select max(id) from audit) - ?", [AUDIT_RECORDS_MAX]);
  }

  addToken(token: TokenRecord): Promise<void> {
    this.#transaction(() => {
      this.#run("delete from token where expires_at_ms < ?", [
        token.createdAtMs - DEAD_TOKEN_KEPT_MS,
      ]);
      this.#run("insert into token values (?, ?, ?, null)", [
        token.secretSha256,
        JSON.stringify(token),
        token.expiresAtMs,
      ]);
    });
    return Promise.resolve();
  }

  checkToken(use: TokenUse): Promise<Result<HostRecord, TokenRefusal>> {
    return Promise.resolve(hostOfUse(this.#token(use.secretSha256), use, this.#host(use.host)));
  }

  useToken(use: TokenUse): Promise<Result<HostRecord, TokenRefusal>> {
    const result = this.#transaction((): Result<HostRecord, TokenRefusal> => {
      const token = this.#token(use.secretSha256);
      const host = hostOfUse(token, use, this.#host(use.host));
      if (!host.ok || token === undefined) return host;
      this.#run("update token set used_at_ms = ? where secret_sha256 = ?", [
        use.atMs,
        use.secretSha256,
      ]);
      this.#putHost(host.value);
      const version = this.#position().version + 1;
      this.#run("update position set version = ?", [version]);
      this.#run("insert into audit (version, at_ms, who, what) values (?, ?, ?, ?)", [
        version,
        use.atMs,
        token.createdBy,
        `join host ${host.value.name}`,
      ]);
      return host;
    });
    return Promise.resolve(result);
  }

  host(name: string): Promise<HostRecord | undefined> {
    return Promise.resolve(this.#host(name));
  }

  putOperator(operator: OperatorRecord): Promise<void> {
    this.#run("insert or replace into operator values (?, ?)", [
      operator.name,
      JSON.stringify(operator),
    ]);
    return Promise.resolve();
  }

  operators(): Promise<readonly OperatorRecord[]> {
    const rows = this.#all<RecordRow>("select record from operator order by name");
    return Promise.resolve(rows.map((row) => JSON.parse(row.record) as OperatorRecord));
  }

  audit(countMax: number): Promise<readonly AuditRecord[]> {
    const rows = this.#all<AuditRow>("select * from audit order by id desc limit ?", countMax);
    return Promise.resolve(
      rows.map((row) => ({
        version: row.version,
        atMs: row.at_ms,
        who: row.who,
        what: row.what,
      })),
    );
  }

  /** One process has the file, so there is no other writer. */
  onForeignWrite(): () => void {
    return () => undefined;
  }

  close(): Promise<void> {
    this.#db.close();
    return Promise.resolve();
  }

  #token(secretSha256: string): TokenRecord | undefined {
    const row = this.#one<TokenRow>("select * from token where secret_sha256 = ?", secretSha256);
    return row === undefined ? undefined : tokenOf(row);
  }

  #host(name: string): HostRecord | undefined {
    const row = this.#one<RecordRow>("select record from host where name = ?", name);
    return row === undefined ? undefined : (JSON.parse(row.record) as HostRecord);
  }

  #putHost(host: HostRecord): void {
    this.#run("insert or replace into host values (?, ?)", [host.name, JSON.stringify(host)]);
  }

  #position(): Position {
    const position = this.#one<Position>("select epoch, version from position");
    assert(position !== undefined, "the store has a position from the moment it is made");
    return position;
  }

  #one<Row>(sql: string, ...values: SQLInputValue[]): Row | undefined {
    return this.#all<Row>(sql, ...values)[0];
  }

  #all<Row>(sql: string, ...values: SQLInputValue[]): Row[] {
    return this.#statement(sql).all(...values) as Row[];
  }

  #run(sql: string, values: readonly SQLInputValue[] = []): void {
    this.#statement(sql).run(...values);
  }

  #statement(sql: string): StatementSync {
    const made = this.#statements.get(sql) ?? this.#db.prepare(sql);
    this.#statements.set(sql, made);
    return made;
  }

  /** All of it or nothing. Begins as a writer, so that nothing it read can be another writer's by the time it writes. */
  #transaction<T>(run: () => T): T {
    this.#db.exec("begin immediate");
    try {
      const result = run();
      this.#db.exec("commit");
      return result;
    } catch (error) {
      if (this.#db.isTransaction) this.#db.exec("rollback");
      throw error;
    }
  }
}

function tokenOf({ record, used_at_ms: usedAtMs }: TokenRow): TokenRecord {
  const token = JSON.parse(record) as TokenRecord;
  return usedAtMs === null ? token : { ...token, usedAtMs };
}

function allocationOf(row: AllocationRow): Allocation {
  const base = { service: row.service, index: row.idx };
  return row.freed_at_ms === null ? base : { ...base, freedAtMs: row.freed_at_ms };
}
