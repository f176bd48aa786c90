// Keys and certificates on disk, one 0600 file per identity under STATE/identities, so that key and certificate can never be of
// different generations. A file that is damaged is passed over and told: its identity is asked for anew.
import { join } from "node:path";
import { parseSpiffeId } from "../api/spiffe.ts";
import type { Log } from "../base/log.ts";
import { namesIn, readIfThere, removeDrafts, removeDurably, writeDurably } from "./durable-file.ts";

export interface HeldIdentity {
  readonly identity: string;
  /** PEM, leaf first. */
  readonly certificates: readonly string[];
  /** PKCS#8, PEM. Made on this host; never leaves it. */
  readonly keyPem: string;
  /** This host's wall clock when the certificate came. */
  readonly issuedAtMs: number;
  readonly notAfterMs: number;
}

export interface IdentityFiles {
  load(): Promise<readonly HeldIdentity[]>;
  write(held: HeldIdentity): Promise<void>;
  remove(identity: string): Promise<void>;
}

const FILE_BYTES_MAX = 131_072;

export class DiskIdentityFiles implements IdentityFiles {
  readonly #directory: string;
  readonly #log: Log;

  constructor(config: { stateDir: string }, deps: { log: Log }) {
    this.#directory = join(config.stateDir, "identities");
    this.#log = deps.log;
  }

  async load(): Promise<readonly HeldIdentity[]> {
    await removeDrafts(this.#directory);
    const found: HeldIdentity[] = [];
    for (const name of await namesIn(this.#directory)) {
      if (!name.endsWith(".json")) continue;
      const held = await this.#read(join(this.#directory, name));
      if (held !== undefined && fileOf(held.identity) === name) found.push(held);
      else this.#log.error("a stored identity is damaged and asked for anew", { file: name });
    }
    return found;
  }

  write(held: HeldIdentity): Promise<void> {
    return writeDurably(join(this.#directory, fileOf(held.identity)), `${JSON.stringify(held)}\n`);
  }

  remove(identity: string): Promise<void> {
    return removeDurably(join(this.#directory, fileOf(identity)));
  }

  async #read(path: string): Promise<HeldIdentity | undefined> {
    const text = (await readIfThere(path, FILE_BYTES_MAX)) ?? "";
    try {
      return checked(JSON.parse(text));
    } catch {
      return undefined; // Torn: told by load().
    }
  }
}

/** Neither part can hold a slash or an `@` (see parseSpiffeId). */
function fileOf(identity: string): string {
  const id = parseSpiffeId(identity);
  if (!id.ok) throw new Error(`not an identity: ${id.error}`);
  return `${id.value.namespace}@${id.value.serviceAccount}.json`;
}

function checked(value: unknown): HeldIdentity | undefined {
  const { identity, certificates, keyPem, issuedAtMs, notAfterMs } = (value ?? {}) as {
    [name: string]: unknown;
  };
  if (typeof identity !== "string" || !parseSpiffeId(identity).ok || typeof keyPem !== "string")
    return undefined;
  if (!Array.isArray(certificates) || !certificates.every((pem) => typeof pem === "string"))
    return undefined;
  if (typeof issuedAtMs !== "number" || typeof notAfterMs !== "number") return undefined;
  return { identity, certificates, keyPem, issuedAtMs, notAfterMs };
}
