// Reads a request head strictly: RFC 9112 2, 3 and 5, RFC 9110 5 and 7. Nothing is repaired: the bytes are valid or refused.
import { isAuthority, isHostAndPort } from "./authority.ts";
import { isName, isSame, METHOD, TARGET } from "./grammar.ts";
import type { HeadLimits, RequestHead } from "./head.ts";
import { applyConnection, readFields, readLineEnd, readVersion } from "./read-fields.ts";
import {
  NEED_MORE,
  REFUSED_CONNECT,
  REFUSED_FRAMING,
  REFUSED_HEAD_TOO_LONG,
  REFUSED_HOST,
  REFUSED_HOST_MISMATCH,
  REFUSED_HOST_MISSING,
  REFUSED_LINE_END,
  REFUSED_METHOD,
  REFUSED_TARGET,
  REFUSED_TARGET_TOO_LONG,
  REFUSED_VERSION_SYNTAX,
} from "./refusal.ts";

const SP = 32;
const CR = 13;
const SLASH = 47;
const BACKSLASH = 92;
const STAR = 42;
const QUESTION = 63;

const word = (text: string): Uint8Array => Uint8Array.from(text, (c) => c.charCodeAt(0));
const HTTP = word("http://");
const HEAD = word("head");
const CONNECT = word("connect");
const OPTIONS = word("options");

/** Reads the head that begins at `start` into `head`. Returns the offset past it, NEED_MORE, or a refusal's code (see
 *  refusalOf), after which the connection answers and closes. `head` is only valid after an offset. */
export function readRequestHead(
  head: RequestHead,
  bytes: Uint8Array,
  start: number,
  end: number,
  limits: HeadLimits,
): number {
  const first = bytes[start] === CR && start < end ? skipEmptyLine(bytes, start, end) : start;
  if (first < 0) return first;
  const stop = Math.min(end, first + limits.headBytesMax);
  const isFull = end - first >= limits.headBytesMax;
  head.forget(bytes, first);
  const line = readRequestLine(head, bytes, first, stop);
  if (line < 0) return line === NEED_MORE && isFull ? REFUSED_TARGET_TOO_LONG : line;
  const headEnd = readFields(head, bytes, line, stop, limits);
  if (headEnd < 0) return headEnd === NEED_MORE && isFull ? REFUSED_HEAD_TOO_LONG : headEnd;
  head.headEnd = headEnd;
  const refused = settle(head, limits);
  return refused < 0 ? refused : headEnd;
}

/** May another readRequestHead (or readResponseHead) say more than NEED_MORE, now that bytes[from..end) came on top? Without this a head
 *  sent byte by byte would be read again for each byte, at a cost that grows with the square of its length. */
export function isWorthReading(
  bytes: Uint8Array,
  start: number,
  from: number,
  end: number,
  limits: HeadLimits,
): boolean {
  if (end - start >= limits.headBytesMax) return true;
  for (let i = from; i < end; i++) if (bytes[i] === 10) return true;
  return false;
}

/** One empty line may precede a request, RFC 9112 2.2. */
function skipEmptyLine(bytes: Uint8Array, start: number, end: number): number {
  const next = readLineEnd(bytes, start, end, REFUSED_LINE_END);
  return next === end ? NEED_MORE : next;
}

function readRequestLine(
  head: RequestHead,
  bytes: Uint8Array,
  start: number,
  stop: number,
): number {
  let p = start;
  while (p < stop && METHOD[bytes[p] as number] === 1) p++;
  if (p >= stop) return NEED_MORE;
  if (bytes[p] !== SP || p === start) return REFUSED_METHOD;
  head.methodStart = start;
  head.methodEnd = p;
  p = readTarget(head, bytes, p + 1, stop);
  if (p >= stop) return NEED_MORE;
  if (bytes[p] !== SP) return isLineByte(bytes[p] as number);
  return p === head.targetStart ? REFUSED_TARGET : readEndOfLine(head, bytes, p + 1, stop);
}

/** Takes all that may stand in a target; the caller judges what ended it. */
function readTarget(head: RequestHead, bytes: Uint8Array, start: number, stop: number): number {
  let p = start;
  let marks = 0;
  let mark = 0;
  while (p < stop && bytes[p] !== QUESTION) {
    mark = TARGET[bytes[p] as number] as number;
    if (mark === 0) break;
    marks |= mark;
    p++;
  }
  const pathEnd = p;
  while (p < stop && TARGET[bytes[p] as number] !== 0) p++;
  head.targetStart = start;
  head.targetEnd = p;
  head.pathStart = start;
  head.pathEnd = pathEnd;
  head.queryStart = p > pathEnd ? pathEnd + 1 : pathEnd;
  head.queryEnd = p;
  head.pathMarks = marks;
  return p;
}

