// What keeps the page ours: a policy that lets the browser load and run nothing but what this server serves, and the checks that a
// request which opens or changes something came from that page. The page runs no inline script, style or handler.
import { timingSafeEqual } from "node:crypto";
import { createMiddleware } from "hono/factory";
import type { Bindings } from "../http/peer.ts";

export const COOKIE = "ironmesh-session";
/** Browsers take a cookie of this prefix only when it is Secure, without a domain and for the whole host (RFC 6265bis 4.1.3.2). */
export const COOKIE_NAME = `__Host-${COOKIE}`;
export const CSRF_FIELD = "x-ironmesh-csrf";

export const CONTENT_SECURITY_POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join("; ");

/** On every answer under /dashboard, refusals included. */
export const guardFields: { readonly [name: string]: string } = {
  "content-security-policy": CONTENT_SECURITY_POLICY,
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
  "referrer-policy": "no-referrer",
  "x-content-type-options": "nosniff",
  "x-frame-options": "DENY",
};

export const guarded = createMiddleware<{ Bindings: Bindings }>(async (c, next) => {
  await next();
  for (const [name, value] of Object.entries(guardFields)) c.header(name, value);
  if (!c.res.headers.has("cache-control")) c.header("cache-control", "no-store");
});

/** The page's own origin, as the browser states it on what is not a plain navigation. */
export function isSameOrigin(fields: {
  readonly origin: string | undefined;
  readonly host: string | undefined;
  readonly fetchSite: string | undefined;
}): boolean {
  const { origin, host, fetchSite } = fields;
  if (fetchSite !== undefined && fetchSite !== "same-origin") return false;
  return host !== undefined && origin === `https://${host}`;
}

export function areEqualTexts(a: string, b: string | undefined): boolean {
  const left = Buffer.from(a);
  const right = Buffer.from(b ?? "");
  return left.length === right.length && timingSafeEqual(left, right);
}
