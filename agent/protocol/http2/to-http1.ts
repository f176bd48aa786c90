// Writes what HTTP/2 said as HTTP/1.1, for the data path, which speaks that. Only what was found well-formed by field-rules.ts is written;
// what HTTP/1.1 has no words for was refused before. RFC 9113 8.2.3 (cookies are joined), 8.3.1 (`host` is `:authority`), and RFC 8441 5 (a
// WebSocket, whose handshake in HTTP/1.1 is RFC 6455 4: its key and the answer to it are ours to say).
import { bytesOf } from "../../base/bytes.ts";
import { copy } from "./copy.ts";
import type { FieldList } from "./field-list.ts";
import { COOKIE, type MessageFacts } from "./field-rules.ts";

/** How the body that follows is delimited. */
export type Framing = "none" | "length" | "chunked" | "tunnel";

/** Of content that is to come. */
export const framingOf = ({ contentLength }: MessageFacts): Framing =>
  contentLength >= 0 ? "length" : "chunked";

const HTTP11 = bytesOf(" HTTP/1.1\r\n");
const HOST_FIELD = bytesOf("host: ");
const CHUNKED_FIELD = bytesOf("transfer-encoding: chunked\r\n");
const NO_LENGTH_FIELD = bytesOf("content-length: 0\r\n");
const HTTP_SCHEME = bytesOf("http");
const STATUS_LINE = bytesOf("HTTP/1.1 ");
const CRLF = bytesOf("\r\n");
const COLON = bytesOf(": ");
const SEMICOLON = bytesOf("; ");
const SCHEME_END = bytesOf("://");
const COOKIE_FIELD = bytesOf("cookie: ");
const GET = bytesOf("GET");
const UPGRADE_FIELDS = bytesOf("connection: upgrade\r\nupgrade: websocket\r\n");
const SWITCHING_LINE = bytesOf("HTTP/1.1 101 Switching Protocols\r\n");
const KEY_NAME = bytesOf("sec-websocket-key");
const ACCEPT_NAME = bytesOf("sec-websocket-accept");
const LENGTH_NAME = bytesOf("content-length");
/** What HTTP/2 does not say of a WebSocket: not processed when it is there all the same. */
const OF_THE_HANDSHAKE = [KEY_NAME, ACCEPT_NAME, LENGTH_NAME];
const NO_FIELDS: readonly Uint8Array[] = [];

/** What either head may need on top of its fields. */
const LINES_BYTES = 256;
const FIELD_LINE_BYTES = 4;

/** An upper bound of what the writers below write. */
export const headBytesMax = (fields: FieldList): number =>
  fields.end + fields.count * FIELD_LINE_BYTES + LINES_BYTES;

/** Target in origin-form; in absolute-form for another scheme than http, which the reader of requests refuses by name. `key`: it asks for
 *  a WebSocket, and is to be answered by what fits that. Returns where it ended. */
export function writeRequest(
  fields: FieldList,
  facts: MessageFacts,
  framing: Framing,
  key: string | undefined,
  out: Uint8Array,
  to: number,
): number {
  const { method, path, scheme, authority, host } = facts;
  let at = key === undefined ? value(fields, method, out, to) : put(out, to, GET);
  out[at++] = 32;
  if (facts.isConnect) {
    if (authority >= 0) at = value(fields, authority, out, at);
  } else if (fields.isValue(scheme, HTTP_SCHEME)) at = value(fields, path, out, at);
  else {
    at = put(out, value(fields, scheme, out, at), SCHEME_END);
    if (authority >= 0) at = value(fields, authority, out, at);
    at = value(fields, path, out, at);
  }
  at = put(out, at, HTTP11);
  if (authority >= 0) {
    at = put(out, at, HOST_FIELD);
    at = put(out, value(fields, authority, out, at), CRLF);
  }
  const skipped = key === undefined ? NO_FIELDS : OF_THE_HANDSHAKE;
  at = writeFields(fields, facts, host >= 0 && authority >= 0, skipped, out, at);
  if (framing === "chunked") at = put(out, at, CHUNKED_FIELD);
  else if (key !== undefined) at = writeHandshake(KEY_NAME, key, out, at);
  return put(out, at, CRLF);
}

function writeHandshake(name: Uint8Array, text: string, out: Uint8Array, to: number): number {
  let at = put(out, put(out, put(out, to, UPGRADE_FIELDS), name), COLON);
  for (let i = 0; i < text.length; i++) out[at++] = text.charCodeAt(i);
  return put(out, at, CRLF);
}

