// Byte classes of RFC 9110 5.6.2 and RFC 3986, as tables: one load answers for one byte.

const ALPHA_NUM = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

function classOf(members: string): Uint8Array {
  const table = new Uint8Array(256);
  for (const member of members) table[member.charCodeAt(0)] = 1;
  return table;
}

/** tchar. */
export const TOKEN = classOf(`${ALPHA_NUM}!#$%&'*+-.^_\`|~`);

/** tchar without lower case: as Istio, so that no policy on GET is passed by an app that reads `get` as GET. */
export const METHOD = classOf("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~");

/** OWS: SP and HTAB. */
export const BLANK = classOf(" \t");

/** field-vchar, SP and HTAB: all but control bytes. */
export const FIELD_VALUE = new Uint8Array(256).fill(1, 0x20, 0x7f).fill(1, 0x80).fill(1, 9, 10);

/** Unreserved characters: a percent-encoded one means the same as itself (RFC 3986 6.2.2.2). */
export const UNRESERVED = classOf(`${ALPHA_NUM}-._~`);

/** reg-name: unreserved, sub-delims and the percent of a triplet. */
export const REG_NAME = classOf(`${ALPHA_NUM}-._~!$&'()*+,;=%`);

export const TARGET_PERCENT = 2;
export const TARGET_BACKSLASH = 4;
export const TARGET_DOT = 8;

/** Visible ASCII without `#`, as 1 with a bit more for what normalisation may care about; 0: not in a target. Characters that RFC 3986 wants
 *  encoded but that mean nothing to a parser (`|`, `{`, `"`) pass: browsers send them in queries. */
export const TARGET = new Uint8Array(256).fill(1, 0x21, 0x7f);
TARGET[0x23] = 0;
TARGET[0x25] = 1 | TARGET_PERCENT;
TARGET[0x5c] = 1 | TARGET_BACKSLASH;
TARGET[0x2e] = 1 | TARGET_DOT;

export const LOWER = Uint8Array.from({ length: 256 }, (_, i) => (i >= 65 && i <= 90 ? i | 32 : i));

export const UNDERSCORE = 95;
export const DASH = 45;

/** Value of a hexadecimal digit; 255: none. */
export const HEX = new Uint8Array(256).fill(255);
for (let i = 0; i < 16; i++) {
  HEX[i.toString(16).charCodeAt(0)] = i;
  HEX[i.toString(16).toUpperCase().charCodeAt(0)] = i;
}

/** Is bytes[start..end) that name, whatever its case. */
export function isName(bytes: Uint8Array, start: number, end: number, lower: Uint8Array): boolean {
  if (end - start !== lower.length) return false;
  for (let i = 0; i < lower.length; i++) {
    if (LOWER[bytes[start + i] as number] !== lower[i]) return false;
  }
  return true;
}

/** As isName, with `_` as good as `-`: so reads whoever hands fields to programs as variables (CGI, WSGI, PHP). */
export function isNameOrDisguise(
  bytes: Uint8Array,
  start: number,
  end: number,
  lower: Uint8Array,
): boolean {
  if (end - start !== lower.length) return false;
  for (let i = 0; i < lower.length; i++) {
    const byte = bytes[start + i] as number;
    if (LOWER[byte] !== lower[i] && (byte !== UNDERSCORE || lower[i] !== DASH)) return false;
  }
  return true;
}

export function isSame(
  bytes: Uint8Array,
  start: number,
  end: number,
  otherStart: number,
  otherEnd: number,
): boolean {
  if (end - start !== otherEnd - otherStart) return false;
  for (let i = 0; i < end - start; i++) {
    if (LOWER[bytes[start + i] as number] !== LOWER[bytes[otherStart + i] as number]) return false;
  }
  return true;
}
