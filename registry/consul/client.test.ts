import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createCsr, createRoot, issueCertificate, readCsr } from "../../agent/pki/x509.ts";
import { TestConsul } from "../../test/support/consul.ts";
import { Cancel, ConsulClient, ConsulFailure, parseConsulUrl } from "./client.ts";

const directory = mkdtempSync(join(tmpdir(), "ironmesh-consul-client-"));
let consul: TestConsul;
let rootPem: string;
/** Of an authority that vouches for nothing here. */
let strangerPem: string;

beforeAll(async () => {
  const asked = { trustDomain: "consul.test", nowMs: Date.now(), lifetimeMs: 3_600_000 };
  const root = await createRoot(asked);
  rootPem = root.certificatePem;
  strangerPem = (await createRoot(asked)).certificatePem;
  const { csrPem, keyPem } = await createCsr("spiffe://consul.test/ns/a/sa/consul");
  const csr = await readCsr(csrPem);
  if (!csr.ok) throw new Error(csr.error);
  const { identity, publicKey } = csr.value;
  const names = { dns: ["localhost"], ips: ["127.0.0.1"] };
  const leaf = await issueCertificate(root, { identity, publicKey, ...names, ...asked });
  const [certificate, key] = [join(directory, "crt"), join(directory, "key")];
  writeFileSync(certificate, leaf);
  writeFileSync(key, keyPem, { mode: 0o600 });
  consul = await TestConsul.start({ hasAcl: true, tls: { certificate, key } });
}, 60_000);
afterAll(async () => {
  await consul.stop();
  rmSync(directory, { recursive: true });
});

const as = (token?: string) => new ConsulClient({ url: consul.url, token });
const failureOf = async (work: Promise<unknown>): Promise<ConsulFailure> => {
  const cause = await work.then(
    () => new Error("it did not fail"),
    (failure: unknown) => failure,
  );
  if (cause instanceof ConsulFailure) return cause;
  throw cause;
};

test("https is verified: our root is believed, another is not, and nothing is sent to what is not believed", async () => {
  const token = consul.managementToken;
  const url = consul.httpsUrl;
  const believed = new ConsulClient({ url, token, caPem: rootPem });
  await believed.putKey("tls/a", "1");
  expect((await believed.getKey("tls/a")).value?.value).toBe("1");
  for (const caPem of [strangerPem, undefined]) {
    const doubting = new ConsulClient({ url, token, caPem });
    const failure = await failureOf(doubting.putKey("tls/b", "1"));
    expect(failure.is).toBe("unreachable");
    doubting.close();
  }
  expect((await believed.getKey("tls/b")).value).toBeUndefined();
  believed.close();
});

test("a token that may not is told from a Consul that is away, and is in no message", async () => {
  const token = await consul.tokenFor("reader", 'key_prefix "" { policy = "read" }');
  const reader = as(token);
  const strangers = as("00000000-1111-2222-3333-444444444444");
  const failures = [
    await failureOf(reader.putKey("a", "1")),
    await failureOf(reader.transact([{ verb: "cas", key: "a", value: "1", index: 0 }])),
    await failureOf(strangers.getKey("a")),
    await failureOf(as().getKey("a")),
  ];
  expect(failures.map(({ is }) => is)).toEqual(["refused", "refused", "refused", "refused"]);
  for (const { message, next } of failures) {
    expect(message + next).not.toContain(token);
    expect(next).toContain("--consul-token-file");
  }
});

test("a compare-and-set on another index writes nothing, and one on the right index tells the new one", async () => {
  const client = as(consul.managementToken);
  const made = await client.transact([{ verb: "cas", key: "cas/a", value: "1", index: 0 }]);
  expect(made).toBeGreaterThan(0);
  const late = await client.transact([
    { verb: "set", key: "cas/b", value: "1" },
    { verb: "cas", key: "cas/a", value: "2", index: (made ?? 0) + 1 },
  ]);
  expect(late).toBeUndefined();
  expect((await client.getKey("cas/b")).value).toBeUndefined();
  expect((await client.getKey("cas/a")).value?.modifyIndex).toBe(made ?? -1);
});

test("a blocking query answers at the next change, and can be given up", async () => {
  const client = as(consul.managementToken);
  await client.putKey("block", "1");
  const { index = 0 } = await client.getKey("block");
  const waiting = client.getKey("block", { index, cancel: new Cancel() });
  await client.putKey("block", "2");
  const answer = await waiting;
  expect(answer.value?.value).toBe("2");
  const cancel = new Cancel();
  const givenUp = failureOf(client.getKey("block", { index: answer.index ?? 0, cancel }));
  cancel.cancel();
  expect((await givenUp).is).toBe("unreachable");
});

test("a lock is one session's until that ends, and what a `delete` session held goes with it", async () => {
  const client = as(consul.managementToken);
  const options = { name: "test", ttlMs: 10_000, behavior: "delete" } as const;
  const [first, second] = [
    await client.createSession(options),
    await client.createSession(options),
  ];
  expect(await client.acquire("lock", "one", first)).toBe(true);
  expect(await client.acquire("lock", "two", second)).toBe(false);
  expect(await client.renewSession(first)).toBe(true);
  await client.destroySession(first);
  expect(await client.renewSession(first)).toBe(false);
  expect((await client.getKey("lock")).value).toBeUndefined();
  await client.destroySession(second);
});

test("addresses with secrets, paths or other schemes are refused", () => {
  expect(parseConsulUrl("https://[::1]:8501")).toEqual({
    hostname: "::1",
    port: 8501,
    protocol: "https:",
  });
  for (const text of [
    "consul:8500",
    "ftp://a",
    "http://u:p@a:1",
    "http://a/v1",
    "http://a/?token=b",
  ])
    expect(() => parseConsulUrl(text)).toThrow("--consul-address");
});
