// Small byte helpers that every room may use.

const encoder = new TextEncoder();
const latin1 = new TextDecoder("latin1");

/** UTF-8 bytes of a text. */
export const bytesOf = (text: string): Uint8Array => encoder.encode(text);

/** Reads bytes as latin1, as HTTP field values are (RFC 9110 5.5). Short runs avoid TextDecoder's fixed cost. */
export function readLatin1(bytes: Uint8Array, start: number, end: number): string {
  const length = end - start;
  if (length > 24) return latin1.decode(bytes.subarray(start, end));
  let text = "";
  for (let i = start; i < end; i++) text += String.fromCharCode(bytes[i] as number);
  return text;
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

export function hexOf(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += byte.toString(16).padStart(2, "0");
  return text;
}
