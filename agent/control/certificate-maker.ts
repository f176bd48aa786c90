// The CertificateMaker on pki, which is loaded at the first certificate that is asked for, not at an agent's start.
import { err, ok, type Result } from "../base/result.ts";
import type { CertificateMaker } from "./identity.ts";

export class PkiCertificateMaker implements CertificateMaker {
  readonly #trustDomain: string;
  readonly #wallMs: () => number;

  constructor(config: { trustDomain: string }, deps: { wallMs(): number }) {
    this.#trustDomain = config.trustDomain;
    this.#wallMs = deps.wallMs;
  }

  async createCsr(identity: string): Promise<{ csrPem: string; keyPem: string }> {
    return (await import("../pki/x509.ts")).createCsr(identity);
  }

  async check(
    asked: { readonly identity: string; readonly keyPem: string },
    certificates: readonly string[],
    roots: readonly string[],
  ): Promise<Result<{ notAfterMs: number }, string>> {
    const { createPrivateKey, X509Certificate } = await import("node:crypto");
    const { verifyChain, readCertificate } = await import("../pki/verify-chain.ts");
    const trust = { trustDomain: this.#trustDomain, roots };
    const chain = await verifyChain(certificates, trust, this.#wallMs());
    if (!chain.ok) return err(chain.error);
    if (chain.value !== asked.identity) return err(`it is for ${chain.value}`);
    const [leaf = ""] = certificates;
    if (!new X509Certificate(leaf).checkPrivateKey(createPrivateKey(asked.keyPem)))
      return err("it is for another key");
    return ok({ notAfterMs: readCertificate(leaf)?.notAfterMs ?? 0 });
  }
}
