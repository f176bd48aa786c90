// Pages and long audit records in Consul: written once each, read and checked by hash, removed when no head names them any more.
import type { ConsulClient } from "../consul/client.ts";
import { TRANSACTION_OPERATIONS_MAX } from "../consul/client.ts";
import {
  type Bucket,
  type Head,
  numberOf,
  type PartName,
  partsOf,
  readBucket,
  sha256Of,
} from "./consul-pages.ts";

/** Parts that are asked for or written at once. */
const AT_ONCE = 16;

export type PartKind = "page" | "audit-part";

export class ConsulParts {
  readonly #prefix: string;
  readonly #consul: ConsulClient;

  constructor(prefix: string, consul: ConsulClient) {
    this.#prefix = prefix;
    this.#consul = consul;
  }

  /** `name` must never have been used. */
  async write(kind: PartKind, name: string, text: string): Promise<readonly PartName[]> {
    const parts = [...partsOf(text)].map((part, i) => ({
      part,
      named: { name: `${name}-${i}`, sha256: sha256Of(part) },
    }));
    await atOnce(parts, ({ part, named }) =>
      this.#consul.putKey(this.#key(kind, named.name), part),
    );
    return parts.map(({ named }) => named);
  }

  /** Undefined: a part is gone or is not what was written. */
  async read(kind: PartKind, parts: readonly PartName[]): Promise<string | undefined> {
    const texts = new Map<string, string>();
    await atOnce(parts, async ({ name, sha256 }) => {
      const { value } = await this.#consul.getKey(this.#key(kind, name));
      if (value !== undefined && sha256Of(value.value) === sha256) texts.set(name, value.value);
    });
    if (texts.size !== parts.length) return undefined;
    return parts.map(({ name }) => texts.get(name) ?? "").join("");
  }

  /** All of a head's buckets; those that the head before named too are not read again. Undefined: see read(). */
  async buckets(
    head: Head,
    before: Head,
    known: ReadonlyMap<number, Bucket>,
  ): Promise<ReadonlyMap<number, Bucket> | undefined> {
    const buckets = new Map<number, Bucket>();
    let isWhole = true;
    await atOnce(Object.entries(head.pages), async ([text, parts]) => {
      const number = Number(text);
      const held = known.get(number);
      if (held !== undefined && namesOf(before.pages[text]) === namesOf(parts)) {
        buckets.set(number, held);
        return;
      }
      const page = await this.read("page", parts);
      if (page === undefined) isWhole = false;
      else buckets.set(number, readBucket(page));
    });
    return isWhole ? buckets : undefined;
  }

  async remove(kind: PartKind, names: readonly string[]): Promise<void> {
    for (let from = 0; from < names.length; from += TRANSACTION_OPERATIONS_MAX) {
      const some = names.slice(from, from + TRANSACTION_OPERATIONS_MAX);
      await this.#consul.transact(
        some.map((name) => ({ verb: "delete", key: this.#key(kind, name) })),
      );
    }
  }

  /** Removes pages that writers left which died: of a sequence this head has reached, and not named by it. `head` must have
   *  been read before the list is; a list that is too short only leaves more to the next sweep. */
  async sweep(head: Head): Promise<void> {
    const named = new Set(Object.values(head.pages).flatMap((parts) => parts.map((p) => p.name)));
    const found = await this.names("page");
    await this.remove(
      "page",
      found.filter((name) => numberOf(name) <= head.sequence && !named.has(name)),
    );
  }

  async names(kind: PartKind): Promise<readonly string[]> {
    const place = this.#key(kind, "");
    return (await this.#consul.keysBelow(place)).map((key) => key.slice(place.length));
  }

  #key(kind: PartKind, name: string): string {
    return `${this.#prefix}/${kind}/${name}`;
  }
}

const namesOf = (parts: readonly PartName[] | undefined): string =>
  (parts ?? []).map(({ name }) => name).join(" ");

async function atOnce<T>(items: readonly T[], run: (item: T) => Promise<void>): Promise<void> {
  const left = [...items].reverse();
  const lane = async (): Promise<void> => {
    for (let item = left.pop(); item !== undefined; item = left.pop()) await run(item);
  };
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, items.length) }, lane));
}
