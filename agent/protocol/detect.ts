// Says what a downstream speaks from its first bytes, before anything is parsed. A client that stays silent (server-first
// protocols) never yields an answer: the caller's deadline decides then.
import { isName, LOWER, METHOD } from "./http1/grammar.ts";
import { PREFACE } from "./http2/frame.ts";

export type Detected = "http1" | "http2_preface" | "tls" | "opaque" | "need_more";

const word = (text: string): Uint8Array => Uint8Array.from(text, (c) => c.charCodeAt(0));
const CONNECT = word("connect");
const OPTIONS = word("options");
const HTTP = word("http://");
/** Longer than any registered method (UPDATEREDIRECTREF). */
const METHOD_BYTES_MAX = 20;

/** Looks at bytes[start..end), at most the first 29. Any prefix of a longer input gives the same answer or "need_more". */
export function detect(bytes: Uint8Array, start: number, end: number): Detected {
  if (end <= start) return "need_more";
  if (bytes[start] === 0x16) return detectTls(bytes, start, end);
  const same = matchingPreface(bytes, start, end);
  if (same === PREFACE.length) return "http2_preface";
  // `PRI ` begins no HTTP/1 request: RFC 9113 3.4 keeps the method free.
  if (same === end - start) return "need_more";
  return same >= 4 ? "opaque" : detectHttp1(bytes, start, end);
}

/** A handshake record of TLS 1.x whose message is a ClientHello (RFC 8446 5.1). */
function detectTls(bytes: Uint8Array, start: number, end: number): Detected {
  if (end - start > 1 && bytes[start + 1] !== 3) return "opaque";
  if (end - start > 2 && (bytes[start + 2] as number) > 4) return "opaque";
  if (end - start < 6) return "need_more";
  return bytes[start + 5] === 1 ? "tls" : "opaque";
}

/** Whether a client's first bytes are HTTP/2's preface, or may be once more have come. */
export function prefaceAt(
  bytes: Uint8Array,
  start: number,
  end: number,
): "no" | "begins" | "whole" {
  if (bytes[start] !== PREFACE[0]) return "no";
  const same = matchingPreface(bytes, start, end);
  if (same === PREFACE.length) return "whole";
  return same === end - start ? "begins" : "no";
}

function matchingPreface(bytes: Uint8Array, start: number, end: number): number {
  let same = 0;
  while (same < PREFACE.length && start + same < end && bytes[start + same] === PREFACE[same]) {
    same++;
  }
  return same;
}

/** A method, a space, and the target's beginning. Redis, SMTP, PostgreSQL and SSH differ within these bytes: their words end in CRLF, a NUL or a
 *  lower-case letter. Where a protocol's first words do look so (`GET /key` typed to Redis), the port must be declared. */
function detectHttp1(bytes: Uint8Array, start: number, end: number): Detected {
  let p = start;
  while (p < end && p - start <= METHOD_BYTES_MAX && METHOD[bytes[p] as number] === 1) p++;
  if (p - start > METHOD_BYTES_MAX) return "opaque";
  if (p >= end) return "need_more";
  if (p === start || bytes[p] !== 32) return "opaque";
  if (p + 1 >= end) return "need_more";
  return detectTarget(bytes, start, p, end);
}

/** origin-form, OPTIONS *, CONNECT (found to be refused, not carried blindly), absolute-form. */
function detectTarget(bytes: Uint8Array, start: number, methodEnd: number, end: number): Detected {
  const first = bytes[methodEnd + 1];
  if (first === 47 || first === 92) return "http1";
  if (isName(bytes, start, methodEnd, CONNECT)) return "http1";
  if (first === 42) return isName(bytes, start, methodEnd, OPTIONS) ? "http1" : "opaque";
  const seen = Math.min(HTTP.length, end - methodEnd - 1);
  for (let i = 0; i < seen; i++) {
    if (LOWER[bytes[methodEnd + 1 + i] as number] !== HTTP[i]) return "opaque";
  }
  return seen === HTTP.length ? "http1" : "need_more";
}
