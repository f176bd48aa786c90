// DNS messages as the agent's resolver needs them: one question in, a small answer out, for UDP and TCP. RFC 1035, 6891 (EDNS).
// Thin over dns-packet; the question is read here, because its bytes decide whom a name means and dns-packet joins labels that
// hold dots of their own.
import {
  type Answer,
  AUTHORITATIVE_ANSWER,
  decode,
  encode,
  type OptAnswer,
  type Packet,
  RECURSION_AVAILABLE,
  RECURSION_DESIRED,
  type RecordType,
  TRUNCATED_RESPONSE,
} from "dns-packet";
import { err, ok, type Result } from "../base/result.ts";

/** Queries are short: what is longer is somebody's experiment. */
export const DNS_QUERY_BYTES_MAX = 4096;
/** RFC 1035 2.3.4, without EDNS. */
const UDP_BYTES_MAX = 512;
/** What we ever send over UDP, whatever a client allows: below every sane path's MTU (RFC 9715). */
const EDNS_BYTES_MAX = 1232;
const HEADER_BYTES = 12;
const NAME_BYTES_MAX = 255;
/** Of one answer: a mesh name has one or two. */
const ADDRESSES_MAX = 64;
const TYPE_A = 1;
const TYPE_AAAA = 28;
const CLASS_IN = 1;

export type DnsType = "A" | "AAAA" | "other";

export interface DnsQuery {
  readonly id: number;
  /** Lower case, without the final dot; the root is "". */
  readonly name: string;
  /** As asked: an answer repeats it letter for letter, since resolvers check that (draft-vixie-dnsext-dns0x20). */
  readonly nameAsAsked: string;
  readonly type: DnsType;
  readonly typeNumber: number;
  /** False for a label with bytes other than letters, digits, - and _, and for classes other than IN: never a mesh name; forward it. */
  readonly isPlain: boolean;
  readonly isRecursionDesired: boolean;
  readonly hasEdns: boolean;
  /** Header and question as they came. */
  readonly message: Uint8Array;
  /** Longest answer the client takes over UDP. */
  readonly udpBytesMax: number;
}

/** `not_a_query`: a response or another opcode; ignore it. The others deserve FORMERR, or silence. */
export type DnsRefusal = "malformed" | "too_long" | "not_a_query" | "not_one_question";

/** Never throws, whatever the bytes. */
export function parseQuery(
  bytes: Uint8Array,
  start: number,
  end: number,
): Result<DnsQuery, DnsRefusal> {
  const length = end - start;
  if (length < HEADER_BYTES + 5) return err("malformed");
  if (length > DNS_QUERY_BYTES_MAX) return err("too_long");
  const message = Buffer.from(bytes.buffer, bytes.byteOffset + start, length);
  const flags = message.readUInt16BE(2);
  if ((flags & 0xf800) !== 0) return err("not_a_query");
  if (message.readUInt16BE(4) !== 1) return err("not_one_question");
  const labels = readLabels(message);
  if (labels === undefined) return err("malformed");
  const type = message.readUInt16BE(labels.end);
  const isInternet = message.readUInt16BE(labels.end + 2) === CLASS_IN;
  const edns = readEdns(message);
  if (edns === "malformed") return err("malformed");
  return ok({
    id: message.readUInt16BE(0),
    name: labels.name.toLowerCase(),
    nameAsAsked: labels.name,
    typeNumber: type,
    type: type === TYPE_A ? "A" : type === TYPE_AAAA ? "AAAA" : "other",
    isPlain: isInternet && labels.isPlain,
    message: Uint8Array.from(message.subarray(0, labels.end + 4)),
    isRecursionDesired: (flags & RECURSION_DESIRED) !== 0,
    hasEdns: edns !== undefined,
    udpBytesMax: Math.min(EDNS_BYTES_MAX, Math.max(UDP_BYTES_MAX, edns?.udpPayloadSize ?? 0)),
  });
}

/** The question's name; it is the first in the message, so it has nothing to point to. */
function readLabels(message: Buffer): { name: string; end: number; isPlain: boolean } | undefined {
  const labels: string[] = [];
  let isPlain = true;
  let at = HEADER_BYTES;
  for (;;) {
    const length = message[at];
    if (length === undefined || length > 63) return undefined;
    at++;
    if (length === 0) break;
    const label = message.toString("latin1", at, at + length);
    isPlain &&= /^[A-Za-z0-9_-]+$/.test(label);
    labels.push(label);
    at += length;
    if (at - HEADER_BYTES >= NAME_BYTES_MAX) return undefined;
  }
  return at + 4 <= message.length ? { name: labels.join("."), end: at, isPlain } : undefined;
}

