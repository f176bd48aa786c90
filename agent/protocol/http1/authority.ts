// Host fields and authorities: uri-host [ ":" port ], RFC 9110 7.2 and RFC 3986 3.2, without userinfo.
import { readLatin1 } from "../../base/bytes.ts";
import { HEX, REG_NAME } from "./grammar.ts";

const COLON = 58;
/** `]`. */
const CLOSING = 93;
const IPV6_GROUPS = 8;
/** `[` and the longest way to write an address. */
const LITERAL_BYTES_MAX = 46;

/** Is bytes[start..end) an authority with a host that is not empty. */
export function isAuthority(bytes: Uint8Array, start: number, end: number): boolean {
  const hostEnd =
    bytes[start] === 91 ? endOfLiteral(bytes, start, end) : endOfRegName(bytes, start, end);
  if (hostEnd <= start) return false;
  return hostEnd === end || (bytes[hostEnd] === COLON && isPort(bytes, hostEnd + 1, end));
}

/** As isAuthority, with a port that is not empty: what CONNECT names. */
export function isHostAndPort(bytes: Uint8Array, start: number, end: number): boolean {
  const last = bytes[end - 1] as number;
  if (!isAuthority(bytes, start, end) || last < 48 || last > 57) return false;
  for (let i = end - 1; i > start; i--) {
    if (bytes[i] === COLON) return true;
    if (bytes[i] === 93) return false;
  }
  return false;
}

function endOfRegName(bytes: Uint8Array, start: number, end: number): number {
  let at = start;
  while (at < end && REG_NAME[bytes[at] as number] === 1) {
    if (bytes[at] === 37 && !isTriplet(bytes, at, end)) return -1;
    at++;
  }
  return at;
}

/** IPv6 in brackets; IPvFuture is nobody's. */
function endOfLiteral(bytes: Uint8Array, start: number, end: number): number {
  let at = start + 1;
  while (at < end && at - start <= LITERAL_BYTES_MAX && bytes[at] !== CLOSING) at++;
  return at < end && bytes[at] === CLOSING && isIpv6(readLatin1(bytes, start + 1, at))
    ? at + 1
    : -1;
}

/** RFC 3986 3.2.2: eight groups of one to four digits, the last two perhaps as an IPv4 address, one run of them perhaps as `::`.
 *  As text: rare, and 45 characters at most. */
function isIpv6(text: string): boolean {
  const [before = "", after, more] = text.split("::");
  if (more !== undefined) return false;
  if (after === undefined) return groupsOf(before, true) === IPV6_GROUPS;
  return groupsOf(before, false) + groupsOf(after, true) < IPV6_GROUPS;
}

/** How many groups `a:b:c` has; more than there are in an address: it is something else. */
function groupsOf(text: string, isEnd: boolean): number {
  if (text === "") return 0;
  const parts = text.split(":");
  const endsAsIpv4 = isEnd && IPV4.test(parts.at(-1) ?? "");
  if (endsAsIpv4) parts.pop();
  if (!parts.every((part) => GROUP.test(part))) return IPV6_GROUPS + 1;
  return parts.length + (endsAsIpv4 ? 2 : 0);
}

const GROUP = /^[0-9a-f]{1,4}$/i;
const IPV4 = /^((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(\.(?!$)|$)){4}$/;

function isPort(bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start > 5) return false;
  let port = 0;
  for (let at = start; at < end; at++) {
    const byte = bytes[at] as number;
    if (byte < 48 || byte > 57) return false;
    port = port * 10 + byte - 48;
  }
  return port <= 65535;
}

/** A percent sign followed by two hexadecimal digits. */
export function isTriplet(bytes: Uint8Array, at: number, end: number): boolean {
  return (
    at + 2 < end && HEX[bytes[at + 1] as number] !== 255 && HEX[bytes[at + 2] as number] !== 255
  );
}
