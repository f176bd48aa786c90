// What is believed of a certificate chain: RFC 5280 path validation as far as SPIFFE X.509-SVIDs need it (X509-SVID.md 4, 5).
// The TLS library checks chains too; this is for what TLS does not carry (manifests, answers of the server) and for the rules
// that TLS does not know. Whoever presents a chain is a stranger: everything is bounded, nothing throws.
import type * as X509 from "@peculiar/x509";
import { parseSpiffeId } from "../api/spiffe.ts";
import { err, ok, type Result } from "../base/result.ts";
import { CHAIN_LENGTH_MAX } from "./chain-length.ts";
import { readPem } from "./pem.ts";
import type { TrustRoots } from "./trust-bundle.ts";
import { onlySpiffeId, SAN_OID } from "./x509.ts";
import { x509 } from "./x509-package.ts";

export type ChainRefusal =
  | "no_certificate"
  | "malformed"
  | "chain_too_long"
  | "untrusted_issuer"
  | "bad_signature"
  | "expired"
  | "not_yet_valid"
  | "not_spiffe"
  | "wrong_trust_domain"
  | "leaf_is_ca"
  | "issuer_is_no_ca"
  | "wrong_key_usage"
  | "path_too_long"
  | "unknown_critical_extension"
  | "weak_algorithm";

export type LeafUse = "server" | "client" | "any";

interface Held {
  readonly identity: string;
  readonly fromMs: number;
  readonly untilMs: number;
}

/** Chains that held, and while they do; the one used last at the end. A server signs every change with the same one for hours, and to
 *  read it takes longer than all else that an agent does with a change. Between two changes the agent's own identities are renewed. */
const held = new Map<string, Held>();
const HELD_MAX = 4;

function hold(question: string, answer: Held): void {
  held.delete(question);
  held.set(question, answer);
  for (const oldest of held.keys()) {
    if (held.size <= HELD_MAX) return;
    held.delete(oldest);
  }
}

/** The leaf's SPIFFE ID, or the first rule that does not hold. */
export async function verifyChain(
  chainPem: readonly string[],
  trust: TrustRoots,
  nowMs: number,
  use: LeafUse = "any",
): Promise<Result<string, ChainRefusal>> {
  if (chainPem.length > CHAIN_LENGTH_MAX) return err("chain_too_long");
  const question = JSON.stringify([chainPem, trust.roots, trust.trustDomain, use]);
  const known = held.get(question);
  if (known !== undefined && known.fromMs <= nowMs && nowMs <= known.untilMs) {
    hold(question, known);
    return ok(known.identity);
  }
  const chain = readCertificates(chainPem);
  const roots = readCertificates(trust.roots);
  if (chain === undefined || roots === undefined) return err("malformed");
  const [leaf] = chain;
  if (leaf === undefined) return err("no_certificate");
  try {
    const path = await anchor(chain, roots);
    if (!path.ok) return path;
    const identity = checkLeaf(leaf, trust.trustDomain, use);
    if (!identity.ok) return identity;
    const refusal =
      (await checkPath(path.value, trust.trustDomain)) ?? checkTimes(path.value, nowMs);
    if (refusal !== undefined) return err(refusal);
    hold(question, { identity: identity.value, ...validity(path.value) });
    return identity;
  } catch {
    return err("malformed"); // The ASN.1 reader reads extensions late, and throws on what it cannot read.
  }
}

export interface CertificateFacts {
  /** Undefined for what is no X.509-SVID. */
  readonly identity: string | undefined;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly serial: string;
}

/** Reads without believing. */
export function readCertificate(pem: string): CertificateFacts | undefined {
  const certificate = readCertificates([pem])?.[0];
  if (certificate === undefined) return undefined;
  return {
    identity: onlySpiffeId(certificate.getExtensions(SAN_OID)),
    notBeforeMs: certificate.notBefore.getTime(),
    notAfterMs: certificate.notAfter.getTime(),
    serial: certificate.serialNumber,
  };
}

function readCertificates(pems: readonly string[]): X509.X509Certificate[] | undefined {
  const certificates: X509.X509Certificate[] = [];
  for (const pem of pems) {
    const der = readPem(pem, "CERTIFICATE");
    if (der === undefined) return undefined;
    try {
      certificates.push(new x509.X509Certificate(der));
    } catch {
      return undefined; // Not ASN.1 of a certificate.
    }
  }
  return certificates;
}

/** Leaf first, ending in the root of the bundle that signed the last one. Roots that come with the chain count for nothing. */
async function anchor(
  chain: readonly X509.X509Certificate[],
  roots: readonly X509.X509Certificate[],
): Promise<Result<readonly X509.X509Certificate[], ChainRefusal>> {
  const last = chain.at(-1) as X509.X509Certificate;
  if (chain.length > 1 && roots.some((root) => root.equal(last))) return ok(chain);
  const named = roots.filter((root) => root.subject === last.issuer);
  if (named.length === 0) return err("untrusted_issuer");
  for (const root of named) {
    if (await isSigned(last, root)) return ok([...chain, root]);
  }
  return err("bad_signature");
}

