// Says in HTTP/2 what the data path says in HTTP/1.1: heads and trailers as header blocks. Relies on the readers of protocol/http1: what
// they refused never comes here, and fields of the hop are dropped already. RFC 9113 8.2.2, 8.3.
import { bytesOf } from "../../base/bytes.ts";
import { LOWER } from "../http1/grammar.ts";
import type { Head, RequestHead, ResponseHead } from "../http1/head.ts";
import { fieldBytesMax, writeField, writeIndexed, writeNamed } from "./hpack-encoder.ts";

const CONNECT = bytesOf("CONNECT");
const WEBSOCKET_FIELD = bytesOf(":protocolwebsocket");
const PROTOCOL_BYTES = 9;
/** RFC 8441 5: a handshake that HTTP/2 does not need; RFC 9110 9.3.6: no length. */
const NOT_IN_A_TUNNELS_HEAD = ["sec-websocket-key", "sec-websocket-accept", "content-length"];
const NO_NAMES: readonly string[] = [];
const AUTHORITY = 1;
const GET = 2;
const POST = 3;
const METHOD = 2;
const SLASH = 4;
const PATH = 4;
const SCHEME_HTTP = 6;
const STATUS = 8;
/** Statuses of the static table, by their index. */
const STATUSES: readonly number[] = [200, 204, 206, 304, 400, 404, 500];

const CR = 13;
const COLON = 58;
const digits = new Uint8Array(3);

/** An upper bound of a head's block. */
export const blockBytesMax = (head: Head): number =>
  head.headEnd - head.start + (head.fieldCount + 4) * fieldBytesMax(0, 0);

/** `asksTunnel`: for a WebSocket, RFC 8441 5. Returns where the block ended. */
export function writeRequestBlock(
  head: RequestHead,
  asksTunnel: boolean,
  out: Uint8Array,
  to: number,
): number {
  const { bytes, methodStart, methodEnd, targetStart, targetEnd } = head;
  const { method } = head;
  let at = to;
  if (asksTunnel) at = writeConnect(out, at);
  else if (method === "GET") at = writeIndexed(out, at, GET);
  else if (method === "POST") at = writeIndexed(out, at, POST);
  else at = writeNamed(out, at, METHOD, bytes, methodStart, methodEnd);
  at = writeIndexed(out, at, SCHEME_HTTP);
  if (targetEnd - targetStart === 1 && bytes[targetStart] === 47) at = writeIndexed(out, at, SLASH);
  else at = writeNamed(out, at, PATH, bytes, targetStart, targetEnd);
  at = writeNamed(out, at, AUTHORITY, bytes, head.hostStart, head.hostEnd);
  const skipped = asksTunnel ? NOT_IN_A_TUNNELS_HEAD : NO_NAMES;
  return writeFields(head, out, at, head.hostField, head.upgradeField, skipped);
}

function writeConnect(out: Uint8Array, to: number): number {
  const at = writeNamed(out, to, METHOD, CONNECT, 0, CONNECT.length);
  const { length } = WEBSOCKET_FIELD;
  return writeField(out, at, WEBSOCKET_FIELD, 0, PROTOCOL_BYTES, PROTOCOL_BYTES, length, LOWER);
}

/** As writeRequestBlock. */
export function writeResponseBlock(head: ResponseHead, out: Uint8Array, to: number): number {
  return writeFields(head, out, writeStatus(out, to, head.status), -1, -1, NO_NAMES);
}

/** What HTTP/1.1 says by a 101: a WebSocket is open. */
export function writeTunnelBlock(head: ResponseHead, out: Uint8Array, to: number): number {
  const at = writeStatus(out, to, 200);
  return writeFields(head, out, at, -1, head.upgradeField, NOT_IN_A_TUNNELS_HEAD);
}

export function writeStatus(out: Uint8Array, to: number, status: number): number {
  const known = STATUSES.indexOf(status);
  if (known >= 0) return writeIndexed(out, to, STATUS + known);
  digits[0] = 48 + Math.floor(status / 100);
  digits[1] = 48 + (Math.floor(status / 10) % 10);
  digits[2] = 48 + (status % 10);
  return writeNamed(out, to, STATUS, digits, 0, 3);
}

function writeFields(
  head: Head,
  out: Uint8Array,
  to: number,
  host: number,
  upgrade: number,
  skipped: readonly string[],
) {
  const { bytes, fields, dropped } = head;
  let at = to;
  for (let i = 0; i < head.fieldCount; i++) {
    if (dropped[i] === 1 || i === host || i === upgrade) continue;
    if (skipped.length > 0 && isAnyOf(head, i, skipped)) continue;
    if (head.isChunked && head.isNamed(i, "transfer-encoding")) continue;
    at = writeField(
      out,
      at,
      bytes,
      fields[4 * i] as number,
      fields[4 * i + 1] as number,
      fields[4 * i + 2] as number,
      fields[4 * i + 3] as number,
      LOWER,
    );
  }
  return at;
}

/** No closure in the loop that asks: it would make an object for every field. */
const isAnyOf = (head: Head, index: number, names: readonly string[]): boolean =>
  names.some((name) => head.isNamed(index, name));

/** `lines` is a trailer section as BodyReader kept it: each field ends in CR. Returns where the block ended. */
export function writeTrailerBlock(
  lines: Uint8Array,
  length: number,
  out: Uint8Array,
  to: number,
): number {
  let at = to;
  for (let start = 0; start < length && lines[start] !== CR; ) {
    let nameEnd = start;
    while (lines[nameEnd] !== COLON) nameEnd++;
    let valueStart = nameEnd + 1;
    let end = valueStart;
    while (end < length && lines[end] !== CR) end++;
    let valueEnd = end;
    while (valueStart < valueEnd && isBlank(lines[valueStart])) valueStart++;
    while (valueEnd > valueStart && isBlank(lines[valueEnd - 1])) valueEnd--;
    at = writeField(out, at, lines, start, nameEnd, valueStart, valueEnd, LOWER);
    start = end + 1;
  }
  return at;
}

/** Of a trailer section of so many bytes: a field is at least three of them. */
export const trailerBlockBytesMax = (length: number): number =>
  length + Math.ceil(length / 3) * fieldBytesMax(0, 0);

const isBlank = (byte: number | undefined): boolean => byte === 32 || byte === 9;
