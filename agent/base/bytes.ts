// Small byte helpers that every room may use.

const encoder = new TextEncoder();
const latin1 = new TextDecoder("latin1");

/** UTF-8 bytes of a text. */
export const bytesOf = (text: string): Uint8Array => encoder.encode(text);

/** Reads bytes as latin1, one character of the same number each, as HTTP field values are (RFC 9110 5.5). TextDecoder's "latin1" is
 *  windows-1252, which differs from 0x80 to 0x9f: such bytes, and short runs, are read one by one. */
export function readLatin1(bytes: Uint8Array, start: number, end: number): string {
  if (end - start > 8 && !hasC1(bytes, start, end))
    return latin1.decode(bytes.subarray(start, end));
  let text = "";
  for (let i = start; i < end; i++) text += String.fromCharCode(bytes[i] as number);
  return text;
}

function hasC1(bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; i++) if (((bytes[i] as number) & 0xe0) === 0x80) return true;
  return false;
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  let length = 0;
  for (const part of parts) length += part.length;
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
