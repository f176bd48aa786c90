import { beforeAll, expect, test } from "bun:test";
import type * as X509 from "@peculiar/x509";
import { readPem, sha256OfCertificate, writePem } from "./pem.ts";
import { isSignedBy, openSigningKey, signText } from "./signature.ts";
import { TrustBundle } from "./trust-bundle.ts";
import { type ChainRefusal, readCertificate, verifyChain } from "./verify-chain.ts";
import {
  type Authority,
  BACKDATE_MS,
  CSR_BYTES_MAX,
  createCsr,
  createIntermediate,
  createRoot,
  issueCertificate,
  readCsr,
} from "./x509.ts";
import { x509 } from "./x509-package.ts";

const NOW = 1_800_000_000_000;
const HOUR = 3_600_000;
const ID = "spiffe://mesh.test/ns/default/sa/reviews";
const request = { trustDomain: "mesh.test", nowMs: NOW, lifetimeMs: 100 * HOUR };
const P256 = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

let root: Authority;
let intermediate: Authority;
let trust: { trustDomain: string; roots: string[] };

beforeAll(async () => {
  root = await createRoot(request);
  intermediate = await createIntermediate(root, request);
  trust = { trustDomain: "mesh.test", roots: [root.certificatePem] };
});

async function leafOf(identity = ID, authority = intermediate, more = {}): Promise<string> {
  const { csrPem } = await createCsr(identity);
  const csr = await readCsr(csrPem);
  if (!csr.ok) throw new Error(csr.error);
  return issueCertificate(authority, { ...csr.value, nowMs: NOW, lifetimeMs: HOUR, ...more });
}

interface Forged {
  readonly extensions?: X509.Extension[];
  readonly uris?: readonly string[];
  readonly usage?: X509.KeyUsageFlags;
  readonly isCa?: boolean;
  readonly key?: CryptoKey;
  readonly hash?: string;
}

/** A certificate that issueCertificate would never make. */
async function forge(authority: Authority, parts: Forged): Promise<string> {
  const keys = (await crypto.subtle.generateKey(P256, true, ["sign", "verify"])) as CryptoKeyPair;
  const der = readPem(authority.keyPem, "PRIVATE KEY") ?? new Uint8Array();
  const key = parts.key ?? (await crypto.subtle.importKey("pkcs8", der, P256, false, ["sign"]));
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: "41",
    subject: "O=Forged",
    issuer: new x509.X509Certificate(authority.certificatePem).subject,
    notBefore: new Date(NOW - HOUR),
    notAfter: new Date(NOW + HOUR),
    publicKey: keys.publicKey,
    signingKey: key,
    signingAlgorithm: { ...P256, hash: parts.hash ?? "SHA-256" },
    extensions: parts.extensions ?? [
      new x509.BasicConstraintsExtension(parts.isCa ?? false, undefined, true),
      new x509.KeyUsagesExtension(parts.usage ?? x509.KeyUsageFlags.digitalSignature, true),
      new x509.SubjectAlternativeNameExtension(
        (parts.uris ?? [ID]).map((value) => ({ type: "url" as const, value })),
      ),
    ],
  });
  return writePem(certificate.rawData, "CERTIFICATE");
}

const verify = (leaf: string, nowMs = NOW) =>
  verifyChain([leaf, intermediate.certificatePem], trust, nowMs);
const refusal = async (leaf: string): Promise<ChainRefusal | "believed"> => {
  const verified = await verify(leaf);
  return verified.ok ? "believed" : verified.error;
};

test("a leaf under intermediate and root proves its SPIFFE ID, with or without the root in the chain", async () => {
  const leaf = await leafOf();
  expect(await verify(leaf)).toEqual({ ok: true, value: ID });
  const whole = [leaf, intermediate.certificatePem, root.certificatePem];
  expect(await verifyChain(whole, trust, NOW)).toEqual({ ok: true, value: ID });
});

