// Encodes header blocks, RFC 7541 6: what the static table has by its index, the rest as literals that are never indexed. No dynamic
// table: it saves bytes on a loopback connection and costs a search for each field, and a literal that is never indexed is right for every
// secret, also for one that its sender marked so (RFC 7541 7.1.3), which the HTTP/1.1 between two agents cannot say.
import { copy } from "./copy.ts";
import { STATIC_TABLE } from "./static-table.ts";

/** Static entries without regard to their values, by length of name and first byte. */
const BY_NAME = new Map<number, { readonly name: Uint8Array; readonly index: number }[]>();
STATIC_TABLE.forEach(({ name }, i) => {
  const key = keyOf(name.length, name[0] as number);
  const found = BY_NAME.get(key) ?? [];
  if (!found.some((one) => one.name.every((byte, at) => byte === name[at])))
    found.push({ name, index: i + 1 });
  BY_NAME.set(key, found);
});

function keyOf(length: number, first: number): number {
  return (length << 8) | first;
}

/** What a block may begin with: an empty table, whatever the peer allows (RFC 7541 4.2). Once for each connection is enough. */
export const NO_TABLE = 0x20;

/** An upper bound of what writeField() writes. */
export const fieldBytesMax = (nameBytes: number, valueBytes: number): number =>
  nameBytes + valueBytes + 12;

export function writeIndexed(out: Uint8Array, to: number, index: number): number {
  return writeNumber(out, to, 7, 0x80, index);
}

/** The name must be in lower case; `lower` says for each byte what it is in lower case. */
export function writeField(
  out: Uint8Array,
  to: number,
  bytes: Uint8Array,
  nameStart: number,
  nameEnd: number,
  valueStart: number,
  valueEnd: number,
  lower: Uint8Array,
): number {
  const index = indexOf(bytes, nameStart, nameEnd, lower);
  let at = writeNumber(out, to, 4, 0x10, index);
  if (index === 0) {
    at = writeNumber(out, at, 7, 0, nameEnd - nameStart);
    for (let i = nameStart; i < nameEnd; i++) out[at++] = lower[bytes[i] as number] as number;
  }
  return writeValue(out, at, bytes, valueStart, valueEnd);
}

/** A literal whose name has a static index. */
export function writeNamed(
  out: Uint8Array,
  to: number,
  index: number,
  bytes: Uint8Array,
  start: number,
  end: number,
): number {
  return writeValue(out, writeNumber(out, to, 4, 0x10, index), bytes, start, end);
}

function writeValue(
  out: Uint8Array,
  to: number,
  bytes: Uint8Array,
  start: number,
  end: number,
): number {
  const at = writeNumber(out, to, 7, 0, end - start);
  copy(bytes, start, end, out, at);
  return at + end - start;
}

function indexOf(bytes: Uint8Array, start: number, end: number, lower: Uint8Array): number {
  const found = BY_NAME.get(keyOf(end - start, lower[bytes[start] as number] as number));
  if (found === undefined) return 0;
  for (const { name, index } of found) {
    let i = 0;
    while (i < name.length && lower[bytes[start + i] as number] === name[i]) i++;
    if (i === name.length) return index;
  }
  return 0;
}

/** RFC 7541 5.1. */
function writeNumber(
  out: Uint8Array,
  to: number,
  prefixBits: number,
  pattern: number,
  value: number,
): number {
  const mask = (1 << prefixBits) - 1;
  let at = to;
  if (value < mask) {
    out[at++] = pattern | value;
    return at;
  }
  out[at++] = pattern | mask;
  let rest = value - mask;
  while (rest >= 0x80) {
    out[at++] = 0x80 | (rest & 0x7f);
    rest >>>= 7;
  }
  out[at++] = rest;
  return at;
}
