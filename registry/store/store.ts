// What the config server remembers, behind an interface: embedded SQLite now, Consul's KV later; test/contract/
// store.contract.ts holds both to it. One write is one transaction. A write names the version it was computed from, so that
// several servers over one store never lose each other's changes: on `conflict`, read again and compute again.

import { groupOf } from "../../agent/api/resource.ts";
import type { ResourceDocument } from "../../agent/api/session.ts";
import type { Result } from "../../agent/base/result.ts";

/** `epoch` rises when the whole was replaced, `version` with every change that agents can see. */
export interface Position {
  readonly epoch: number;
  readonly version: number;
}

export interface ResourceKey {
  readonly apiVersion: string;
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
}

export interface StoredResource {
  readonly document: ResourceDocument;
  /** The version that last changed it. */
  readonly revision: number;
}

/** A host that joined. */
export interface HostRecord {
  readonly name: string;
  /** `NAMESPACE/ACCOUNT`, as its token granted; nothing the host says widens it. */
  readonly serviceAccounts: readonly string[];
  /** Where the host's workloads are reached; stated by its token, or the address its session came from. */
  readonly addresses: readonly string[];
  /** True when an operator stated the addresses: then what is observed does not replace them. */
  readonly areAddressesPinned: boolean;
  readonly joinedAtMs: number;
}

/** The secret itself is never stored: only its SHA-256, hex. */
export interface TokenRecord {
  readonly secretSha256: string;
  readonly host: string;
  readonly serviceAccounts: readonly string[];
  readonly addresses: readonly string[];
  readonly createdBy: string;
  readonly createdAtMs: number;
  readonly expiresAtMs: number;
  readonly usedAtMs?: number;
}

export interface OperatorRecord {
  readonly name: string;
  readonly secretSha256: string;
  readonly createdAtMs: number;
}

/** A service's place in the virtual ranges; kept after the service is gone so that no other gets it within a day. */
export interface Allocation {
  readonly service: string;
  readonly index: number;
  readonly freedAtMs?: number;
}

export interface AuditRecord {
  readonly version: number;
  readonly atMs: number;
  readonly who: string;
  /** E.g. `apply VirtualService default/reviews`. */
  readonly what: string;
}

/** All of one version, read at one moment. */
export interface MeshState extends Position {
  readonly resources: readonly StoredResource[];
  readonly hosts: readonly HostRecord[];
  readonly allocations: readonly Allocation[];
}

export interface Commit {
  /** The version the change was computed from. */
  readonly expectVersion: number;
  readonly put: readonly ResourceDocument[];
  readonly remove: readonly ResourceKey[];
  readonly putHosts: readonly HostRecord[];
  readonly putAllocations: readonly Allocation[];
  readonly who: string;
  readonly what: readonly string[];
  readonly atMs: number;
}

export interface TokenUse {
  readonly secretSha256: string;
  /** The host that presents it; must be the one the token names. */
  readonly host: string;
  readonly atMs: number;
  /** Where the request came from: the host's address when the token states none. */
  readonly observedAddress: string | undefined;
}

export type TokenRefusal = "token_unknown" | "token_used" | "token_expired" | "token_wrong_host";

export interface Store {
  position(): Promise<Position>;
  state(): Promise<MeshState>;
  /** Acknowledged means durable: what resolved survives kill -9 and power loss. */
  commit(change: Commit): Promise<Result<Position, "conflict">>;

  addToken(token: TokenRecord): Promise<void>;
  /** Marks the token used and writes the host's record in one transaction: exactly one caller ever succeeds. */
  useToken(use: TokenUse): Promise<Result<HostRecord, TokenRefusal>>;
  host(name: string): Promise<HostRecord | undefined>;

  putOperator(operator: OperatorRecord): Promise<void>;
  operators(): Promise<readonly OperatorRecord[]>;
  /** Newest first. */
  audit(countMax: number): Promise<readonly AuditRecord[]>;
  close(): Promise<void>;
}

export const keyOf = (document: ResourceDocument): ResourceKey => ({
  apiVersion: document.apiVersion,
  kind: document.kind,
  namespace: document.metadata.namespace,
  name: document.metadata.name,
});

/** What makes a resource the same resource: `networking.istio.io/v1` and `v1beta1` of a kind and name are one. */
export const keyText = ({ apiVersion, kind, namespace, name }: ResourceKey): string =>
  `${groupOf(apiVersion)}/${kind}/${namespace}/${name}`;
