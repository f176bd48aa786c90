import { expect, test } from "bun:test";
import { parseJoinToken } from "../../agent/api/join-token.ts";
import { makeJoinToken, TOKEN_TTL_DEFAULT_MS, TOKEN_TTL_MAX_MS } from "./join-tokens.ts";
import { areEqualHashes, hashOfSecret, makeSecret } from "./secrets.ts";

const GRANT = {
  host: "vm-1",
  serviceAccounts: ["default/reviews"],
  addresses: ["10.0.0.1", "fd00::1"],
  ttlMs: TOKEN_TTL_DEFAULT_MS,
};
const FROM = { servers: ["https://mesh-1:15010"], caSha256: "ab".repeat(32), who: "ann", nowMs: 0 };

test("the record keeps the hash of the secret that the text carries, and not the secret", () => {
  const made = makeJoinToken(GRANT, FROM);
  if (!made.ok) throw new Error("refused");
  const token = parseJoinToken(made.value.text);
  if (!token.ok) throw new Error(token.error);
  const { secret, expiresAtMs, caSha256, servers } = token.value;
  expect(made.value.record.secretSha256).toBe(hashOfSecret(secret));
  expect(JSON.stringify(made.value.record)).not.toContain(secret);
  expect({ expiresAtMs, caSha256, servers }).toEqual({
    expiresAtMs: TOKEN_TTL_DEFAULT_MS,
    caSha256: FROM.caSha256,
    servers: FROM.servers,
  });
});

test("every wrong part of a grant is told at once, the reserved namespace by name", () => {
  const made = makeJoinToken(
    {
      host: "VM 1",
      serviceAccounts: ["ironmesh-system/config-server", "reviews", "default/ok"],
      addresses: ["nowhere"],
      ttlMs: TOKEN_TTL_MAX_MS + 1,
    },
    FROM,
  );
  if (made.ok) throw new Error("accepted");
  expect(made.error.map(({ path }) => path)).toEqual([
    "host",
    "serviceAccounts[0]",
    "serviceAccounts[1]",
    "addresses[0]",
    "ttlMs",
  ]);
  expect(made.error[1]?.reason).toContain("ironmesh-system");
});

test("hashes are equal only when they are whole and the same", () => {
  const hash = hashOfSecret(makeSecret());
  expect(areEqualHashes(hash, hash)).toBe(true);
  expect(areEqualHashes(hash, hashOfSecret(makeSecret()))).toBe(false);
  expect(areEqualHashes("", "")).toBe(false);
});
