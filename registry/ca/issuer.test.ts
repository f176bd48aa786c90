import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hostIdentity, serverIdentity } from "../../agent/api/spiffe.ts";
import { readCertificate, verifyChain } from "../../agent/pki/verify-chain.ts";
import { BACKDATE_MS, createCsr } from "../../agent/pki/x509.ts";
import { AuthorityFiles } from "./authority-files.ts";
import { INTERMEDIATE_LIFETIME_MS, Issuer, LEAF_LIFETIME_MS } from "./issuer.ts";

const TD = "mesh.test";
const GRANT = { name: "vm-1", serviceAccounts: ["default/reviews"] };
let stateDir: string;
let nowMs: number;
const open = (trustDomain = TD) =>
  Issuer.open(trustDomain, { files: new AuthorityFiles(stateDir), nowMs: () => nowMs });
const issue = async (issuer: Issuer, identity: string) =>
  issuer.issue((await createCsr(identity)).csrPem, GRANT);

beforeEach(() => {
  stateDir = mkdtempSync(join(tmpdir(), "ironmesh-ca-"));
  nowMs = 1_800_000_000_000;
});
afterEach(() => rmSync(stateDir, { recursive: true }));

test("a host gets its own identity and those of its grant, and no other", async () => {
  const issuer = await open();
  const granted = [hostIdentity(TD, "vm-1"), "spiffe://mesh.test/ns/default/sa/reviews"];
  for (const identity of granted) {
    const issued = await issue(issuer, identity);
    if (!issued.ok) throw new Error(issued.error);
    const trust = { trustDomain: TD, roots: issuer.trustBundle };
    const believed = await verifyChain(issued.value.certificates, trust, nowMs);
    expect(believed).toEqual({ ok: true, value: identity });
  }
  for (const identity of [
    hostIdentity(TD, "vm-2"),
    serverIdentity(TD),
    "spiffe://mesh.test/ns/default/sa/reviews2",
    "spiffe://mesh.test/ns/ironmesh-system/sa/reviews",
    "spiffe://other.test/ns/default/sa/reviews",
  ]) {
    expect(await issue(issuer, identity)).toEqual({ ok: false, error: "identity_not_granted" });
  }
});

test("a certificate lives 24 hours and begins 5 minutes before it was issued", async () => {
  const issued = await issue(await open(), hostIdentity(TD, "vm-1"));
  const facts = readCertificate(issued.ok ? (issued.value.certificates[0] ?? "") : "");
  expect(facts?.notBeforeMs).toBe(nowMs - BACKDATE_MS);
  expect(facts?.notAfterMs).toBe(nowMs + LEAF_LIFETIME_MS);
});

test("certificates of a test mesh live as short as 10 seconds, counted from their issue, and no shorter", async () => {
  const openWith = (leafLifetimeMs: number) =>
    Issuer.open(TD, {
      files: new AuthorityFiles(stateDir),
      nowMs: () => nowMs,
      leafLifetimeMs,
    });
  const own = await (await openWith(10_000)).issueServer({ dns: [], ips: [] });
  expect([own.issuedAtMs, own.notAfterMs]).toEqual([nowMs, nowMs + 10_000]);
  expect(openWith(9_999)).rejects.toThrow("must live 10 s at least");
});

test("a request that is not PKCS#10 or not proven by its key is refused", async () => {
  const issuer = await open();
  expect(await issuer.issue("hello", GRANT)).toEqual({ ok: false, error: "csr_malformed" });
  const { csrPem } = await createCsr(hostIdentity(TD, "vm-1"));
  const [head = "", body = "", tail = ""] =
    /^(-----BEGIN.*-----\n)([\s\S]*)(-----END.*\n)$/.exec(csrPem)?.slice(1) ?? [];
  const der = Buffer.from(body, "base64");
  der[der.length - 1] = (der.at(-1) ?? 0) ^ 1;
  const forged = `${head}${der.toString("base64")}\n${tail}`;
  expect(await issuer.issue(forged, GRANT)).toMatchObject({ ok: false });
});

test("the authority is the same after a restart, its files are private and no draft is left", async () => {
  const first = await open();
  const again = await open();
  expect(again.caSha256).toBe(first.caSha256);
  expect(first.caSha256).toMatch(/^[0-9a-f]{64}$/);
  const files = readdirSync(join(stateDir, "ca")).sort();
  expect(files).toEqual(["intermediate.pem", "root.pem", "trust-domain"]);
  for (const file of files) {
    expect(statSync(join(stateDir, "ca", file)).mode & 0o777).toBe(0o600);
  }
});

test("a state directory of another trust domain is refused at start, naming both", async () => {
  await open();
  expect(open("other.test")).rejects.toThrow("belongs to trust domain mesh.test, not other.test");
});

test("the intermediate is replaced at half its life, and both old and new certificates are believed", async () => {
  const issuer = await open();
  const identity = hostIdentity(TD, "vm-1");
  const before = await issue(issuer, identity);
  await issuer.renew();
  const same = await issue(issuer, identity);
  nowMs += INTERMEDIATE_LIFETIME_MS / 2;
  await issuer.renew();
  const after = await issue(issuer, identity);
  if (!before.ok || !same.ok || !after.ok) throw new Error("refused");
  expect(same.value.certificates[1]).toBe(before.value.certificates[1] ?? "");
  expect(after.value.certificates[1]).not.toBe(before.value.certificates[1]);
  const trust = { trustDomain: TD, roots: issuer.trustBundle };
  expect((await verifyChain(after.value.certificates, trust, nowMs)).ok).toBe(true);
});
