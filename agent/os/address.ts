// struct sockaddr_in and sockaddr_in6 in an arena, and addresses as text (RFC 5952).
import { parseIpv4, parseIpv6 } from "../base/ip-text.ts";
import { AF_INET, AF_INET6 } from "./libc.ts";

/** Room for any sockaddr we use. */
export const SOCKADDR_BYTES = 28;

/** Writes a sockaddr at `at`; returns its length, or 0 when the text is no IP address. */
export function writeSockaddr(
  bytes: Uint8Array,
  at: number,
  address: string,
  port: number,
): number {
  bytes.fill(0, at, at + SOCKADDR_BYTES);
  bytes[at + 2] = port >> 8;
  bytes[at + 3] = port & 255;
  if (!address.includes(":")) {
    bytes[at] = AF_INET;
    return writeIpv4(bytes, at + 4, address) ? 16 : 0;
  }
  bytes[at] = AF_INET6;
  return writeIpv6(bytes, at + 8, address) ? 28 : 0;
}

function writeIpv4(bytes: Uint8Array, at: number, text: string): boolean {
  const address = parseIpv4(text);
  if (address !== undefined) bytes.set(address, at);
  return address !== undefined;
}

function writeIpv6(bytes: Uint8Array, at: number, text: string): boolean {
  const groups = parseIpv6(text);
  groups?.forEach((group, i) => {
    bytes[at + 2 * i] = group >> 8;
    bytes[at + 2 * i + 1] = group & 255;
  });
  return groups !== undefined;
}

export const readPort = (bytes: Uint8Array, at: number): number =>
  ((bytes[at + 2] as number) << 8) | (bytes[at + 3] as number);

/** The address of a sockaddr as text; an IPv4-mapped one as IPv4. */
export function readAddress(bytes: Uint8Array, at: number): string {
  if (bytes[at] === AF_INET) return readIpv4(bytes, at + 4);
  const isMapped =
    bytes[at + 18] === 0xff &&
    bytes[at + 19] === 0xff &&
    bytes.subarray(at + 8, at + 18).every((b) => b === 0);
  return isMapped ? readIpv4(bytes, at + 20) : readIpv6(bytes, at + 8);
}

/** The same few addresses come again and again, and each connection keeps their text. By a hash of the address; one place each. */
const TEXTS = 256;
const textOf: string[] = new Array<string>(TEXTS).fill("0.0.0.0");
const addressIn = new Int32Array(TEXTS);

function readIpv4(bytes: Uint8Array, at: number): string {
  const [a, b, c, d] = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]] as Four;
  const address = (a << 24) | (b << 16) | (c << 8) | d;
  const place = Math.imul(address, 0x9e3779b1) >>> 24;
  if (addressIn[place] !== address) {
    addressIn[place] = address;
    textOf[place] = [a, b, c, d].join("."); // joined: a template would keep its parts as well
  }
  return textOf[place] as string;
}
type Four = [number, number, number, number];

function readIpv6(bytes: Uint8Array, at: number): string {
  const groups: number[] = [];
  for (let i = 0; i < 16; i += 2)
    groups.push(((bytes[at + i] as number) << 8) | (bytes[at + i + 1] as number));
  let bestAt = -1;
  let bestLength = 1;
  for (let i = 0; i < 8; i++) {
    let length = 0;
    while (i + length < 8 && groups[i + length] === 0) length++;
    if (length > bestLength) {
      bestAt = i;
      bestLength = length;
    }
  }
  const hex = groups.map((group) => group.toString(16));
  if (bestAt < 0) return hex.join(":");
  return `${hex.slice(0, bestAt).join(":")}::${hex.slice(bestAt + bestLength).join(":")}`;
}
