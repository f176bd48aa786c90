// What RFC 9113 8.2 and 8.3 ask of a message's fields, read strictly: a message that breaks a rule is malformed (8.1.1), and nothing of it
// goes on.
import { mayBeTrailer } from "../http1/body.ts";
import { FIELD_VALUE, isName, LOWER, METHOD, TARGET, TOKEN } from "../http1/grammar.ts";
import type { FieldList } from "./field-list.ts";
import { CODE } from "./frame.ts";

const word = (text: string): Uint8Array => Uint8Array.from(text, (c) => c.charCodeAt(0));

const CONTENT_LENGTH = word("content-length");
export const COOKIE = word("cookie");
const HOST = word("host");
const TE = word("te");
const TRAILERS = word("trailers");
const HEAD = word("HEAD");
const CONNECT = word("CONNECT");
const METHOD_FIELD = word(":method");
const SCHEME_FIELD = word(":scheme");
const PATH_FIELD = word(":path");
const AUTHORITY_FIELD = word(":authority");
const STATUS_FIELD = word(":status");
const PROTOCOL_FIELD = word(":protocol");
const WEBSOCKET = word("websocket");
/** RFC 9113 8.2.2. */
const OF_THE_CONNECTION = [
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
].map(word);

const COLON = 58;
const SLASH = 47;
const STAR = 42;
const SP = 32;
const HTAB = 9;
/** As HTTP/1.1 heads are read: more digits are no length of ours. */
const LENGTH_DIGITS_MAX = 15;
const NONE = -1;

/** Label of what was refused. */
export type Malformed =
  | "field_name"
  | "field_value"
  | "connection_field"
  | "pseudo_field"
  | "content_length"
  | "host"
  | "trailer_field"
  | "protocol_unsupported";

/** What is wrong with a stream's frame; also what it is counted as. */
export type Mistake =
  | Malformed
  | "flow_control"
  | "stream_closed"
  | "data_before_head"
  | "trailers_not_last"
  | "trailers_with_length"
  | "fields_in_tunnel"
  | "no_connect"
  | "interim_flood"
  | "fields_too_long";

/** By which its stream is reset. */
export function codeOf(wrong: Mistake): number {
  switch (wrong) {
    case "flow_control":
      return CODE.flowControlError;
    case "stream_closed":
      return CODE.streamClosed;
    case "interim_flood":
      return CODE.enhanceYourCalm;
    case "trailers_with_length":
      return CODE.http11Required;
    default:
      return CODE.protocolError;
  }
}

/** What the fields of a request or response say of it; one record, filled anew for each. Positions are those of the list; -1: absent. */
export class MessageFacts {
  method = NONE;
  scheme = NONE;
  path = NONE;
  authority = NONE;
  host = NONE;
  protocol = NONE;
  status = 0;
  /** Of the first field behind the pseudo-header fields. */
  firstRegular = 0;
  contentLength = NONE;
  cookies = 0;
  isHead = false;
  /** Of the plain kind: without a protocol. */
  isConnect = false;

  forget(): void {
    this.method = NONE;
    this.scheme = NONE;
    this.path = NONE;
    this.authority = NONE;
    this.host = NONE;
    this.protocol = NONE;
    this.status = 0;
    this.firstRegular = 0;
    this.contentLength = NONE;
    this.cookies = 0;
    this.isHead = false;
    this.isConnect = false;
  }
}

/** Undefined: it may go on. */
export function readRequestFields(fields: FieldList, facts: MessageFacts): Malformed | undefined {
  facts.forget();
  let at = 0;
  for (; at < fields.count && isPseudo(fields, at); at++) {
    if (!notePseudo(fields, at, facts)) return "pseudo_field";
  }
  facts.firstRegular = at;
  return readRegular(fields, facts, at) ?? settleRequest(fields, facts);
}

/** As readRequestFields. */
export function readResponseFields(fields: FieldList, facts: MessageFacts): Malformed | undefined {
  facts.forget();
  if (fields.count === 0 || !fields.isNamed(0, STATUS_FIELD)) return "pseudo_field";
  facts.status = statusOf(fields);
  // RFC 9113 8.6: there is no 101.
  if (facts.status < 100 || facts.status > 599 || facts.status === 101) return "pseudo_field";
  facts.firstRegular = 1;
  return readRegular(fields, facts, 1);
}

