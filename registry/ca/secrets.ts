// Secrets that are handed out once and kept only as SHA-256: join tokens and operators' tokens. 256 random bits need no salt and
// no slow hash: there is nothing to guess.
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";

/** 32 random bytes, base64url. */
export const makeSecret = (): string => randomBytes(32).toString("base64url");

/** SHA-256, hex. */
export const hashOfSecret = (secret: string): string =>
  createHash("sha256").update(secret).digest("hex");

/** In constant time, so that no answer's delay tells how much of a hash was right. */
export function areEqualHashes(a: string, b: string): boolean {
  const left = Buffer.from(a, "hex");
  const right = Buffer.from(b, "hex");
  return left.length === 32 && right.length === 32 && timingSafeEqual(left, right);
}
