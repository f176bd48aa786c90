// The text of a join token: `im1.` + base64url (RFC 4648 5, no padding) of the JSON of a JoinToken. Trust begins here, so the
// whole is checked before a byte of it is used; what is wrong is told without showing the secret.
import { err, ok, type Result } from "../base/result.ts";
import type { JoinToken } from "./session.ts";
import { SYSTEM_NAMESPACE } from "./spiffe.ts";

export const JOIN_TOKEN_PREFIX = "im1.";
export const JOIN_TOKEN_BYTES_MAX = 16_384;
export const TOKEN_SERVERS_MAX = 16;
export const TOKEN_ACCOUNTS_MAX = 256;
export const TOKEN_ADDRESSES_MAX = 16;

const SHA256_HEX = /^[0-9a-f]{64}$/;
const SECRET = /^[A-Za-z0-9_-]{43,128}$/;
const HOST_NAME =
  /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*$/;
const ACCOUNT =
  /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\/[a-zA-Z0-9](?:[a-zA-Z0-9._-]{0,251}[a-zA-Z0-9])?$/;

/** A host's name in the mesh: lower-case DNS labels, at most 128 bytes. */
export const isHostName = (text: string): boolean => text.length <= 128 && HOST_NAME.test(text);

/** `NAMESPACE/ACCOUNT`, outside the namespace that holds the mesh's own identities. */
export const isGrantableAccount = (text: string): boolean =>
  ACCOUNT.test(text) && !text.startsWith(`${SYSTEM_NAMESPACE}/`);

export function writeJoinToken(token: JoinToken): string {
  const utf8 = new TextEncoder().encode(JSON.stringify(token));
  let binary = "";
  for (const byte of utf8) binary += String.fromCharCode(byte);
  const base64url = btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  return JOIN_TOKEN_PREFIX + base64url;
}

export function parseJoinToken(text: string): Result<JoinToken, string> {
  const trimmed = text.trim();
  if (!trimmed.startsWith(JOIN_TOKEN_PREFIX)) {
    return err(`a join token begins with "${JOIN_TOKEN_PREFIX}"`);
  }
  if (trimmed.length > JOIN_TOKEN_BYTES_MAX) return err("the join token is too long");
  const fields = decode(trimmed.slice(JOIN_TOKEN_PREFIX.length));
  if (fields === undefined) return err("the join token is damaged: copy it again as a whole");
  return checkFields(fields);
}

function decode(base64url: string): { readonly [name: string]: unknown } | undefined {
  if (!/^[A-Za-z0-9_-]+$/.test(base64url)) return undefined;
  try {
    const binary = atob(base64url.replaceAll("-", "+").replaceAll("_", "/"));
    const utf8 = Uint8Array.from(binary, (char) => char.charCodeAt(0));
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(utf8));
    if (typeof value !== "object" || value === null || Array.isArray(value)) return undefined;
    return value as { readonly [name: string]: unknown };
  } catch {
    return undefined; // Not base64, not UTF-8 or not JSON: damaged all the same.
  }
}

function checkFields(fields: { readonly [name: string]: unknown }): Result<JoinToken, string> {
  const { servers, caSha256, host, serviceAccounts, expiresAtMs, secret } = fields;
  if (
    !isTextList(servers, TOKEN_SERVERS_MAX) ||
    servers.length === 0 ||
    !servers.every(isHttpsUrl)
  ) {
    return err("the join token names no https config server");
  }
  if (typeof caSha256 !== "string" || !SHA256_HEX.test(caSha256)) {
    return err("the join token pins no CA (caSha256)");
  }
  if (typeof host !== "string" || !isHostName(host))
    return err("the join token names no valid host");
  if (
    !isTextList(serviceAccounts, TOKEN_ACCOUNTS_MAX) ||
    !serviceAccounts.every(isGrantableAccount)
  ) {
    return err("the join token grants something that is not NAMESPACE/ACCOUNT");
  }
  if (typeof expiresAtMs !== "number" || !Number.isFinite(expiresAtMs)) {
    return err("the join token has no expiry");
  }
  if (typeof secret !== "string" || !SECRET.test(secret))
    return err("the join token has no secret");
  return ok({ servers, caSha256, host, serviceAccounts, expiresAtMs, secret });
}

const isTextList = (value: unknown, countMax: number): value is readonly string[] =>
  Array.isArray(value) &&
  value.length <= countMax &&
  value.every((item) => typeof item === "string");

/** Origin only: a path or credentials in it would be sent where nobody meant them to go. */
function isHttpsUrl(text: string): boolean {
  const url = URL.parse(text);
  return (
    url?.protocol === "https:" && url.pathname === "/" && url.username === "" && url.search === ""
  );
}