test("a chain that held is judged anew once a time, a root, the domain or the use is another", async () => {
  const chain = [await leafOf(), intermediate.certificatePem];
  const held = { ok: true, value: ID } as const;
  const other = await createRoot(request);
  const another = { trustDomain: "other.test", roots: trust.roots };
  const untrusted = { trustDomain: "mesh.test", roots: [other.certificatePem] };
  for (let turn = 0; turn < 2; turn++) {
    expect(await verifyChain(chain, trust, NOW)).toEqual(held);
    expect((await verifyChain(chain, trust, NOW + 2 * HOUR)).ok).toBe(false);
    expect(await verifyChain(chain, trust, NOW)).toEqual(held);
    expect((await verifyChain(chain, trust, NOW - HOUR)).ok).toBe(false);
    expect(await verifyChain(chain, trust, NOW)).toEqual(held);
    expect((await verifyChain(chain, untrusted, NOW)).ok).toBe(false);
    expect(await verifyChain(chain, trust, NOW)).toEqual(held);
    expect((await verifyChain(chain, another, NOW)).ok).toBe(false);
    expect(await verifyChain(chain, trust, NOW)).toEqual(held);
    expect((await verifyChain(chain.slice(0, 1), trust, NOW)).ok).toBe(false);
  }
});

test("a chain under another CA is refused, also when it brings its root along", async () => {
  const other = await createRoot(request);
  const theirs = await createIntermediate(other, request);
  const leaf = await leafOf(ID, theirs);
  for (const chain of [
    [leaf, theirs.certificatePem],
    [leaf, theirs.certificatePem, other.certificatePem],
  ]) {
    expect(await verifyChain(chain, trust, NOW)).toEqual({ ok: false, error: "untrusted_issuer" });
  }
  // The root is ours, but did not sign this.
  const mixed = [leaf, theirs.certificatePem, root.certificatePem];
  expect((await verifyChain(mixed, trust, NOW)).ok).toBe(false);
});

test("a certificate counts from five minutes before its issue until its end", async () => {
  const leaf = await leafOf();
  expect((await verify(leaf, NOW - BACKDATE_MS)).ok).toBe(true);
  expect(await verify(leaf, NOW - BACKDATE_MS - 1_000)).toEqual({
    ok: false,
    error: "not_yet_valid",
  });
  expect((await verify(leaf, NOW + HOUR)).ok).toBe(true);
  expect(await verify(leaf, NOW + HOUR + 1_000)).toEqual({ ok: false, error: "expired" });
});

test("a leaf never outlives its issuer", async () => {
  const facts = readCertificate(await leafOf(ID, intermediate, { lifetimeMs: 1_000 * HOUR }));
  expect(facts?.notAfterMs).toBe(readCertificate(intermediate.certificatePem)?.notAfterMs ?? 0);
});

test("two URI SANs, none, or one that is no identity of a mesh are refused", async () => {
  expect(await refusal(await forge(intermediate, { uris: [ID, `${ID}-2`] }))).toBe("not_spiffe");
  expect(await refusal(await forge(intermediate, { uris: [] }))).toBe("not_spiffe");
  expect(await refusal(await forge(intermediate, { uris: ["https://mesh.test/"] }))).toBe(
    "not_spiffe",
  );
  expect(
    await refusal(
      await forge(intermediate, { uris: ["spiffe://elsewhere/ns/default/sa/reviews"] }),
    ),
  ).toBe("wrong_trust_domain");
});

test("a signing certificate is no leaf, and a leaf signs no certificate", async () => {
  expect(await refusal(await forge(intermediate, { isCa: true }))).toBe("leaf_is_ca");
  const signing = x509.KeyUsageFlags.digitalSignature | x509.KeyUsageFlags.keyCertSign;
  expect(await refusal(await forge(intermediate, { usage: signing }))).toBe("wrong_key_usage");
  expect(await refusal(await forge(intermediate, { usage: x509.KeyUsageFlags.keyAgreement }))).toBe(
    "wrong_key_usage",
  );
  const { csrPem, keyPem } = await createCsr(ID);
  const csr = await readCsr(csrPem);
  if (!csr.ok) throw new Error(csr.error);
  const certificatePem = await issueCertificate(intermediate, {
    ...csr.value,
    nowMs: NOW,
    lifetimeMs: HOUR,
  });
  const leaf = await leafOf("spiffe://mesh.test/ns/default/sa/admin", { certificatePem, keyPem });
  const chain = [leaf, certificatePem, intermediate.certificatePem];
  expect(await verifyChain(chain, trust, NOW)).toEqual({ ok: false, error: "issuer_is_no_ca" });
});

