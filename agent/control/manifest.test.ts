import { beforeAll, expect, test } from "bun:test";
import type { SignedManifest } from "../api/session.ts";
import { hostIdentity, serverIdentity } from "../api/spiffe.ts";
import { openSigningKey, signText } from "../pki/signature.ts";
import type { Authority } from "../pki/x509.ts";
import {
  createCsr,
  createIntermediate,
  createRoot,
  issueCertificate,
  readCsr,
} from "../pki/x509.ts";
import { MANIFEST_UNITS_MAX, parseManifest, verifyManifest } from "./manifest.ts";
import { serverTls, uriIn } from "./server-tls.ts";

const NOW = 1_800_000_000_000;
const HOUR = 3_600_000;
const request = { trustDomain: "mesh.test", nowMs: NOW, lifetimeMs: 10 * HOUR };
const SERVER = serverIdentity("mesh.test");
const MANIFEST = { epoch: 1, version: 2, host: "vm-1", units: ["a".repeat(64)], issuedAtMs: NOW };
const PAYLOAD = JSON.stringify(MANIFEST);

let intermediate: Authority;
let trust: { trustDomain: string; roots: string[] };
beforeAll(async () => {
  const root = await createRoot(request);
  intermediate = await createIntermediate(root, request);
  trust = { trustDomain: "mesh.test", roots: [root.certificatePem] };
});

async function signedBy(identity: string, payload = PAYLOAD): Promise<SignedManifest> {
  const { csrPem, keyPem } = await createCsr(identity);
  const csr = await readCsr(csrPem);
  if (!csr.ok) throw new Error(csr.error);
  const leaf = await issueCertificate(intermediate, { ...csr.value, nowMs: NOW, lifetimeMs: HOUR });
  const signature = await signText(await openSigningKey(keyPem), payload);
  return { payload, signature, certificates: [leaf, intermediate.certificatePem] };
}
const reasonFor = async (signed: SignedManifest, nowMs = NOW): Promise<string> => {
  const verified = await verifyManifest(signed, "vm-1", trust, nowMs);
  return verified.ok ? "believed" : verified.error;
};

test("a manifest signed by the config server for this host is believed", async () => {
  expect(await verifyManifest(await signedBy(SERVER), "vm-1", trust, NOW)).toEqual({
    ok: true,
    value: MANIFEST,
  });
});

test("a manifest signed by a host or a workload of the same mesh is refused", async () => {
  for (const identity of [
    hostIdentity("mesh.test", "vm-2"),
    "spiffe://mesh.test/ns/default/sa/config-server",
  ]) {
    expect(await reasonFor(await signedBy(identity))).toContain("no config server");
  }
});

test("a manifest that was altered, or whose signature is another's, is refused", async () => {
  const signed = await signedBy(SERVER);
  const altered = { ...signed, payload: PAYLOAD.replace('"version":2', '"version":3') };
  expect(await reasonFor(altered)).toContain("does not hold");
  const { signature } = await signedBy(SERVER);
  expect(await reasonFor({ ...signed, signature })).toContain("does not hold");
});

test("a manifest for another host, by an expired certificate, or without a chain is refused", async () => {
  const other = await signedBy(SERVER, JSON.stringify({ ...MANIFEST, host: "vm-2" }));
  expect(await reasonFor(other)).toContain("another host, vm-2");
  const signed = await signedBy(SERVER);
  expect(await reasonFor(signed, NOW + 2 * HOUR)).toContain("expired");
  expect(await reasonFor({ ...signed, certificates: [] })).toContain("no_certificate");
  expect(await reasonFor({ ...signed, certificates: signed.certificates.slice(0, 1) })).toContain(
    "untrusted_issuer",
  );
});

test("a payload of another form is no manifest", () => {
  for (const change of [
    { epoch: -1 },
    { version: 1.5 },
    { host: 7 },
    { units: ["x"] },
    { units: "a" },
    { issuedAtMs: null },
  ]) {
    expect(parseManifest(JSON.stringify({ ...MANIFEST, ...change }))).toBeUndefined();
  }
  const units = Array.from({ length: MANIFEST_UNITS_MAX + 1 }, () => "a".repeat(64));
  expect(parseManifest(JSON.stringify({ ...MANIFEST, units }))).toBeUndefined();
  expect(parseManifest("rubbish")).toBeUndefined();
  expect(parseManifest("null")).toBeUndefined();
});

test("the server's one SPIFFE ID decides, whatever else its certificate says and wherever it runs", () => {
  const { checkServerIdentity } = serverTls(trust, undefined);
  const shown = (subjectaltname: string) => checkServerIdentity("10.0.0.1", { subjectaltname });
  expect(shown(`URI:${SERVER}, DNS:a.example`)).toBeUndefined();
  expect(shown(`DNS:a.example, URI:${SERVER}-2`)).toBeInstanceOf(Error);
  expect(shown("DNS:a.example, IP Address:10.0.0.1")).toBeInstanceOf(Error);
  expect(checkServerIdentity("10.0.0.1", {})).toBeInstanceOf(Error);
});

test("a SAN that tries to forge a second entry, or has two URIs, names nobody", () => {
  expect(uriIn(`DNS:"a, URI:${SERVER}"`)).toBeUndefined();
  expect(uriIn(`URI:${SERVER}, URI:${SERVER}`)).toBeUndefined();
});
