// The certificate authority: a root that signs intermediates and an intermediate that signs everything else, made at the first
// start and kept 0600 in the state directory. It gives a host its own identity and what its grant names, and nothing more.
import { createHmac } from "node:crypto";
import { hostIdentity, parseSpiffeId, serverIdentity } from "../../agent/api/spiffe.ts";
import { err, ok, type Result } from "../../agent/base/result.ts";
import { sha256OfCertificate } from "../../agent/pki/pem.ts";
import { readCertificate } from "../../agent/pki/verify-chain.ts";
import {
  type Authority,
  type CsrRefusal,
  createCsr,
  createIntermediate,
  createRoot,
  issueCertificate,
  readCsr,
} from "../../agent/pki/x509.ts";
import type { AuthorityFiles } from "./authority-files.ts";

const DAY_MS = 86_400_000;
export const LEAF_LIFETIME_MS = DAY_MS;
/** Below this a renewal that has to be tried again may come too late. */
export const LEAF_LIFETIME_MIN_MS = 10_000;
export const INTERMEDIATE_LIFETIME_MS = 365 * DAY_MS;
export const ROOT_LIFETIME_MS = 10 * INTERMEDIATE_LIFETIME_MS;

/** Whom a certificate is for, and what it may be. */
export interface Grant {
  readonly name: string;
  /** `NAMESPACE/ACCOUNT` */
  readonly serviceAccounts: readonly string[];
}

export interface Issued {
  readonly identity: string;
  /** PEM, leaf first, then the intermediate. */
  readonly certificates: readonly string[];
  /** When it was signed. It begins earlier: notBefore is backdated, so half a life is counted from here. */
  readonly issuedAtMs: number;
  readonly notAfterMs: number;
}

export interface ServerCredentials extends Issued {
  readonly keyPem: string;
}

export type IssueRefusal = CsrRefusal | "identity_not_granted";

export interface IssuerDeps {
  readonly files: AuthorityFiles;
  readonly nowMs: () => number;
  /** Of all certificates but the authority's own. Default LEAF_LIFETIME_MS; shorter is for tests. */
  readonly leafLifetimeMs?: number;
}

export class Issuer {
  readonly trustDomain: string;
  readonly #root: Authority;
  readonly #files: AuthorityFiles;
  readonly #nowMs: () => number;
  readonly #leafLifetimeMs: number;
  #intermediate: Authority;

  private constructor(
    trustDomain: string,
    root: Authority,
    intermediate: Authority,
    deps: IssuerDeps,
  ) {
    this.trustDomain = trustDomain;
    this.#root = root;
    this.#intermediate = intermediate;
    this.#files = deps.files;
    this.#nowMs = deps.nowMs;
    this.#leafLifetimeMs = deps.leafLifetimeMs ?? LEAF_LIFETIME_MS;
  }

  /** Opens the authority of the state directory, or makes it there. Throws when it belongs to another trust domain. */
  static async open(trustDomain: string, deps: IssuerDeps): Promise<Issuer> {
    const { leafLifetimeMs = LEAF_LIFETIME_MS } = deps;
    if (leafLifetimeMs < LEAF_LIFETIME_MIN_MS) {
      throw new Error(
        `certificates must live ${LEAF_LIFETIME_MIN_MS / 1000} s at least, not ${leafLifetimeMs / 1000}: a renewal that must be tried again would come too late`,
      );
    }
    const { files } = deps;
    const nowMs = deps.nowMs();
    const known = files.readTrustDomain();
    if (known !== undefined && known !== trustDomain) {
      throw new Error(
        `the state directory belongs to trust domain ${known}, not ${trustDomain}: start with --trust-domain ${known}, or with another --state-dir`,
      );
    }
    if (known === undefined) files.writeTrustDomain(trustDomain);
    let root = files.read("root");
    if (root === undefined) {
      root = await createRoot({ trustDomain, nowMs, lifetimeMs: ROOT_LIFETIME_MS });
      files.write("root", root);
    }
    let intermediate = files.read("intermediate");
    if (intermediate === undefined || isHalfSpent(intermediate, nowMs)) {
      const lifetimeMs = INTERMEDIATE_LIFETIME_MS;
      intermediate = await createIntermediate(root, { trustDomain, nowMs, lifetimeMs });
      files.write("intermediate", intermediate);
    }
    return new Issuer(trustDomain, root, intermediate, deps);
  }

