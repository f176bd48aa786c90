// What the config server remembers, behind an interface: embedded SQLite, or Consul's KV; test/contract/store.contract.ts holds
// both to it. One write is one transaction. A write names the version it was computed from, so that
// several servers over one store never lose each other's changes: on `conflict`, read again and compute again.

import { groupOf } from "../../agent/api/resource.ts";
import type { ResourceDocument } from "../../agent/api/session.ts";
import { err, ok, type Result } from "../../agent/base/result.ts";

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
  /** When it became a member, which joining again does not change; absent: before this was kept. What a machine that had the name
   *  before it still holds counts for nothing. */
  readonly memberSinceMs?: number;
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

/** A service that another catalog knows (Consul) and nobody declared here: what one server saw of it, so that all servers and
 *  all versions agree. */
export interface DiscoveredService {
  /** A DNS label, unique among them. */
  readonly name: string;
  /** What its instances are said to speak; empty: the first bytes tell. */
  readonly protocol: "HTTP" | "TCP" | "";
  readonly endpoints: readonly DiscoveredEndpoint[];
}

export interface DiscoveredEndpoint {
  /** An IP address that other hosts can mean. */
  readonly address: string;
  readonly port: number;
  readonly weight: number;
  readonly labels: { readonly [name: string]: string };
}

/** All of one version, read at one moment. */
export interface MeshState extends Position {
  readonly resources: readonly StoredResource[];
  readonly hosts: readonly HostRecord[];
  readonly allocations: readonly Allocation[];
  /** Sorted by name. */
  readonly discovered: readonly DiscoveredService[];
}

export interface Commit {
  /** The version the change was computed from. */
  readonly expectVersion: number;
  readonly put: readonly ResourceDocument[];
  readonly remove: readonly ResourceKey[];
  readonly putHosts: readonly HostRecord[];
  /** By name. */
  readonly removeHosts: readonly string[];
  readonly putAllocations: readonly Allocation[];
  readonly putDiscovered: readonly DiscoveredService[];
  /** By name. */
  readonly removeDiscovered: readonly string[];
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

/** The store itself is away or not to be believed. Reads may go on from memory; no write is half done. */
export class StoreUnavailable extends Error {
  /** What the operator does next. */
  readonly next: string;

  constructor(message: string, next: string, cause?: unknown) {
    super(message, { cause });
    this.next = next;
  }
}

/** Methods that write, and reads of what is not in memory, reject with StoreUnavailable. */
export interface Store {
  position(): Promise<Position>;
  state(): Promise<MeshState>;
  /** Acknowledged means durable: what resolved survives kill -9 and power loss. */
  commit(change: Commit): Promise<Result<Position, "conflict">>;

  addToken(token: TokenRecord): Promise<void>;
  /** What useToken would say now, with nothing changed. Tokens are found by the SHA-256 of 256 random bits: how long that takes tells
   *  of a hash that nobody can aim at. */
  checkToken(use: TokenUse): Promise<Result<HostRecord, TokenRefusal>>;
  /** Marks the token used and writes the host's record in one transaction: exactly one caller ever succeeds. */
  useToken(use: TokenUse): Promise<Result<HostRecord, TokenRefusal>>;
  host(name: string): Promise<HostRecord | undefined>;

  putOperator(operator: OperatorRecord): Promise<void>;
  operators(): Promise<readonly OperatorRecord[]>;
  /** Newest first. */
  audit(countMax: number): Promise<readonly AuditRecord[]>;
  /** Calls back after another server's write came, which state() then shows. Returns how to end it. */
  onForeignWrite(listener: () => void): () => void;
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

/** Used and expired tokens are forgotten after this long: by then their secret is refused as unknown. */
export const DEAD_TOKEN_KEPT_MS = 30 * 86_400_000;

/** The host that a token makes when it is used, or why it makes none. */
export function hostOfUse(
  token: TokenRecord | undefined,
  use: TokenUse,
  before: HostRecord | undefined,
): Result<HostRecord, TokenRefusal> {
  if (token === undefined) return err("token_unknown");
  if (token.host !== use.host) return err("token_wrong_host");
  if (token.usedAtMs !== undefined) return err("token_used");
  if (use.atMs >= token.expiresAtMs) return err("token_expired");
  const observed = use.observedAddress === undefined ? [] : [use.observedAddress];
  return ok({
    name: token.host,
    serviceAccounts: token.serviceAccounts,
    addresses: token.addresses.length > 0 ? token.addresses : observed,
    areAddressesPinned: token.addresses.length > 0,
    joinedAtMs: use.atMs,
    ...(before === undefined
      ? { memberSinceMs: use.atMs }
      : before.memberSinceMs === undefined
        ? {}
        : { memberSinceMs: before.memberSinceMs }),
  });
}