/** A line end here means HTTP/0.9, anything else a byte that is in no target. */
const isLineByte = (byte: number): number =>
  byte === CR || byte === 10 ? REFUSED_VERSION_SYNTAX : REFUSED_TARGET;

function readEndOfLine(head: RequestHead, bytes: Uint8Array, at: number, stop: number): number {
  const minor = readVersion(bytes, at, stop);
  if (minor < 0) return minor;
  head.minorVersion = minor;
  return readLineEnd(bytes, at + 8, stop, REFUSED_VERSION_SYNTAX);
}

/** What only the whole head tells. */
function settle(head: RequestHead, limits: HeadLimits): number {
  const bytes = head.bytes;
  const length = head.methodEnd - head.methodStart;
  head.isHead = length === 4 && isName(bytes, head.methodStart, head.methodEnd, HEAD);
  head.isConnect = length === 7 && isName(bytes, head.methodStart, head.methodEnd, CONNECT);
  if (head.isConnect && !limits.isConnectAllowed) return REFUSED_CONNECT;
  const hostless = settleHost(head);
  if (hostless < 0) return hostless;
  const untargeted = settleTarget(head);
  if (untargeted < 0) return untargeted;
  const refused = applyConnection(head);
  return refused < 0 ? refused : settleBody(head);
}

function settleBody(head: RequestHead): number {
  if (head.isConnect && (head.isChunked || head.contentLength > 0)) return REFUSED_FRAMING;
  head.bodyKind = head.isChunked ? "chunked" : head.contentLength > 0 ? "length" : "none";
  if (head.isUpgrade) {
    head.undropField(head.upgradeField);
    // The tunnel that follows has no trailers.
    if (head.acceptsTrailers) head.acceptsTrailers = head.drop("te") === 0;
  }
  // HTTP/1.0 has no 100 (Continue): the expectation is ignored, RFC 9110 10.1.1, and does not leave here in the name of HTTP/1.1.
  if (head.minorVersion === 0) {
    head.expectsContinue = false;
    head.drop("expect");
  }
  return 0;
}

/** Exactly one Host, and a good one. HTTP/1.0 may do without, but it would leave here as 1.1, and what we would have to invent is
 *  whom the request is for. */
function settleHost(head: RequestHead): number {
  if (head.hostField < 0) return REFUSED_HOST_MISSING;
  head.hostStart = head.fields[head.hostField * 4 + 2] as number;
  head.hostEnd = head.fields[head.hostField * 4 + 3] as number;
  return isAuthority(head.bytes, head.hostStart, head.hostEnd) ? 0 : REFUSED_HOST;
}

/** RFC 9112 3.2: origin-form, or absolute-form naming the same host as Host, or * for OPTIONS, or host:port for CONNECT. */
function settleTarget(head: RequestHead): number {
  const bytes = head.bytes;
  const first = bytes[head.targetStart] as number;
  if (head.isConnect) return settleAuthorityForm(head);
  if (first === SLASH || first === BACKSLASH) {
    head.targetForm = "origin";
    return 0;
  }
  if (first === STAR && head.targetEnd - head.targetStart === 1) {
    head.targetForm = "asterisk";
    return isName(bytes, head.methodStart, head.methodEnd, OPTIONS) ? 0 : REFUSED_TARGET;
  }
  return settleAbsoluteForm(head);
}

function settleAuthorityForm(head: RequestHead): number {
  const bytes = head.bytes;
  if (!isHostAndPort(bytes, head.targetStart, head.targetEnd)) return REFUSED_TARGET;
  head.targetForm = "authority";
  head.pathEnd = head.targetEnd;
  return isSame(bytes, head.targetStart, head.targetEnd, head.hostStart, head.hostEnd)
    ? 0
    : REFUSED_HOST_MISMATCH;
}

/** Only http: a request for an https resource did not come to us by https, and leaving as origin-form it would lose the difference. */
function settleAbsoluteForm(head: RequestHead): number {
  const bytes = head.bytes;
  const start = head.targetStart + HTTP.length;
  if (start >= head.targetEnd || !isName(bytes, head.targetStart, start, HTTP)) {
    return REFUSED_TARGET;
  }
  let p = start;
  while (p < head.pathEnd && bytes[p] !== SLASH && bytes[p] !== BACKSLASH) p++;
  if (!isAuthority(bytes, start, p)) return REFUSED_TARGET;
  head.targetForm = "absolute";
  head.pathStart = p;
  return isSame(bytes, start, p, head.hostStart, head.hostEnd) ? 0 : REFUSED_HOST_MISMATCH;
}
