// The mesh's certificates are made here: root, intermediate, and X.509-SVIDs (SPIFFE X509-SVID.md) for CSRs whose keys never
// leave their host. ECDSA P-256 throughout. Time is an argument. verify-chain.ts is the other half: what is believed.
import { randomBytes } from "node:crypto";
import type * as X509 from "@peculiar/x509";
import { parseSpiffeId } from "../api/spiffe.ts";
import { err, ok, type Result } from "../base/result.ts";
import { readPem, writePem } from "./pem.ts";
import { x509 } from "./x509-package.ts";

const P256 = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

/** Certificates begin this long before they are issued, for hosts whose clocks are slow. */
export const BACKDATE_MS = 300_000;
export const CSR_BYTES_MAX = 8_192;

/** A signing certificate and its key. */
export interface Authority {
  readonly certificatePem: string;
  /** PKCS#8, PEM. */
  readonly keyPem: string;
}

export interface AuthorityRequest {
  readonly trustDomain: string;
  readonly nowMs: number;
  readonly lifetimeMs: number;
}

/** Self-signed; signs intermediates only (path length 1). */
export async function createRoot(request: AuthorityRequest): Promise<Authority> {
  const keys = await makeKeys();
  const name = authorityName("root", request.trustDomain);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: makeSerial(),
    subject: name,
    issuer: name,
    ...validity(request.nowMs, request.lifetimeMs),
    publicKey: keys.publicKey,
    signingKey: keys.privateKey,
    signingAlgorithm: P256,
    extensions: [
      ...authorityExtensions(request.trustDomain, 1),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return {
    certificatePem: writePem(certificate.rawData, "CERTIFICATE"),
    keyPem: await keyPemOf(keys),
  };
}

/** Signs leaves only (path length 0). Ends with its root at the latest. */
export async function createIntermediate(
  root: Authority,
  request: AuthorityRequest,
): Promise<Authority> {
  const keys = await makeKeys();
  const issuer = await openAuthority(root);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: makeSerial(),
    subject: authorityName("intermediate", request.trustDomain),
    issuer: issuer.certificate.subjectName.toJSON(),
    ...validity(request.nowMs, request.lifetimeMs, issuer.certificate.notAfter.getTime()),
    publicKey: keys.publicKey,
    signingKey: issuer.key,
    signingAlgorithm: P256,
    extensions: [
      ...authorityExtensions(request.trustDomain, 0),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.certificate.publicKey),
    ],
  });
  return {
    certificatePem: writePem(certificate.rawData, "CERTIFICATE"),
    keyPem: await keyPemOf(keys),
  };
}

export interface LeafRequest {
  /** SubjectPublicKeyInfo, DER; see readCsr. */
  readonly publicKey: Uint8Array;
  /** The one SPIFFE ID it will carry. Whether the asker may have it is the caller's decision. */
  readonly identity: string;
  readonly dns?: readonly string[];
  readonly ips?: readonly string[];
  readonly nowMs: number;
  readonly lifetimeMs: number;
  /** Default BACKDATE_MS. */
  readonly backdateMs?: number;
  /** Both default to true: every workload calls and is called. */
  readonly isServer?: boolean;
  readonly isClient?: boolean;
}

/** PEM of the leaf alone: what is presented is [leaf, intermediate]. Ends with its issuer at the latest. */
export async function issueCertificate(
  authority: Authority,
  request: LeafRequest,
): Promise<string> {
  const issuer = await openAuthority(authority);
  const publicKey = new x509.PublicKey(new Uint8Array(request.publicKey));
  const uses = [
    ...((request.isServer ?? true) ? [x509.ExtendedKeyUsage.serverAuth] : []),
    ...((request.isClient ?? true) ? [x509.ExtendedKeyUsage.clientAuth] : []),
  ];
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: makeSerial(),
    subject: [{ O: ["Ironmesh"] }],
    issuer: issuer.certificate.subjectName.toJSON(),
    ...validity(
      request.nowMs,
      request.lifetimeMs,
      issuer.certificate.notAfter.getTime(),
      request.backdateMs,
    ),
    publicKey,
    signingKey: issuer.key,
    signingAlgorithm: P256,
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension(uses),
      new x509.SubjectAlternativeNameExtension([
        { type: "url", value: request.identity },
        ...(request.dns ?? []).map((value) => ({ type: "dns" as const, value })),
        ...(request.ips ?? []).map((value) => ({ type: "ip" as const, value })),
      ]),
      await x509.SubjectKeyIdentifierExtension.create(publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.certificate.publicKey),
    ],
  });
  return writePem(certificate.rawData, "CERTIFICATE");
}

export interface CreatedCsr {
  readonly csrPem: string;
  /** PKCS#8, PEM. Stays on this host, 0600. */
  readonly keyPem: string;
}