/** A WebSocket is open: what HTTP/2 says by a 2xx. `accept` fits the key of who asked. */
export function writeSwitch(
  fields: FieldList,
  facts: MessageFacts,
  accept: string,
  out: Uint8Array,
  to: number,
): number {
  const at = writeHandshake(ACCEPT_NAME, accept, out, put(out, to, SWITCHING_LINE));
  return put(out, writeFields(fields, facts, false, OF_THE_HANDSHAKE, out, at), CRLF);
}

/** `isEmpty`: the message ends with its head, and could have had content. */
export function writeResponse(
  fields: FieldList,
  facts: MessageFacts,
  framing: Framing,
  isEmpty: boolean,
  out: Uint8Array,
  to: number,
): number {
  let at = put(out, to, STATUS_LINE);
  at = value(fields, 0, out, at);
  out[at++] = 32; // an empty reason, RFC 9112 4
  at = put(out, at, CRLF);
  at = writeFields(fields, facts, false, NO_FIELDS, out, at);
  if (framing === "chunked") at = put(out, at, CHUNKED_FIELD);
  else if (isEmpty && facts.contentLength < 0) at = put(out, at, NO_LENGTH_FIELD);
  return put(out, at, CRLF);
}

/** The last chunk and the trailer section. */
export function writeTrailers(
  fields: FieldList,
  facts: MessageFacts,
  out: Uint8Array,
  to: number,
): number {
  out[to] = 48;
  const at = writeFields(fields, facts, false, NO_FIELDS, out, put(out, to + 1, CRLF));
  return put(out, at, CRLF);
}

function writeFields(
  fields: FieldList,
  facts: MessageFacts,
  skipsHost: boolean,
  skipped: readonly Uint8Array[],
  out: Uint8Array,
  to: number,
): number {
  let at = to;
  let hasCookie = false;
  for (let i = facts.firstRegular; i < fields.count; i++) {
    if (skipsHost && i === facts.host) continue;
    if (skipped.length > 0 && isAnyOf(fields, i, skipped)) continue;
    if (facts.cookies > 1 && fields.isNamed(i, COOKIE)) {
      if (!hasCookie) at = writeCookies(fields, i, out, at);
      hasCookie = true;
      continue;
    }
    copy(fields.bytes, fields.nameStart(i), fields.nameEnd(i), out, at);
    at = put(out, at + fields.nameEnd(i) - fields.nameStart(i), COLON);
    at = put(out, value(fields, i, out, at), CRLF);
  }
  return at;
}

/** No closure in the loop that asks: it would make an object for every field. */
const isAnyOf = (fields: FieldList, index: number, names: readonly Uint8Array[]): boolean =>
  names.some((name) => fields.isNamed(index, name));

function writeCookies(fields: FieldList, first: number, out: Uint8Array, to: number): number {
  let at = value(fields, first, out, put(out, to, COOKIE_FIELD));
  for (let i = first + 1; i < fields.count; i++) {
    if (fields.isNamed(i, COOKIE)) at = value(fields, i, out, put(out, at, SEMICOLON));
  }
  return put(out, at, CRLF);
}

function value(fields: FieldList, index: number, out: Uint8Array, to: number): number {
  const start = fields.valueStart(index);
  const end = fields.valueEnd(index);
  copy(fields.bytes, start, end, out, to);
  return to + end - start;
}

function put(out: Uint8Array, to: number, bytes: Uint8Array): number {
  for (let i = 0; i < bytes.length; i++) out[to + i] = bytes[i] as number;
  return to + bytes.length;
}

/** Hexadecimal digits of a frame's length, and the line ends around its content. */
export const CHUNK_OVERHEAD = 12;

/** A chunk's size line. */
export function writeChunkSize(out: Uint8Array, to: number, size: number): number {
  let shift = 0;
  while (size >>> (shift + 4) > 0) shift += 4;
  let at = to;
  for (; shift >= 0; shift -= 4) {
    const digit = (size >>> shift) & 15;
    out[at++] = digit < 10 ? 48 + digit : 87 + digit;
  }
  return put(out, at, CRLF);
}

export const LAST_CHUNK = bytesOf("0\r\n\r\n");
export const CHUNK_END = CRLF;
