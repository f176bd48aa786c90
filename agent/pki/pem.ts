// PEM (RFC 7468) at the door of the PKI: exactly one block of the wanted label, bounded, or nothing.
import { sha256Hex } from "./sha256.ts";

export type PemLabel = "CERTIFICATE" | "CERTIFICATE REQUEST" | "PRIVATE KEY";

/** A P-256 certificate of ours has about 700 bytes; foreign roots may be RSA with long names. */
export const PEM_BYTES_MAX = 16_384;

/** The DER inside, or undefined when `pem` is anything but one block of this label. */
export function readPem(pem: string, label: PemLabel): Uint8Array<ArrayBuffer> | undefined {
  if (pem.length > PEM_BYTES_MAX) return undefined;
  const text = pem.trim();
  const begin = `-----BEGIN ${label}-----`;
  const end = `-----END ${label}-----`;
  if (!text.startsWith(begin) || !text.endsWith(end)) return undefined;
  const base64 = text.slice(begin.length, text.length - end.length).replace(/\s+/g, "");
  if (base64.length === 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) return undefined;
  return new Uint8Array(Buffer.from(base64, "base64"));
}

export function writePem(der: Uint8Array | ArrayBuffer, label: PemLabel): string {
  const base64 = Buffer.from(der instanceof ArrayBuffer ? new Uint8Array(der) : der).toString(
    "base64",
  );
  const lines = base64.match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}

/** SHA-256, hex, of the certificate's DER: what join tokens pin. Undefined when it is no certificate in PEM. */
export function sha256OfCertificate(certificatePem: string): string | undefined {
  const der = readPem(certificatePem, "CERTIFICATE");
  return der === undefined ? undefined : sha256Hex(der);
}