  /** PEM roots that agents and operators trust. */
  get trustBundle(): readonly string[] {
    return [this.#root.certificatePem];
  }

  /** What tokens and `meshctl login` pin: SHA-256, hex, of the root certificate. */
  get caSha256(): string {
    return sha256OfCertificate(this.#root.certificatePem) ?? "";
  }

  /** What the mesh's servers seal their state with in a store that others can write to: whoever has the root's key has it. */
  get storeSealKey(): Uint8Array {
    return createHmac("sha256", this.#root.keyPem)
      .update("ironmesh store seal, version 1")
      .digest();
  }

  /** What the gossip keys are derived from. */
  get gossipSecret(): Uint8Array {
    return createHmac("sha256", this.#root.keyPem).update("ironmesh gossip, version 1").digest();
  }

  /** Signs if the request proves the key and asks for nothing beyond the grant. */
  async issue(csrPem: string, grant: Grant): Promise<Result<Issued, IssueRefusal>> {
    const csr = await readCsr(csrPem);
    if (!csr.ok) return csr;
    if (!isGranted(csr.value.identity, grant, this.trustDomain)) return err("identity_not_granted");
    const { identity, publicKey } = csr.value;
    return ok(await this.#sign(identity, publicKey));
  }

  /** The server's own certificate: serves HTTPS and signs manifests. The key lives in memory only. */
  async issueServer(names: {
    readonly dns: readonly string[];
    readonly ips: readonly string[];
  }): Promise<ServerCredentials> {
    const identity = serverIdentity(this.trustDomain);
    const { csrPem, keyPem } = await createCsr(identity);
    const csr = await readCsr(csrPem);
    if (!csr.ok) throw new Error(`our own certificate request is refused: ${csr.error}`);
    return { ...(await this.#sign(identity, csr.value.publicKey, names)), keyPem };
  }

  /** To be called daily: a long-lived server replaces its intermediate at half its life. */
  async renew(): Promise<void> {
    const nowMs = this.#nowMs();
    if (!isHalfSpent(this.#intermediate, nowMs)) return;
    const { trustDomain } = this;
    const lifetimeMs = INTERMEDIATE_LIFETIME_MS;
    const intermediate = await createIntermediate(this.#root, { trustDomain, nowMs, lifetimeMs });
    this.#files.write("intermediate", intermediate);
    this.#intermediate = intermediate;
  }

  async #sign(
    identity: string,
    publicKey: Uint8Array,
    names: { readonly dns: readonly string[]; readonly ips: readonly string[] } = {
      dns: [],
      ips: [],
    },
  ): Promise<Issued> {
    const authority = this.#intermediate;
    const issuedAtMs = this.#nowMs();
    const leaf = await issueCertificate(authority, {
      publicKey,
      identity,
      ...names,
      nowMs: issuedAtMs,
      lifetimeMs: this.#leafLifetimeMs,
    });
    const facts = readCertificate(leaf);
    if (facts === undefined) throw new Error("a certificate of our own cannot be read");
    const { notAfterMs } = facts;
    return { identity, certificates: [leaf, authority.certificatePem], issuedAtMs, notAfterMs };
  }
}

export function isGranted(identity: string, grant: Grant, trustDomain: string): boolean {
  if (identity === hostIdentity(trustDomain, grant.name)) return true;
  const parsed = parseSpiffeId(identity);
  if (!parsed.ok || parsed.value.trustDomain !== trustDomain) return false;
  const { namespace, serviceAccount } = parsed.value;
  return grant.serviceAccounts.includes(`${namespace}/${serviceAccount}`);
}

function isHalfSpent({ certificatePem }: Authority, nowMs: number): boolean {
  const facts = readCertificate(certificatePem);
  return facts === undefined || nowMs > (facts.notBeforeMs + facts.notAfterMs) / 2;
}
