// Reads field lines, RFC 9112 5, and what fields say about framing (6), the connection (9) and hops (RFC 9110 7.6.1).
// Shared by requests and responses.

import { FIELD_VALUE, isName, isNameOrDisguise, LOWER, TOKEN } from "./grammar.ts";
import type { Head, HeadLimits } from "./head.ts";
import {
  NEED_MORE,
  REFUSED_CODING,
  REFUSED_CONNECTION,
  REFUSED_CONTENT_LENGTH,
  REFUSED_FIELD_NAME,
  REFUSED_FIELD_VALUE,
  REFUSED_FOLD,
  REFUSED_FRAMING,
  REFUSED_HOST,
  REFUSED_LINE_END,
  REFUSED_TOO_MANY_FIELDS,
  REFUSED_TRANSFER_ENCODING,
  REFUSED_UPGRADE,
  REFUSED_VERSION,
  REFUSED_VERSION_SYNTAX,
} from "./refusal.ts";
import { TokenList } from "./token-list.ts";

const bytesOf = (text: string): Uint8Array => Uint8Array.from(text, (c) => c.charCodeAt(0));

const HOST = bytesOf("host");
const CONTENT_LENGTH = bytesOf("content-length");
const TRANSFER_ENCODING = bytesOf("transfer-encoding");
const CONNECTION = bytesOf("connection");
const KEEP_ALIVE = bytesOf("keep-alive");
const PROXY_CONNECTION = bytesOf("proxy-connection");
const TE = bytesOf("te");
const UPGRADE = bytesOf("upgrade");
const EXPECT = bytesOf("expect");
const CHUNKED = bytesOf("chunked");
const CLOSE = bytesOf("close");
const TRAILERS = bytesOf("trailers");
const CONTINUE = bytesOf("100-continue");
const H2C = bytesOf("h2c");
const H2 = bytesOf("h2");
const HTTP = bytesOf("http");
const VERSION = bytesOf("HTTP/1.1");

const SP = 32;
const HTAB = 9;
const CR = 13;
const LF = 10;
const SLASH = 47;
/** A length of more digits is no length of ours: 10^15 bytes is a petabyte, and still exact as a number. */
const LENGTH_DIGITS_MAX = 15;
/** Options in Connection; each costs a walk over all fields. */
const CONNECTION_OPTIONS_MAX = 32;

/** `HTTP/` DIGIT `.` DIGIT at `at`. Returns the minor version of HTTP/1, NEED_MORE or a refusal. Any other version is refused: what we cannot
 *  read we cannot vouch for. */
export function readVersion(bytes: Uint8Array, at: number, stop: number): number {
  for (let i = 0; i < 8; i++) {
    if (at + i >= stop) return NEED_MORE;
    const byte = bytes[at + i] as number;
    const isFine = i === 5 || i === 7 ? byte >= 48 && byte <= 57 : byte === VERSION[i];
    if (!isFine) return REFUSED_VERSION_SYNTAX;
  }
  const minor = (bytes[at + 7] as number) - 48;
  return bytes[at + 5] === 49 && minor <= 1 ? minor : REFUSED_VERSION;
}

/** CRLF at `at`: returns the offset behind it. */
export function readLineEnd(
  bytes: Uint8Array,
  at: number,
  stop: number,
  otherwise: number,
): number {
  if (at >= stop) return NEED_MORE;
  if (bytes[at] !== CR) return bytes[at] === LF ? REFUSED_LINE_END : otherwise;
  if (at + 1 >= stop) return NEED_MORE;
  return bytes[at + 1] === LF ? at + 2 : REFUSED_LINE_END;
}

/** Reads field lines from `at` to past the empty line. */
export function readFields(
  head: Head,
  bytes: Uint8Array,
  at: number,
  stop: number,
  limits: HeadLimits,
): number {
  const fieldsMax = Math.min(limits.headersMax, head.dropped.length);
  let p = at;
  while (p < stop && bytes[p] !== CR) {
    if (head.fieldCount >= fieldsMax) return REFUSED_TOO_MANY_FIELDS;
    p = readField(head, bytes, p, stop);
    if (p < 0) return p;
  }
  return readLineEnd(bytes, p, stop, REFUSED_LINE_END);
}