test("an intermediate under an intermediate is longer than the path allows", async () => {
  const below = await createIntermediate(intermediate, request);
  const chain = [await leafOf(ID, below), below.certificatePem, intermediate.certificatePem];
  expect(await verifyChain(chain, trust, NOW)).toEqual({ ok: false, error: "path_too_long" });
});

test("a certificate for servers only is no client's", async () => {
  const leaf = await leafOf(ID, intermediate, { isClient: false });
  const chain = [leaf, intermediate.certificatePem];
  expect((await verifyChain(chain, trust, NOW, "server")).ok).toBe(true);
  expect(await verifyChain(chain, trust, NOW, "client")).toEqual({
    ok: false,
    error: "wrong_key_usage",
  });
});

test("a signature by another key, and any changed byte of it, are refused", async () => {
  const { privateKey } = (await crypto.subtle.generateKey(P256, true, [
    "sign",
    "verify",
  ])) as CryptoKeyPair;
  expect(await refusal(await forge(intermediate, { key: privateKey }))).toBe("bad_signature");
  const der = readPem(await leafOf(), "CERTIFICATE") ?? new Uint8Array();
  der[der.length - 1] = (der[der.length - 1] ?? 0) ^ 1;
  expect(await refusal(writePem(der, "CERTIFICATE"))).not.toBe("believed");
});

test("a critical extension that nobody here knows, and an extension twice, are refused", async () => {
  const usual = [
    new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
    new x509.SubjectAlternativeNameExtension([{ type: "url", value: ID }]),
  ];
  const unknown = new x509.Extension("1.2.3.4", true, new Uint8Array([5, 0]));
  expect(await refusal(await forge(intermediate, { extensions: [...usual, unknown] }))).toBe(
    "unknown_critical_extension",
  );
  const twice = new x509.Extension("1.2.3.4", false, new Uint8Array([5, 0]));
  expect(await refusal(await forge(intermediate, { extensions: [...usual, twice, twice] }))).toBe(
    "malformed",
  );
});

test("what is no chain is refused in order: nothing, rubbish, too much", async () => {
  expect(await verifyChain([], trust, NOW)).toEqual({ ok: false, error: "no_certificate" });
  expect(await verifyChain(["rubbish"], trust, NOW)).toEqual({ ok: false, error: "malformed" });
  const rubbish = writePem(new Uint8Array(200).fill(0x30), "CERTIFICATE");
  expect(await verifyChain([rubbish], trust, NOW)).toEqual({ ok: false, error: "malformed" });
  const many = Array.from({ length: 6 }, () => intermediate.certificatePem);
  expect(await verifyChain(many, trust, NOW)).toEqual({ ok: false, error: "chain_too_long" });
});

test("no truncated or bit-flipped leaf is believed, and none makes the reader throw", async () => {
  const leaf = readPem(await leafOf(), "CERTIFICATE") ?? new Uint8Array();
  for (let at = 0; at < leaf.length; at += 7) {
    const flipped = leaf.slice();
    flipped[at] = (flipped[at] ?? 0) ^ 0x10;
    expect((await verify(writePem(flipped, "CERTIFICATE"))).ok).toBe(false);
    if (at > 0) expect((await verify(writePem(leaf.slice(0, at), "CERTIFICATE"))).ok).toBe(false);
  }
});

