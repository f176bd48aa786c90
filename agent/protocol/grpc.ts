// What gRPC says in HTTP: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md (requests, timeouts, status and its message) and
// http-grpc-status-mapping.md beside it.
import { bytesOf } from "../base/bytes.ts";
import { LOWER } from "./http1/grammar.ts";
import type { Head } from "./http1/head.ts";

const CONTENT_TYPE = bytesOf("application/grpc");
const PLUS = 43;
const SEMICOLON = 59;
const STATUS_NAME = bytesOf("grpc-status:");
/** OK to UNAUTHENTICATED. */
const STATUSES: readonly string[] = Array.from({ length: 17 }, (_, status) => `${status}`);
const UNKNOWN = "2";

/** By HTTP status, for answers of a proxy's own. 504 is said of timeouts only. */
const STATUS_OF_HTTP: { readonly [status: number]: string } = {
  400: "13", // INTERNAL
  401: "16", // UNAUTHENTICATED
  403: "7", // PERMISSION_DENIED
  404: "12", // UNIMPLEMENTED
  429: "14", // UNAVAILABLE
  502: "14",
  503: "14",
  504: "4", // DEADLINE_EXCEEDED
};

export const grpcStatusOfHttp = (status: number): string => STATUS_OF_HTTP[status] ?? UNKNOWN;

/** `application/grpc`, `application/grpc+proto`; not `application/grpc-web`, which is another protocol. */
export function isGrpc(head: Head): boolean {
  const at = head.find("content-type");
  if (at < 0) return false;
  const { bytes } = head;
  const start = head.fields[4 * at + 2] as number;
  const end = head.fields[4 * at + 3] as number;
  const typeEnd = start + CONTENT_TYPE.length;
  if (end < typeEnd) return false;
  for (let i = 0; i < CONTENT_TYPE.length; i++)
    if (LOWER[bytes[start + i] as number] !== CONTENT_TYPE[i]) return false;
  return end === typeEnd || bytes[typeEnd] === PLUS || bytes[typeEnd] === SEMICOLON;
}

const UNIT_MS: { readonly [unit: string]: number } = {
  H: 3_600_000,
  M: 60_000,
  S: 1_000,
  m: 1,
  u: 1e-3,
  n: 1e-6,
};

/** `grpc-timeout` in ms: at most eight digits and a unit. Undefined: it is none, and there is no deadline. */
export function parseGrpcTimeout(text: string): number | undefined {
  const [, digits, unit = ""] = /^(\d{1,8})([HMSmun])$/.exec(text) ?? [];
  const unitMs = UNIT_MS[unit];
  return digits === undefined || unitMs === undefined ? undefined : Number(digits) * unitMs;
}

/** As a label: one of the statuses there are; what is none is UNKNOWN. `end` may have blanks before it. */
function statusIn(bytes: Uint8Array, from: number, end: number): string {
  let start = from;
  let stop = end;
  while (start < stop && isBlank(bytes[start])) start++;
  while (stop > start && isBlank(bytes[stop - 1])) stop--;
  if (stop === start || stop - start > 2) return UNKNOWN;
  let status = 0;
  for (let i = start; i < stop; i++) {
    const digit = (bytes[i] as number) - 48;
    if (digit < 0 || digit > 9) return UNKNOWN;
    status = 10 * status + digit;
  }
  return STATUSES[status] ?? UNKNOWN;
}

const isBlank = (byte: number | undefined): boolean => byte === 32 || byte === 9;

/** Of a response that is only trailers. Undefined: it says none. */
export function statusInHead(head: Head): string | undefined {
  const at = head.find("grpc-status");
  if (at < 0) return undefined;
  return statusIn(head.bytes, head.fields[4 * at + 2] as number, head.fields[4 * at + 3] as number);
}

/** `lines` as BodyReader keeps trailers: each field ends in CR. */
export function statusInTrailers(lines: Uint8Array, length: number): string | undefined {
  for (let start = 0; start < length; ) {
    const cr = lines.indexOf(13, start);
    const end = cr < 0 || cr > length ? length : cr;
    if (isStatus(lines, start, end)) return statusIn(lines, start + STATUS_NAME.length, end);
    start = end + 1;
  }
  return undefined;
}

function isStatus(lines: Uint8Array, start: number, end: number): boolean {
  if (end - start < STATUS_NAME.length) return false;
  for (let i = 0; i < STATUS_NAME.length; i++) {
    const byte = lines[start + i] as number;
    if ((byte >= 65 && byte <= 90 ? byte | 32 : byte) !== STATUS_NAME[i]) return false;
  }
  return true;
}

/** A `grpc-message`: UTF-8, with what is not printable ASCII, and the percent sign, encoded. */
export function grpcMessage(text: string): string {
  let message = "";
  for (const byte of bytesOf(text)) {
    const isPlain = byte >= 0x20 && byte <= 0x7e && byte !== 0x25;
    const hex = byte.toString(16).toUpperCase().padStart(2, "0");
    message += isPlain ? String.fromCharCode(byte) : `%${hex}`;
  }
  return message;
}