const isSigned = (
  certificate: X509.X509Certificate,
  issuer: X509.X509Certificate,
): Promise<boolean> => certificate.verify({ publicKey: issuer.publicKey, signatureOnly: true });

function checkLeaf(
  leaf: X509.X509Certificate,
  trustDomain: string,
  use: LeafUse,
): Result<string, ChainRefusal> {
  if (leaf.getExtension(x509.BasicConstraintsExtension)?.ca === true) return err("leaf_is_ca");
  const identity = onlySpiffeId(leaf.getExtensions(SAN_OID));
  if (identity === undefined) return err("not_spiffe");
  const parsed = parseSpiffeId(identity);
  if (!parsed.ok || parsed.value.trustDomain !== trustDomain) return err("wrong_trust_domain");
  const usages = leaf.getExtension(x509.KeyUsagesExtension)?.usages;
  const signing = x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign;
  if (
    usages === undefined ||
    (usages & x509.KeyUsageFlags.digitalSignature) === 0 ||
    usages & signing
  )
    return err("wrong_key_usage");
  const purposes = leaf.getExtension(x509.ExtendedKeyUsageExtension)?.usages;
  if (use !== "any" && purposes !== undefined) {
    const wanted =
      use === "server" ? x509.ExtendedKeyUsage.serverAuth : x509.ExtendedKeyUsage.clientAuth;
    if (!purposes.includes(wanted)) return err("wrong_key_usage");
  }
  return ok(identity);
}

async function checkPath(
  path: readonly X509.X509Certificate[],
  trustDomain: string,
): Promise<ChainRefusal | undefined> {
  for (const [at, certificate] of path.entries()) {
    const refusal = checkForm(certificate);
    if (refusal !== undefined) return refusal;
    const issuer = path[at + 1];
    if (issuer === undefined) continue; // The root: believed because the bundle names it.
    const issuerRefusal = checkIssuer(issuer, at, trustDomain);
    if (issuerRefusal !== undefined) return issuerRefusal;
    if (certificate.issuer !== issuer.subject) return "untrusted_issuer";
    if (!(await isSigned(certificate, issuer))) return "bad_signature";
  }
  return undefined;
}

const KNOWN_CRITICAL: ReadonlySet<string> = new Set([
  SAN_OID,
  "2.5.29.15",
  "2.5.29.19",
  "2.5.29.37",
]);
const STRONG_HASHES: ReadonlySet<string> = new Set(["SHA-256", "SHA-384", "SHA-512"]);

function checkForm(certificate: X509.X509Certificate): ChainRefusal | undefined {
  const seen = new Set<string>();
  for (const extension of certificate.extensions) {
    if (seen.has(extension.type)) return "malformed"; // RFC 5280 4.2: no extension twice.
    seen.add(extension.type);
    if (extension.critical && !KNOWN_CRITICAL.has(extension.type))
      return "unknown_critical_extension";
  }
  const hash = certificate.signatureAlgorithm.hash;
  if (hash !== undefined && !STRONG_HASHES.has(hash.name)) return "weak_algorithm";
  return undefined;
}

/** `below` is how many intermediates lie between this one and the leaf. */
function checkIssuer(
  issuer: X509.X509Certificate,
  below: number,
  trustDomain: string,
): ChainRefusal | undefined {
  const constraints = issuer.getExtension(x509.BasicConstraintsExtension);
  if (constraints?.ca !== true) return "issuer_is_no_ca";
  if (constraints.pathLength !== undefined && below > constraints.pathLength)
    return "path_too_long";
  const usages = issuer.getExtension(x509.KeyUsagesExtension)?.usages;
  if (usages === undefined || (usages & x509.KeyUsageFlags.keyCertSign) === 0)
    return "wrong_key_usage";
  // X509-SVID 3.1: a signing certificate that has a SPIFFE ID has its trust domain's, and signs for that one only.
  for (const san of issuer.getExtensions(x509.SubjectAlternativeNameExtension)) {
    const uris = san.names.items.filter(
      (name) => name.type === "url" && name.value.startsWith("spiffe://"),
    );
    if (uris.some((uri) => uri.value !== `spiffe://${trustDomain}`)) return "wrong_trust_domain";
  }
  return undefined;
}

/** Of the whole path. */
const validity = (path: readonly X509.X509Certificate[]): { fromMs: number; untilMs: number } => ({
  fromMs: Math.max(...path.map((certificate) => certificate.notBefore.getTime())),
  untilMs: Math.min(...path.map((certificate) => certificate.notAfter.getTime())),
});

function checkTimes(
  path: readonly X509.X509Certificate[],
  nowMs: number,
): ChainRefusal | undefined {
  for (const certificate of path) {
    if (nowMs < certificate.notBefore.getTime()) return "not_yet_valid";
    if (nowMs > certificate.notAfter.getTime()) return "expired";
  }
  return undefined;
}
