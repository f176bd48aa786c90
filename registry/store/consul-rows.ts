// What a write means in rows of the tables that consul-pages.ts keeps. Pure.
import type { RowChange } from "./consul-pages.ts";
import type { MeshTables } from "./consul-tables.ts";
import { type Commit, DEAD_TOKEN_KEPT_MS, keyOf, keyText, type TokenRecord } from "./store.ts";

/** In order: a later row of the same key wins, so removals come first. */
export function rowsOfCommit(change: Commit, before: MeshTables, version: number): RowChange[] {
  const rows: RowChange[] = [];
  for (const key of change.remove) rows.push(["resource", keyText(key), undefined]);
  for (const document of change.put)
    rows.push(["resource", keyText(keyOf(document)), { document, revision: version }]);
  for (const name of change.removeHosts) rows.push(["host", name, undefined]);
  for (const host of change.putHosts) rows.push(["host", host.name, host]);
  // An index may pass from one service to another: nobody else keeps it.
  const given = new Set(change.putAllocations.map(({ index }) => index));
  for (const { service, index } of before.allocations)
    if (given.has(index)) rows.push(["allocation", service, undefined]);
  for (const allocation of change.putAllocations)
    rows.push(["allocation", allocation.service, allocation]);
  for (const name of change.removeDiscovered) rows.push(["discovered", name, undefined]);
  for (const service of change.putDiscovered) rows.push(["discovered", service.name, service]);
  return rows;
}

/** Tokens whose secret is refused as unknown from now on. */
export const forgetDeadTokens = (
  tokens: ReadonlyMap<string, TokenRecord>,
  nowMs: number,
): RowChange[] =>
  [...tokens.values()]
    .filter(({ expiresAtMs }) => expiresAtMs < nowMs - DEAD_TOKEN_KEPT_MS)
    .map(({ secretSha256 }) => ["token", secretSha256, undefined]);