/** As readRequestFields. What decides about a message cannot come behind it (RFC 9110 6.5.1), in any version of HTTP. */
export function readTrailerFields(fields: FieldList, facts: MessageFacts): Malformed | undefined {
  facts.forget();
  const malformed = readRegular(fields, facts, 0);
  if (malformed !== undefined) return malformed;
  for (let i = 0; i < fields.count; i++) {
    if (!mayBeTrailer(fields.bytes, fields.nameStart(i), fields.nameEnd(i))) return "trailer_field";
  }
  return undefined;
}

const isPseudo = (fields: FieldList, index: number): boolean =>
  fields.nameEnd(index) > fields.nameStart(index) &&
  fields.bytes[fields.nameStart(index)] === COLON;

/** Each once. */
function notePseudo(fields: FieldList, index: number, facts: MessageFacts): boolean {
  if (fields.isNamed(index, METHOD_FIELD)) {
    if (facts.method !== NONE) return false;
    facts.method = index;
  } else if (fields.isNamed(index, SCHEME_FIELD)) {
    if (facts.scheme !== NONE) return false;
    facts.scheme = index;
  } else if (fields.isNamed(index, PATH_FIELD)) {
    if (facts.path !== NONE) return false;
    facts.path = index;
  } else if (fields.isNamed(index, AUTHORITY_FIELD)) {
    if (facts.authority !== NONE) return false;
    facts.authority = index;
  } else return noteProtocol(fields, index, facts);
  return true;
}

function noteProtocol(fields: FieldList, index: number, facts: MessageFacts): boolean {
  if (!fields.isNamed(index, PROTOCOL_FIELD) || facts.protocol !== NONE) return false;
  facts.protocol = index;
  return true;
}

function readRegular(fields: FieldList, facts: MessageFacts, from: number): Malformed | undefined {
  for (let i = from; i < fields.count; i++) {
    const refused = isPseudo(fields, i) ? "pseudo_field" : readField(fields, facts, i);
    if (refused !== undefined) return refused;
  }
  return namesConnection(fields, from) ? "connection_field" : undefined;
}

function readField(fields: FieldList, facts: MessageFacts, index: number): Malformed | undefined {
  const { bytes } = fields;
  const start = fields.nameStart(index);
  const end = fields.nameEnd(index);
  if (start === end) return "field_name";
  for (let i = start; i < end; i++) {
    const byte = bytes[i] as number;
    if (TOKEN[byte] === 0 || LOWER[byte] !== byte) return "field_name";
  }
  if (!isFieldValue(bytes, fields.valueStart(index), fields.valueEnd(index))) return "field_value";
  return noteKnown(fields, facts, index);
}

function isFieldValue(bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; i++) if (FIELD_VALUE[bytes[i] as number] === 0) return false;
  return start === end || !(isBlank(bytes[start]) || isBlank(bytes[end - 1]));
}

const isBlank = (byte: number | undefined): boolean => byte === SP || byte === HTAB;

function noteKnown(fields: FieldList, facts: MessageFacts, index: number): Malformed | undefined {
  switch (fields.nameEnd(index) - fields.nameStart(index)) {
    case 2:
      if (!fields.isNamed(index, TE)) return undefined;
      // In a request, and there only so.
      return facts.status === 0 && fields.isValue(index, TRAILERS) ? undefined : "connection_field";
    case 4:
      if (!fields.isNamed(index, HOST)) return undefined;
      if (facts.host !== NONE) return "host";
      facts.host = index;
      return undefined;
    case 6:
      if (fields.isNamed(index, COOKIE)) facts.cookies++;
      return undefined;
    case 14:
      return fields.isNamed(index, CONTENT_LENGTH) ? noteLength(fields, facts, index) : undefined;
    default:
      return undefined;
  }
}