function readField(head: Head, bytes: Uint8Array, start: number, stop: number): number {
  let p = start;
  while (p < stop && TOKEN[bytes[p] as number] === 1) p++;
  if (p >= stop) return NEED_MORE;
  if (bytes[p] !== 58 || p === start) return refusedName(bytes, start);
  const nameEnd = p++;
  while (p < stop && isBlank(bytes[p] as number)) p++;
  const valueStart = p;
  while (p < stop && FIELD_VALUE[bytes[p] as number] === 1) p++;
  const next = readLineEnd(bytes, p, stop, REFUSED_FIELD_VALUE);
  if (next < 0) return next;
  while (p > valueStart && isBlank(bytes[p - 1] as number)) p--;
  const refused = noteField(head, bytes, start, nameEnd, valueStart, p);
  return refused < 0 ? refused : next;
}

const isBlank = (byte: number): boolean => byte === SP || byte === HTAB;

/** A line that begins blank continues the one before: obs-fold, RFC 9112 5.2. */
const refusedName = (bytes: Uint8Array, start: number): number =>
  isBlank(bytes[start] as number)
    ? REFUSED_FOLD
    : bytes[start] === LF
      ? REFUSED_LINE_END
      : REFUSED_FIELD_NAME;

function noteField(
  head: Head,
  bytes: Uint8Array,
  start: number,
  nameEnd: number,
  valueStart: number,
  valueEnd: number,
): number {
  const index = head.fieldCount++;
  const at = index * 4;
  const fields = head.fields;
  fields[at] = start;
  fields[at + 1] = nameEnd;
  fields[at + 2] = valueStart;
  fields[at + 3] = valueEnd;
  head.dropped[index] = 0;
  const length = nameEnd - start;
  const others = head.alsoDrop[length];
  if (others !== undefined && isOneOf(bytes, start, nameEnd, others)) head.dropField(index);
  return noteKnown(head, bytes, index, (length << 8) | (LOWER[bytes[start] as number] as number));
}

function isOneOf(
  bytes: Uint8Array,
  start: number,
  end: number,
  names: readonly Uint8Array[],
): boolean {
  for (let i = 0; i < names.length; i++) {
    if (isNameOrDisguise(bytes, start, end, names[i] as Uint8Array)) return true;
  }
  return false;
}

const keyOf = (name: Uint8Array): number => (name.length << 8) | (name[0] as number);
const HOST_KEY = keyOf(HOST);
const CONTENT_LENGTH_KEY = keyOf(CONTENT_LENGTH);
const TRANSFER_ENCODING_KEY = keyOf(TRANSFER_ENCODING);
const CONNECTION_KEY = keyOf(CONNECTION);
const KEEP_ALIVE_KEY = keyOf(KEEP_ALIVE);
const PROXY_CONNECTION_KEY = keyOf(PROXY_CONNECTION);
const TE_KEY = keyOf(TE);
const UPGRADE_KEY = keyOf(UPGRADE);
const EXPECT_KEY = keyOf(EXPECT);

/** Length and first letter tell the names apart that matter here; the whole name is compared once they fit. */
function noteKnown(head: Head, bytes: Uint8Array, index: number, key: number): number {
  switch (key) {
    case HOST_KEY:
      return is(head, bytes, index, HOST) ? noteHost(head, index) : 0;
    case CONTENT_LENGTH_KEY:
      return is(head, bytes, index, CONTENT_LENGTH)
        ? noteContentLength(head, bytes, index)
        : refusedDisguise(head, bytes, index, CONTENT_LENGTH);
    case TRANSFER_ENCODING_KEY:
      return is(head, bytes, index, TRANSFER_ENCODING)
        ? noteCoding(head, bytes, index)
        : refusedDisguise(head, bytes, index, TRANSFER_ENCODING);
    case EXPECT_KEY:
      if (is(head, bytes, index, EXPECT)) head.expectsContinue = isValue(head, index, CONTINUE);
      return 0;
    default:
      return noteHop(head, bytes, index, key);
  }
}

/** `content_length` frames nothing here, and could somewhere behind us. */
function refusedDisguise(head: Head, bytes: Uint8Array, index: number, name: Uint8Array): number {
  const start = head.fields[index * 4] as number;
  const end = head.fields[index * 4 + 1] as number;
  return isNameOrDisguise(bytes, start, end, name) ? REFUSED_FIELD_NAME : 0;
}

