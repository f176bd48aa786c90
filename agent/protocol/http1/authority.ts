// Host fields and authorities: uri-host [ ":" port ], RFC 9110 7.2 and RFC 3986 3.2, without userinfo.
import { HEX, REG_NAME } from "./grammar.ts";

const COLON = 58;

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
  let colons = 0;
  let at = start + 1;
  for (; at < end && bytes[at] !== 93; at++) {
    const byte = bytes[at] as number;
    if (byte === COLON) colons++;
    else if (byte !== 46 && HEX[byte] === 255) return -1;
  }
  return at < end && colons >= 2 && colons <= 8 && at - start <= 46 ? at + 1 : -1;
}

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