/** Reads all the rest too, so that what we call a query is one to its end. */
function readEdns(message: Buffer): OptAnswer | undefined | "malformed" {
  if (message.readUInt16BE(10) === 0) return undefined;
  try {
    const found = decode(message).additionals?.find((record) => record.type === "OPT");
    return found as OptAnswer | undefined;
  } catch {
    // dns-packet has no other way to say that bytes are nonsense.
    return "malformed";
  }
}

export type DnsAnswer =
  /** Textual addresses of the query's own family; with none it is NODATA: the name exists, without such a record. */
  | { readonly is: "addresses"; readonly addresses: readonly string[]; readonly ttlSeconds: number }
  | { readonly is: "no_such_name" }
  | { readonly is: "server_failure" }
  | { readonly is: "refused" };

const RCODES = { addresses: 0, server_failure: 2, no_such_name: 3, refused: 5 } as const;

/** The answer's bytes. Over UDP one that is longer than the client takes is truncated (TC), so that it asks again over TCP. */
export function writeAnswer(
  query: DnsQuery,
  answer: DnsAnswer,
  transport: "udp" | "tcp",
): Uint8Array {
  if (!query.isPlain) return echo(query, RCODES[answer.is]);
  const recursion = RECURSION_AVAILABLE | (query.isRecursionDesired ? RECURSION_DESIRED : 0);
  const packet: Packet = {
    id: query.id,
    type: "response",
    flags: AUTHORITATIVE_ANSWER | recursion | RCODES[answer.is],
    questions: [{ name: query.nameAsAsked, type: typeOf(query) }],
    answers: answer.is === "addresses" ? recordsOf(query, answer) : [],
    additionals: query.hasEdns ? [OPT] : [],
  };
  const bytes = encode(packet);
  if (transport === "tcp" || bytes.length <= query.udpBytesMax) return bytes;
  return encode({ ...packet, flags: (packet.flags ?? 0) | TRUNCATED_RESPONSE, answers: [] });
}

const OPT: OptAnswer = {
  name: ".",
  type: "OPT",
  udpPayloadSize: EDNS_BYTES_MAX,
  extendedRcode: 0,
  ednsVersion: 0,
  flags: 0,
  flag_do: false,
  options: [],
};

/** dns-packet writes types it has no name for as `UNKNOWN_number`. */
const typeOf = (query: DnsQuery): RecordType =>
  query.type === "other" ? (`UNKNOWN_${query.typeNumber}` as RecordType) : query.type;

function recordsOf(query: DnsQuery, answer: DnsAnswer & { is: "addresses" }): Answer[] {
  if (query.type === "other") return [];
  const type = query.type;
  return answer.addresses
    .slice(0, ADDRESSES_MAX)
    .map((data) => ({ type, name: query.nameAsAsked, ttl: answer.ttlSeconds, data }));
}

/** An answer without records to a question that cannot be written again from its text. */
function echo(query: DnsQuery, rcode: number): Uint8Array {
  const bytes = Uint8Array.from(query.message);
  bytes[2] = 0x80 | (query.isRecursionDesired ? 1 : 0);
  bytes[3] = 0x80 | rcode;
  bytes.fill(0, 6, HEADER_BYTES);
  return bytes;
}

/** A message with its length before it, as TCP carries it (RFC 1035 4.2.2). */
export function frameForTcp(message: Uint8Array): Uint8Array {
  const framed = new Uint8Array(message.length + 2);
  framed[0] = message.length >> 8;
  framed[1] = message.length & 255;
  framed.set(message, 2);
  return framed;
}

/** Length of the message whose TCP frame begins at `start` (the message at start + 2); "need_more" until all of it is there. */
export function readTcpFrame(
  bytes: Uint8Array,
  start: number,
  end: number,
): Result<number | "need_more", "too_long" | "malformed"> {
  if (end - start < 2) return ok("need_more");
  const length = ((bytes[start] as number) << 8) | (bytes[start + 1] as number);
  if (length < HEADER_BYTES) return err("malformed");
  if (length > DNS_QUERY_BYTES_MAX) return err("too_long");
  return ok(end - start - 2 < length ? "need_more" : length);
}
