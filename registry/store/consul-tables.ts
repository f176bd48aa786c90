// The rows of all buckets as the store's interface hands them out, in the order the embedded store has.
import type { Bucket } from "./consul-pages.ts";
import type {
  Allocation,
  DiscoveredService,
  HostRecord,
  OperatorRecord,
  StoredResource,
  TokenRecord,
} from "./store.ts";

export interface MeshTables {
  readonly resources: readonly StoredResource[];
  readonly hosts: readonly HostRecord[];
  readonly hostsByName: ReadonlyMap<string, HostRecord>;
  readonly allocations: readonly Allocation[];
  readonly discovered: readonly DiscoveredService[];
  readonly operators: readonly OperatorRecord[];
  /** By the hash of its secret. */
  readonly tokens: ReadonlyMap<string, TokenRecord>;
}

/** Rows come from pages whose hash the sealed head names: they are what a server of this mesh wrote. */
export function tablesOf(buckets: Iterable<Bucket>): MeshTables {
  const rows = [...buckets].flatMap((bucket) => [...bucket.values()]);
  const all = <T>(table: string): readonly (readonly [key: string, value: T])[] =>
    rows
      .filter(([of]) => of === table)
      .map(([, key, value]) => [key, value as T] as const)
      .sort(([a], [b]) => (a < b ? -1 : 1));
  const values = <T>(table: string): readonly T[] => all<T>(table).map(([, value]) => value);
  const hosts = values<HostRecord>("host");
  return {
    resources: values<StoredResource>("resource"),
    hosts,
    hostsByName: new Map(hosts.map((host) => [host.name, host])),
    allocations: [...values<Allocation>("allocation")].sort((a, b) => a.index - b.index),
    discovered: values<DiscoveredService>("discovered"),
    operators: values<OperatorRecord>("operator"),
    tokens: new Map(all<TokenRecord>("token")),
  };
}