test("a CSR proves its key, names exactly one SPIFFE ID, and is bounded", async () => {
  const { csrPem } = await createCsr(ID);
  expect(await readCsr(csrPem)).toMatchObject({ ok: true, value: { identity: ID } });
  expect(await readCsr(csrPem.padEnd(CSR_BYTES_MAX + 1))).toEqual({
    ok: false,
    error: "csr_too_large",
  });
  expect(await readCsr("rubbish")).toEqual({ ok: false, error: "csr_malformed" });
  const der = readPem(csrPem, "CERTIFICATE REQUEST") ?? new Uint8Array();
  der[der.length - 1] = (der[der.length - 1] ?? 0) ^ 1;
  expect(await readCsr(writePem(der, "CERTIFICATE REQUEST"))).toEqual({
    ok: false,
    error: "csr_bad_signature",
  });
});

async function csrWith(
  algorithm: { readonly name: string; readonly namedCurve: string },
  uris: readonly string[],
): Promise<string> {
  const keys = (await crypto.subtle.generateKey(algorithm, true, [
    "sign",
    "verify",
  ])) as CryptoKeyPair;
  const csr = await x509.Pkcs10CertificateRequestGenerator.create({
    keys,
    signingAlgorithm: { ...algorithm, hash: "SHA-256" },
    extensions: [
      new x509.SubjectAlternativeNameExtension(
        uris.map((value) => ({ type: "url" as const, value })),
      ),
    ],
  });
  return writePem(csr.rawData, "CERTIFICATE REQUEST");
}

test("a CSR with two URI SANs, with none, or with another kind of key is refused", async () => {
  expect(await readCsr(await csrWith(P256, [ID, ID]))).toEqual({
    ok: false,
    error: "csr_not_spiffe",
  });
  expect(await readCsr(await csrWith(P256, []))).toEqual({ ok: false, error: "csr_not_spiffe" });
  const p384 = { name: "ECDSA", namedCurve: "P-384" };
  expect(await readCsr(await csrWith(p384, [ID]))).toEqual({ ok: false, error: "csr_wrong_key" });
});

test("a signature holds for its text and its certificate only", async () => {
  const { csrPem, keyPem } = await createCsr(ID);
  const csr = await readCsr(csrPem);
  if (!csr.ok) throw new Error(csr.error);
  const leaf = await issueCertificate(intermediate, { ...csr.value, nowMs: NOW, lifetimeMs: HOUR });
  const signature = await signText(await openSigningKey(keyPem), "a text");
  expect(await isSignedBy(leaf, "a text", signature)).toBe(true);
  expect(await isSignedBy(leaf, "another", signature)).toBe(false);
  expect(await isSignedBy(intermediate.certificatePem, "a text", signature)).toBe(false);
  expect(await isSignedBy("rubbish", "a text", signature)).toBe(false);
  expect(await isSignedBy(leaf, "a text", "rubbish")).toBe(false);
});

test("a trust bundle is replaced as a whole, knows when nothing changed, and is never emptied", async () => {
  const second = await createRoot(request);
  const bundle = new TrustBundle("mesh.test");
  expect(bundle.replace([root.certificatePem])).toEqual({ ok: true, value: true });
  const { hash } = bundle;
  expect(bundle.replace([root.certificatePem, root.certificatePem])).toEqual({
    ok: true,
    value: false,
  });
  expect(bundle.replace([]).ok).toBe(false);
  expect(bundle.replace([second.certificatePem, "rubbish"]).ok).toBe(false);
  expect([bundle.hash, bundle.roots]).toEqual([hash, [root.certificatePem]]);
  expect(bundle.replace([second.certificatePem, root.certificatePem])).toEqual({
    ok: true,
    value: true,
  });
  const both = bundle.hash;
  bundle.replace([root.certificatePem, second.certificatePem]);
  expect(bundle.hash).toBe(both);
});

test("the hash of a certificate is that of its DER, however its PEM is wrapped", () => {
  const pem = root.certificatePem;
  const unwrapped = pem.replace(/(?<=[A-Za-z0-9+/=])\n(?=[A-Za-z0-9+/=])/g, "");
  expect(sha256OfCertificate(unwrapped)).toBe(sha256OfCertificate(pem) ?? "");
  expect(sha256OfCertificate(`${pem}${pem}`)).toBeUndefined();
});
