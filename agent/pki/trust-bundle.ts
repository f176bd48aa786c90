// Whom a trust domain believes: its roots. Replaced as a whole, named by a hash so that holders can tell whether they have it.
import { err, ok, type Result } from "../base/result.ts";
import { PEM_BYTES_MAX, readPem, sha256OfCertificate } from "./pem.ts";
import { sha256Hex } from "./sha256.ts";

export const ROOTS_MAX = 16;

/** The values alone, as they are stored and handed to TLS. */
export interface TrustRoots {
  readonly trustDomain: string;
  /** PEM, one certificate each. */
  readonly roots: readonly string[];
}

export class TrustBundle implements TrustRoots {
  readonly trustDomain: string;
  /** DER in base64 -> PEM. */
  #roots: ReadonlyMap<string, string> = new Map();
  #hash: string | undefined;

  constructor(trustDomain: string) {
    this.trustDomain = trustDomain;
  }

  get roots(): readonly string[] {
    return [...this.#roots.values()];
  }

  /** SHA-256, hex, over the roots' hashes in order of hash: equal for equal sets. */
  get hash(): string {
    this.#hash ??= hashOfRoots(this.roots.map((root) => sha256OfCertificate(root) ?? ""));
    return this.#hash;
  }

  /** Takes all or none. True: the set changed. An empty set is refused: it would cut the host off for good. */
  replace(roots: readonly string[]): Result<boolean, string> {
    if (roots.length === 0) return err("a trust bundle without roots trusts nobody");
    if (roots.length > ROOTS_MAX) return err(`a trust bundle has at most ${ROOTS_MAX} roots`);
    const taken = new Map<string, string>();
    for (const root of roots) {
      const der = readPem(root, "CERTIFICATE");
      if (der === undefined)
        return err(`a root is no certificate in PEM of at most ${PEM_BYTES_MAX} bytes`);
      taken.set(Buffer.from(der).toString("base64"), root);
    }
    const before = this.#roots;
    if (taken.size === before.size && [...taken.keys()].every((der) => before.has(der)))
      return ok(false);
    this.#roots = taken;
    this.#hash = undefined;
    return ok(true);
  }
}

const hashOfRoots = (hashes: readonly string[]): string => sha256Hex([...hashes].sort().join("\n"));
