// The store on Consul: several config servers over one Consul are one logical server. Reads come from memory, which is kept as new
// as Consul's; writes compare-and-set, so a write computed from an older state fails and never overwrites. With Consul away reads
// go on from what was seen last, writes are refused.
import { err, ok, type Result } from "../../agent/base/result.ts";
import type { RowChange } from "./consul-pages.ts";
import { forgetDeadTokens, rowsOfCommit } from "./consul-rows.ts";
import { ConsulState, type ConsulStoreConfig, type ConsulStoreDeps } from "./consul-state.ts";
import {
  type AuditRecord,
  type Commit,
  type HostRecord,
  hostOfUse,
  type MeshState,
  type OperatorRecord,
  type Position,
  type Store,
  type TokenRecord,
  type TokenRefusal,
  type TokenUse,
} from "./store.ts";

export class ConsulStore implements Store {
  readonly #state: ConsulState;

  private constructor(state: ConsulState) {
    this.#state = state;
  }

  /** Reads what Consul holds, or begins anew where it never held anything. Throws StoreUnavailable. */
  static async open(config: ConsulStoreConfig, deps: ConsulStoreDeps): Promise<ConsulStore> {
    return new ConsulStore(await ConsulState.open(config, deps));
  }

  position(): Promise<Position> {
    const { epoch, version } = this.#state.loaded.head;
    return Promise.resolve({ epoch, version });
  }

  state(): Promise<MeshState> {
    const { head, tables } = this.#state.loaded;
    const { resources, hosts, allocations, discovered } = tables;
    const { epoch, version } = head;
    return Promise.resolve({ epoch, version, resources, hosts, allocations, discovered });
  }

  async commit(change: Commit): Promise<Result<Position, "conflict">> {
    return this.#state.write<Position, "conflict">(({ head, tables }) => {
      if (head.version !== change.expectVersion) return err("conflict");
      const { who, what, atMs } = change;
      return ok({
        rows: rowsOfCommit(change, tables, head.version + 1),
        audit: { who, what, atMs },
        value: (position) => position,
      });
    });
  }

  async addToken(token: TokenRecord): Promise<void> {
    await this.#state.write<undefined, never>(({ tables }) => {
      const rows: RowChange[] = [
        ...forgetDeadTokens(tables.tokens, token.createdAtMs),
        ["token", token.secretSha256, token],
      ];
      return ok({ rows, value: () => undefined });
    });
  }

  checkToken(use: TokenUse): Promise<Result<HostRecord, TokenRefusal>> {
    return this.#state.judge(({ tables: { tokens, hostsByName } }) =>
      hostOfUse(tokens.get(use.secretSha256), use, hostsByName.get(use.host)),
    );
  }

  async useToken(use: TokenUse): Promise<Result<HostRecord, TokenRefusal>> {
    return this.#state.write<HostRecord, TokenRefusal>(({ tables }) => {
      const token = tables.tokens.get(use.secretSha256);
      const host = hostOfUse(token, use, tables.hostsByName.get(use.host));
      if (!host.ok || token === undefined) return err(host.ok ? "token_unknown" : host.error);
      const used: TokenRecord = { ...token, usedAtMs: use.atMs };
      return ok({
        rows: [
          ["token", token.secretSha256, used],
          ["host", host.value.name, host.value],
        ],
        audit: { who: token.createdBy, what: [`join host ${host.value.name}`], atMs: use.atMs },
        value: () => host.value,
      });
    });
  }

  host(name: string): Promise<HostRecord | undefined> {
    return Promise.resolve(this.#state.loaded.tables.hostsByName.get(name));
  }

  async putOperator(operator: OperatorRecord): Promise<void> {
    await this.#state.write<undefined, never>(() =>
      ok({ rows: [["operator", operator.name, operator]], value: () => undefined }),
    );
  }

  operators(): Promise<readonly OperatorRecord[]> {
    return Promise.resolve(this.#state.loaded.tables.operators);
  }

  audit(countMax: number): Promise<readonly AuditRecord[]> {
    return this.#state.audit(countMax);
  }

  onForeignWrite(listener: () => void): () => void {
    return this.#state.onForeignWrite(listener);
  }

  close(): Promise<void> {
    return this.#state.close();
  }
}
