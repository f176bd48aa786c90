import { expect, test } from "bun:test";
import fc from "fast-check";
import { parseJoinToken, writeJoinToken } from "./join-token.ts";
import type { JoinToken } from "./session.ts";

const TOKEN: JoinToken = {
  servers: ["https://10.0.0.1:15010"],
  caSha256: "ab".repeat(32),
  host: "vm-1",
  serviceAccounts: ["default/reviews"],
  expiresAtMs: 1_900_000_000_000,
  secret: "s".repeat(43),
};

test("a join token reads back as it was written", () => {
  expect(parseJoinToken(writeJoinToken(TOKEN))).toEqual({ ok: true, value: TOKEN });
  expect(parseJoinToken(`  ${writeJoinToken(TOKEN)}\n`)).toEqual({ ok: true, value: TOKEN });
});

test("a join token that was cut anywhere is refused and its secret is not shown", () => {
  const text = writeJoinToken(TOKEN);
  for (let length = 0; length < text.length; length++) {
    const parsed = parseJoinToken(text.slice(0, length));
    expect(parsed.ok).toBe(false);
    if (!parsed.ok) expect(parsed.error).not.toContain(TOKEN.secret);
  }
});

test("garbage never parses and never throws", () => {
  fc.assert(
    fc.property(fc.string(), (text) => {
      expect(parseJoinToken(text).ok).toBe(false);
      expect(parseJoinToken(`im1.${text}`).ok).toBe(false);
    }),
  );
});

const WRONG: readonly (readonly [string, Partial<Record<keyof JoinToken, unknown>>])[] = [
  ["a plain http server", { servers: ["http://10.0.0.1:15010"] }],
  ["a server URL with a path", { servers: ["https://10.0.0.1:15010/x"] }],
  ["no server", { servers: [] }],
  ["a CA hash that is not SHA-256 hex", { caSha256: "AB" }],
  ["a host that is not a DNS name", { host: "../etc" }],
  ["a grant in the reserved namespace", { serviceAccounts: ["ironmesh-system/host.vm-2"] }],
  ["a grant without a namespace", { serviceAccounts: ["reviews"] }],
  ["no expiry", { expiresAtMs: undefined }],
  ["a short secret", { secret: "abc" }],
];
for (const [what, fields] of WRONG) {
  test(`a join token with ${what} is refused`, () => {
    const text = writeJoinToken({ ...TOKEN, ...fields } as JoinToken);
    expect(parseJoinToken(text).ok).toBe(false);
  });
}
