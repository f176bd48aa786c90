// Signatures over text, for the manifests that servers sign: ECDSA P-256 / SHA-256, IEEE P1363, base64.
import { X509Certificate } from "node:crypto";
import { readPem } from "./pem.ts";

const P256 = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const utf8 = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);

/** `keyPem` is PKCS#8. Keep the result of openSigningKey when signing often. */
export async function openSigningKey(keyPem: string): Promise<CryptoKey> {
  const der = readPem(keyPem, "PRIVATE KEY");
  if (der === undefined) throw new Error("the signing key is no PKCS#8 PEM");
  return crypto.subtle.importKey("pkcs8", der, P256, false, ["sign"]);
}

export async function signText(key: CryptoKey, text: string): Promise<string> {
  return Buffer.from(await crypto.subtle.sign(P256, key, utf8(text))).toString("base64");
}

/** The key of the last certificate: a server signs every change with the same one for hours. */
let lastOpened: { readonly certificatePem: string; readonly key: CryptoKey } | undefined;

/** Throws for what is no certificate, or not of a P-256 key. */
async function openPublicKey(certificatePem: string): Promise<CryptoKey> {
  if (lastOpened?.certificatePem === certificatePem) return lastOpened.key;
  const spki = new X509Certificate(certificatePem).publicKey.export({
    type: "spki",
    format: "der",
  });
  const key = await crypto.subtle.importKey("spki", new Uint8Array(spki), P256, false, ["verify"]);
  lastOpened = { certificatePem, key };
  return key;
}

/** False too for a certificate or signature that cannot be read: neither is ours. */
export async function isSignedBy(
  certificatePem: string,
  text: string,
  signature: string,
): Promise<boolean> {
  if (readPem(certificatePem, "CERTIFICATE") === undefined) return false;
  if (!/^[A-Za-z0-9+/]{86}==$/.test(signature)) return false; // 64 bytes
  try {
    const key = await openPublicKey(certificatePem);
    return await crypto.subtle.verify(P256, key, Buffer.from(signature, "base64"), utf8(text));
  } catch {
    return false; // It throws.
  }
}
