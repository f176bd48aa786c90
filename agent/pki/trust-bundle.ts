// Whom a trust domain believes: its roots. Replaced as a whole, named by a hash so that holders can tell whether they have it.
import { createHash } from "node:crypto";
import { err, ok, type Result } from "../base/result.ts";
import { PEM_BYTES_MAX, sha256OfCertificate } from "./pem.ts";

export const ROOTS_MAX = 16;

/** The values alone, as they are stored and handed to TLS. */
export interface TrustRoots {
  readonly trustDomain: string;
  /** PEM, one certificate each. */
  readonly roots: readonly string[];
}

export class TrustBundle implements TrustRoots {
  readonly trustDomain: string;
  #roots: readonly string[] = [];
  #hash = hashOfRoots([]);

  constructor(trustDomain: string) {
    this.trustDomain = trustDomain;
  }

  get roots(): readonly string[] {
    return this.#roots;
  }

  /** SHA-256, hex, over the roots' hashes in order of hash: equal for equal sets. */
  get hash(): string {
    return this.#hash;
  }

  /** Takes all or none. True: the set changed. An empty set is refused: it would cut the host off for good. */
  replace(roots: readonly string[]): Result<boolean, string> {
    if (roots.length === 0) return err("a trust bundle without roots trusts nobody");
    if (roots.length > ROOTS_MAX) return err(`a trust bundle has at most ${ROOTS_MAX} roots`);
    const byHash = new Map<string, string>();
    for (const root of roots) {
      const hash = sha256OfCertificate(root);
      if (hash === undefined)
        return err(`a root is no certificate in PEM of at most ${PEM_BYTES_MAX} bytes`);
      byHash.set(hash, root);
    }
    const hash = hashOfRoots([...byHash.keys()]);
    if (hash === this.#hash) return ok(false);
    this.#roots = [...byHash.values()];
    this.#hash = hash;
    return ok(true);
  }
}

const hashOfRoots = (hashes: readonly string[]): string =>
  createHash("sha256")
    .update([...hashes].sort().join("\n"))
    .digest("hex");