/** Names of the connection are looked for once the rest is known to be in order: nobody honest sends them. */
function namesConnection(fields: FieldList, from: number): boolean {
  for (let i = from; i < fields.count; i++) {
    const length = fields.nameEnd(i) - fields.nameStart(i);
    if (length !== 7 && length !== 10 && length < 16) continue;
    for (const name of OF_THE_CONNECTION) if (fields.isNamed(i, name)) return true;
  }
  return false;
}

function noteLength(fields: FieldList, facts: MessageFacts, index: number): Malformed | undefined {
  const start = fields.valueStart(index);
  const end = fields.valueEnd(index);
  if (facts.contentLength >= 0 || start === end || end - start > LENGTH_DIGITS_MAX)
    return "content_length";
  let length = 0;
  for (let i = start; i < end; i++) {
    const byte = fields.bytes[i] as number;
    if (byte < 48 || byte > 57) return "content_length";
    length = length * 10 + byte - 48;
  }
  facts.contentLength = length;
  return undefined;
}

function settleRequest(fields: FieldList, facts: MessageFacts): Malformed | undefined {
  const { method, authority, host } = facts;
  if (method < 0 || !isOf(fields, method, METHOD)) return "pseudo_field";
  facts.isHead = fields.isValue(method, HEAD);
  facts.isConnect = fields.isValue(method, CONNECT);
  if (facts.protocol >= 0 && !mayHaveProtocol(fields, facts)) return "pseudo_field";
  if (!hasTarget(fields, facts)) return "pseudo_field";
  if (authority >= 0 && !isOf(fields, authority, TARGET)) return "pseudo_field";
  if (authority >= 0 && host >= 0 && !isSameValue(fields, authority, host)) return "host";
  return facts.protocol < 0 ? undefined : settleProtocol(fields, facts);
}

/** RFC 8441 4: CONNECT alone has one, and with it the target of any other request. */
function mayHaveProtocol(fields: FieldList, facts: MessageFacts): boolean {
  if (!facts.isConnect || !isOf(fields, facts.protocol, TOKEN)) return false;
  facts.isConnect = false;
  return true;
}

/** What comes behind the head is the tunnel's, so it has no length; and only one protocol has another shape in HTTP/1.1 that is known. */
function settleProtocol(fields: FieldList, facts: MessageFacts): Malformed | undefined {
  const { bytes } = fields;
  const { protocol, contentLength } = facts;
  if (contentLength >= 0) return "content_length";
  return isName(bytes, fields.valueStart(protocol), fields.valueEnd(protocol), WEBSOCKET)
    ? undefined
    : "protocol_unsupported";
}

/** RFC 9113 8.5: CONNECT has an authority and neither path nor scheme; all others have both (8.3.1). */
function hasTarget(fields: FieldList, facts: MessageFacts): boolean {
  const { path, scheme, authority, isConnect } = facts;
  if (isConnect) return path < 0 && scheme < 0 && authority >= 0;
  if (path < 0 || scheme < 0) return false;
  return isOf(fields, path, TARGET) && isOf(fields, scheme, TOKEN) && isPathForm(fields, path);
}

/** `/...` or `*`, RFC 9113 8.3.1. */
function isPathForm(fields: FieldList, path: number): boolean {
  const start = fields.valueStart(path);
  const first = fields.bytes[start];
  return first === SLASH || (first === STAR && fields.valueEnd(path) === start + 1);
}

/** At least one byte, and all of that class: what goes into a request line cannot end it. */
function isOf(fields: FieldList, index: number, table: Uint8Array): boolean {
  const start = fields.valueStart(index);
  const end = fields.valueEnd(index);
  for (let i = start; i < end; i++) if (table[fields.bytes[i] as number] === 0) return false;
  return end > start;
}

function isSameValue(fields: FieldList, a: number, b: number): boolean {
  return fields.isValue(a, fields.bytes.subarray(fields.valueStart(b), fields.valueEnd(b)));
}

function statusOf(fields: FieldList): number {
  const start = fields.valueStart(0);
  if (fields.valueEnd(0) - start !== 3) return 0;
  let status = 0;
  for (let i = start; i < start + 3; i++) {
    const byte = fields.bytes[i] as number;
    if (byte < 48 || byte > 57) return 0;
    status = status * 10 + byte - 48;
  }
  return status;
}
