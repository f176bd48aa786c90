// How an agent knows its config server: TLS 1.3 under the trust domain's roots, and the server's SPIFFE ID instead of its host
// name, so that an address may change hands without anybody being fooled. The check runs inside the handshake: a refused server
// never sees a byte of ours, nor our certificate.
import { serverIdentity } from "../api/spiffe.ts";
import type { TrustRoots } from "../pki/trust-bundle.ts";

/** PEM. Without a certificate one can only join. */
export interface OwnCertificate {
  /** Leaf first. */
  readonly certificates: readonly string[];
  readonly keyPem: string;
}

export interface ServerTlsOptions {
  readonly ca: string[];
  readonly cert?: string;
  readonly key?: string;
  readonly minVersion: "TLSv1.3";
  readonly rejectUnauthorized: true;
  checkServerIdentity(host: string, certificate: { subjectaltname?: string }): Error | undefined;
}

export function serverTls(trust: TrustRoots, own: OwnCertificate | undefined): ServerTlsOptions {
  const expected = serverIdentity(trust.trustDomain);
  return {
    ca: [...trust.roots],
    ...(own === undefined ? {} : { cert: own.certificates.join(""), key: own.keyPem }),
    minVersion: "TLSv1.3",
    rejectUnauthorized: true,
    checkServerIdentity: (host, certificate) => {
      const shown = uriIn(certificate.subjectaltname ?? "");
      if (shown === expected) return undefined;
      return new Error(
        `${host} is not the config server: its certificate is for ${shown ?? "no SPIFFE ID"}, not ${expected}`,
      );
    },
  };
}

/** The only URI in a SAN as node:tls writes it. A quoted entry holds characters that could forge a separator: none of ours does. */
export function uriIn(subjectAltName: string): string | undefined {
  if (subjectAltName.includes('"')) return undefined;
  const uris = subjectAltName.split(", ").filter((entry) => entry.startsWith("URI:"));
  return uris.length === 1 ? uris[0]?.slice(4) : undefined;
}