/** A fresh P-256 key and a PKCS#10 request for one SPIFFE ID. */
export async function createCsr(identity: string): Promise<CreatedCsr> {
  const keys = await makeKeys();
  const csr = await x509.Pkcs10CertificateRequestGenerator.create({
    name: [{ O: ["Ironmesh"] }],
    keys,
    signingAlgorithm: P256,
    extensions: [new x509.SubjectAlternativeNameExtension([{ type: "url", value: identity }])],
  });
  return { csrPem: writePem(csr.rawData, "CERTIFICATE REQUEST"), keyPem: await keyPemOf(keys) };
}

export type CsrRefusal =
  | "csr_too_large"
  | "csr_malformed"
  | "csr_bad_signature"
  | "csr_wrong_key"
  | "csr_not_spiffe";

/** What a host asks for, once it has proven to hold the key. Everything but the key and the SPIFFE ID in it is ignored:
 *  the issuer decides the rest. */
export interface Csr {
  readonly identity: string;
  /** SubjectPublicKeyInfo, DER; a P-256 key. */
  readonly publicKey: Uint8Array;
}

export async function readCsr(csrPem: string): Promise<Result<Csr, CsrRefusal>> {
  if (csrPem.length > CSR_BYTES_MAX) return err("csr_too_large");
  const der = readPem(csrPem, "CERTIFICATE REQUEST");
  if (der === undefined) return err("csr_malformed");
  try {
    const csr = new x509.Pkcs10CertificateRequest(der);
    const algorithm = csr.publicKey.algorithm as { name: string; namedCurve?: string };
    if (algorithm.name !== "ECDSA" || algorithm.namedCurve !== "P-256") return err("csr_wrong_key");
    if (!(await csr.verify())) return err("csr_bad_signature");
    const identity = onlySpiffeId(csr.getExtensions(SAN_OID));
    if (identity === undefined) return err("csr_not_spiffe");
    return ok({ identity, publicKey: new Uint8Array(csr.publicKey.rawData) });
  } catch {
    return err("csr_malformed"); // The ASN.1 reader throws on what it cannot read.
  }
}

export const SAN_OID = "2.5.29.17";

/** The URI SAN, if there is exactly one and it is an identity of a mesh (X509-SVID 2: exactly one). */
export function onlySpiffeId(extensions: readonly X509.Extension[]): string | undefined {
  const [san] = extensions;
  if (extensions.length !== 1 || !(san instanceof x509.SubjectAlternativeNameExtension))
    return undefined;
  const uris = san.names.items.filter((name) => name.type === "url");
  const uri = uris[0]?.value;
  if (uris.length !== 1 || uri === undefined || !parseSpiffeId(uri).ok) return undefined;
  return uri;
}

async function openAuthority(
  authority: Authority,
): Promise<{ certificate: X509.X509Certificate; key: CryptoKey }> {
  const der = readPem(authority.keyPem, "PRIVATE KEY");
  if (der === undefined) throw new Error("the authority's key is no PKCS#8 PEM");
  return {
    certificate: new x509.X509Certificate(authority.certificatePem),
    key: await crypto.subtle.importKey("pkcs8", der, P256, false, ["sign"]),
  };
}

const makeKeys = (): Promise<CryptoKeyPair> =>
  crypto.subtle.generateKey(P256, true, ["sign", "verify"]) as Promise<CryptoKeyPair>;

const keyPemOf = async (keys: CryptoKeyPair): Promise<string> =>
  writePem(await crypto.subtle.exportKey("pkcs8", keys.privateKey), "PRIVATE KEY");

/** 126 random bits, positive and without a leading zero (RFC 5280 4.1.2.2). */
function makeSerial(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return bytes.toString("hex");
}

/** Names differ for each authority, so that a chain is never built over the wrong one. */
const authorityName = (role: string, trustDomain: string): X509.JsonName => [
  { O: ["Ironmesh"] },
  { CN: [`${role} ${randomBytes(4).toString("hex")} of ${trustDomain}`.slice(0, 64)] },
];

/** A signing certificate's SPIFFE ID is its trust domain's, without a path (X509-SVID 3.1). */
const authorityExtensions = (trustDomain: string, pathLength: number): X509.Extension[] => [
  new x509.BasicConstraintsExtension(true, pathLength, true),
  new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
  new x509.SubjectAlternativeNameExtension([{ type: "url", value: `spiffe://${trustDomain}` }]),
];

const validity = (
  nowMs: number,
  lifetimeMs: number,
  notAfterMaxMs = Number.POSITIVE_INFINITY,
  backdateMs = BACKDATE_MS,
): { notBefore: Date; notAfter: Date } => ({
  notBefore: new Date(nowMs - backdateMs),
  notAfter: new Date(Math.min(nowMs + lifetimeMs, notAfterMaxMs)),
});