/** Fields for this hop only, RFC 9110 7.6.1. */
function noteHop(head: Head, bytes: Uint8Array, index: number, key: number): number {
  switch (key) {
    case CONNECTION_KEY:
      if (is(head, bytes, index, CONNECTION)) dropHop(head, index, 1);
      return 0;
    case KEEP_ALIVE_KEY:
      if (is(head, bytes, index, KEEP_ALIVE)) dropHop(head, index, 0);
      return 0;
    case PROXY_CONNECTION_KEY:
      if (is(head, bytes, index, PROXY_CONNECTION)) dropHop(head, index, 0);
      return 0;
    case TE_KEY:
      if (is(head, bytes, index, TE)) noteTe(head, index);
      return 0;
    case UPGRADE_KEY:
      return is(head, bytes, index, UPGRADE) ? noteUpgrade(head, bytes, index) : 0;
    default:
      return 0;
  }
}

const is = (head: Head, bytes: Uint8Array, index: number, name: Uint8Array): boolean =>
  isName(bytes, head.fields[index * 4] as number, head.fields[index * 4 + 1] as number, name);

const isValue = (head: Head, index: number, lower: Uint8Array): boolean =>
  isName(
    head.bytes,
    head.fields[index * 4 + 2] as number,
    head.fields[index * 4 + 3] as number,
    lower,
  );

function dropHop(head: Head, index: number, connections: number): void {
  head.connectionCount += connections;
  head.dropField(index);
}

function noteHost(head: Head, index: number): number {
  if (head.hostField >= 0) return REFUSED_HOST;
  head.hostField = index;
  return 0;
}

/** HTAB around what frames a message is white space by RFC 9110 5.6.3, and not to all: llhttp takes a tab behind it for a part of the value. Who
 *  reads so behind us would frame otherwise than we do, and nobody writes it who means well. */
function isTabbed({ fields }: Head, bytes: Uint8Array, index: number): boolean {
  const valueStart = fields[index * 4 + 2] as number;
  for (let p = (fields[index * 4 + 1] as number) + 1; p < valueStart; p++)
    if (bytes[p] === HTAB) return true;
  for (let p = fields[index * 4 + 3] as number; bytes[p] !== CR; p++)
    if (bytes[p] === HTAB) return true;
  return false;
}

/** One field, digits only. RFC 9112 6.3 would let a list of equal lengths pass; we repair nothing. */
function noteContentLength(head: Head, bytes: Uint8Array, index: number): number {
  const start = head.fields[index * 4 + 2] as number;
  const end = head.fields[index * 4 + 3] as number;
  if (head.contentLength >= 0 || end === start || end - start > LENGTH_DIGITS_MAX) {
    return REFUSED_CONTENT_LENGTH;
  }
  if (isTabbed(head, bytes, index)) return REFUSED_CONTENT_LENGTH;
  let length = 0;
  for (let p = start; p < end; p++) {
    const byte = bytes[p] as number;
    if (byte < 48 || byte > 57) return REFUSED_CONTENT_LENGTH;
    length = length * 10 + byte - 48;
  }
  head.contentLength = length;
  head.contentLengthField = index;
  return 0;
}

/** `chunked` alone. With other codings before it the framing would be clear, but we cannot know that the next hop reads them: 501. */
function noteCoding(head: Head, bytes: Uint8Array, index: number): number {
  if (head.isChunked || isTabbed(head, bytes, index)) return REFUSED_TRANSFER_ENCODING;
  head.isChunked = true;
  if (isValue(head, index, CHUNKED)) return 0;
  const start = head.fields[index * 4 + 2] as number;
  const end = head.fields[index * 4 + 3] as number;
  const list = new TokenList(bytes, start, end);
  let count = 0;
  let chunked = 0;
  let isLastChunked = false;
  while (list.next()) {
    isLastChunked = isName(bytes, list.start, list.end, CHUNKED);
    if (isLastChunked) chunked++;
    count++;
  }
  const isFramed = list.isValid && isLastChunked && chunked === 1 && count > 1;
  return isFramed ? REFUSED_CODING : REFUSED_TRANSFER_ENCODING;
}

