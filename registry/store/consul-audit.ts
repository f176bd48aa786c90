// Who did what, one record a version, written in the transaction that makes the version. A long one (an apply of thousands of
// documents) lies in parts of its own, written before; the record then names them.
import * as z from "zod";
import type { ConsulClient, KvOperation } from "../consul/client.ts";
import { numberOf, type PartName, padded, parseJson } from "./consul-pages.ts";
import type { ConsulParts } from "./consul-parts.ts";
import type { Sealer } from "./seal.ts";
import type { AuditRecord } from "./store.ts";

/** Older versions' records are dropped, so that what we keep in Consul stays bounded. */
export const AUDIT_VERSIONS_MAX = 2_000;
/** With the head it must fit one transaction. */
const INLINE_CHARS_MAX = 65_536;
const AT_ONCE = 32;

export interface AuditEntry {
  readonly version: number;
  readonly who: string;
  readonly what: readonly string[];
  readonly atMs: number;
}

const entryShape = z.strictObject({
  version: z.int(),
  who: z.string(),
  atMs: z.number(),
  what: z.array(z.string()),
});
const storedShape = z.union([
  entryShape,
  z.strictObject({ parts: z.array(z.strictObject({ name: z.string(), sha256: z.string() })) }),
]);

interface AuditDeps {
  readonly consul: ConsulClient;
  readonly parts: ConsulParts;
  readonly sealer: Sealer;
}

export class ConsulAudit {
  readonly #place: string;
  readonly #deps: AuditDeps;

  constructor(prefix: string, deps: AuditDeps) {
    this.#place = `${prefix}/audit/`;
    this.#deps = deps;
  }

  /** To be part of the transaction that makes the version. */
  async operations(entry: AuditEntry, attempt: string): Promise<readonly KvOperation[]> {
    const { version } = entry;
    const key = this.#place + padded(version);
    const text = JSON.stringify(entry);
    const stored =
      text.length <= INLINE_CHARS_MAX
        ? text
        : JSON.stringify({ parts: await this.#long(text, entry, attempt) });
    const old = version - AUDIT_VERSIONS_MAX;
    return [
      { verb: "set", key, value: this.#deps.sealer.seal(key, stored) },
      ...(old > 0 ? [{ verb: "delete", key: this.#place + padded(old) } as const] : []),
    ];
  }

  /** Newest first. What is not sealed by us is left out. */
  async read(countMax: number): Promise<readonly AuditRecord[]> {
    const keys = [...(await this.#deps.consul.keysBelow(this.#place))].sort().reverse();
    const found: AuditRecord[] = [];
    for (let from = 0; from < keys.length && found.length < countMax; from += AT_ONCE) {
      const some = keys.slice(from, from + AT_ONCE);
      for (const entry of await Promise.all(some.map((key) => this.#entry(key)))) {
        if (entry === undefined) continue;
        const { version, who, atMs, what } = entry;
        for (const line of [...what].reverse()) found.push({ version, atMs, who, what: line });
      }
    }
    return found.slice(0, countMax);
  }

  /** Removes the parts of records that are dropped already. */
  async sweep(version: number): Promise<void> {
    const names = await this.#deps.parts.names("audit-part");
    const old = names.filter((name) => numberOf(name) <= version - AUDIT_VERSIONS_MAX);
    await this.#deps.parts.remove("audit-part", old);
  }

  #long(text: string, { version }: AuditEntry, attempt: string): Promise<readonly PartName[]> {
    return this.#deps.parts.write("audit-part", `${padded(version)}-${attempt}`, text);
  }

  async #entry(key: string): Promise<AuditEntry | undefined> {
    const { consul, parts, sealer } = this.#deps;
    const { value } = await consul.getKey(key);
    const text = value === undefined ? undefined : sealer.open(key, value.value);
    const stored = storedShape.safeParse(text === undefined ? undefined : parseJson(text));
    if (!stored.success) return undefined;
    if (!("parts" in stored.data)) return stored.data;
    const whole = await parts.read("audit-part", stored.data.parts);
    const entry = entryShape.safeParse(whole === undefined ? undefined : parseJson(whole));
    return entry.success ? entry.data : undefined;
  }
}
