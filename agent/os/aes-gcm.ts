// AES-128-GCM (NIST SP 800-38D) by the runtime's own cryptography.
import { createCipheriv, createDecipheriv } from "node:crypto";
import { type Aead, TAG_BYTES } from "../base/datagrams.ts";

const ALGORITHM = "aes-128-gcm";
const OPTIONS = { authTagLength: TAG_BYTES } as const;

export class AesGcm implements Aead {
  readonly #key: Uint8Array;

  constructor(key: Uint8Array) {
    this.#key = key;
  }

  seal(nonce: Uint8Array, aad: Uint8Array, bytes: Uint8Array, start: number, end: number): void {
    const cipher = createCipheriv(ALGORITHM, this.#key, nonce, OPTIONS);
    cipher.setAAD(aad);
    bytes.set(cipher.update(bytes.subarray(start, end)), start);
    cipher.final();
    bytes.set(cipher.getAuthTag(), end);
  }

  open(nonce: Uint8Array, aad: Uint8Array, bytes: Uint8Array, start: number, end: number): boolean {
    const tagAt = end - TAG_BYTES;
    const decipher = createDecipheriv(ALGORITHM, this.#key, nonce, OPTIONS);
    decipher.setAAD(aad);
    decipher.setAuthTag(bytes.subarray(tagAt, end));
    const plain = decipher.update(bytes.subarray(start, tagAt));
    try {
      decipher.final();
    } catch {
      return false;
    }
    bytes.set(plain, start);
    return true;
  }
}