/** TE goes on only as `trailers` (RFC 9110 10.1.4): whether our next hop takes gzip is not for our client to say. */
function noteTe(head: Head, index: number): void {
  if (!head.acceptsTrailers && isValue(head, index, TRAILERS)) head.acceptsTrailers = true;
  else head.dropField(index);
}

/** Dropped until Connection confirms it. The whole list counts: the next hop may choose any of it. */
function noteUpgrade(head: Head, bytes: Uint8Array, index: number): number {
  if (head.upgradeField >= 0) return REFUSED_UPGRADE;
  const list = new TokenList(
    bytes,
    head.fields[index * 4 + 2] as number,
    head.fields[index * 4 + 3] as number,
  );
  list.allowsSlash = true;
  let count = 0;
  for (; list.next(); count++) {
    if (isHttp(bytes, list.start, list.end)) head.namesHttp = true;
  }
  if (count === 0 || !list.isValid) return REFUSED_UPGRADE;
  head.upgradeField = index;
  head.dropField(index);
  return 0;
}

/** h2c, h2, HTTP and HTTP/2.0 alike. */
const isHttp = (bytes: Uint8Array, start: number, end: number): boolean =>
  isName(bytes, start, end, H2C) ||
  isName(bytes, start, end, H2) ||
  (isName(bytes, start, Math.min(end, start + HTTP.length), HTTP) &&
    (end === start + HTTP.length || bytes[start + HTTP.length] === SLASH));

/** Once all fields are read: persistence (RFC 9112 9.3) and the fields that Connection names. */
export function applyConnection(head: Head): number {
  head.keepAlive = head.minorVersion === 1;
  for (let i = 0; head.connectionCount > 0 && i < head.fieldCount; i++) {
    if (!is(head, head.bytes, i, CONNECTION)) continue;
    head.connectionCount--;
    const refused = applyOptions(head, i);
    if (refused < 0) return refused;
  }
  if (head.isChunked && (head.contentLength >= 0 || head.minorVersion === 0)) {
    return REFUSED_FRAMING;
  }
  return 0;
}

function applyOptions(head: Head, index: number): number {
  const start = head.fields[index * 4 + 2] as number;
  const end = head.fields[index * 4 + 3] as number;
  // The two that nearly every message says need no list.
  if (isValue(head, index, KEEP_ALIVE) || isValue(head, index, CLOSE)) {
    return applyOption(head, start, end);
  }
  const list = new TokenList(head.bytes, start, end);
  for (let count = 0; list.next(); count++) {
    if (count >= CONNECTION_OPTIONS_MAX) return REFUSED_CONNECTION;
    const refused = applyOption(head, list.start, list.end);
    if (refused < 0) return refused;
  }
  return list.isValid ? 0 : REFUSED_CONNECTION;
}

function applyOption(head: Head, start: number, end: number): number {
  const bytes = head.bytes;
  if (isName(bytes, start, end, CLOSE)) {
    head.isLast = true;
    head.keepAlive = false;
  } else if (isName(bytes, start, end, KEEP_ALIVE)) {
    head.keepAlive = !head.isLast;
  } else if (isName(bytes, start, end, UPGRADE)) {
    head.isUpgrade = head.minorVersion === 1 && head.upgradeField >= 0 && !head.namesHttp;
  } else if (isNotForDropping(bytes, start, end)) {
    return REFUSED_CONNECTION;
  } else if (!isName(bytes, start, end, TE)) {
    dropNamed(head, start, end);
  }
  return 0;
}

/** Naming these would change where a message ends or whom it is for (RFC 9110 7.6.1 forbids it). */
const isNotForDropping = (bytes: Uint8Array, start: number, end: number): boolean =>
  isName(bytes, start, end, HOST) ||
  isName(bytes, start, end, CONTENT_LENGTH) ||
  isName(bytes, start, end, TRANSFER_ENCODING);

function dropNamed(head: Head, start: number, end: number): void {
  for (let i = 0; i < head.fieldCount; i++) {
    const nameStart = head.fields[i * 4] as number;
    const nameEnd = head.fields[i * 4 + 1] as number;
    if (nameEnd - nameStart !== end - start) continue;
    let p = 0;
    while (
      p < end - start &&
      LOWER[head.bytes[nameStart + p] as number] === LOWER[head.bytes[start + p] as number]
    ) {
      p++;
    }
    if (p === end - start) head.dropField(i);
  }
}
