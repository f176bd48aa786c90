// What a gossip message looks like to everybody who has no key: version (1 byte) | nonce (24) | secretbox (XSalsa20-Poly1305).
// The keys are the mesh's, so whoever opens a message knows that a member wrote it, not which one: see swim.ts for what follows.
import nacl from "tweetnacl";

export const KEY_BYTES = nacl.secretbox.keyLength;
/** The one that seals, one that comes, one that goes, and one to spare. */
export const KEYS_MAX = 4;
const WIRE_VERSION = 1;
const NONCE_AT = 1;
const BOX_AT = NONCE_AT + nacl.secretbox.nonceLength;
export const SEAL_BYTES = BOX_AT + nacl.secretbox.overheadLength;

export class Keyring {
  #keys: readonly Uint8Array[] = [];
  readonly #randomBytes: (count: number) => Uint8Array;

  /** `randomBytes`: for nonces, which must never repeat under a key: 24 random bytes do not. */
  constructor(keys: readonly Uint8Array[], randomBytes: (count: number) => Uint8Array) {
    this.#randomBytes = randomBytes;
    this.replace(keys);
  }

  /** The first seals, all open. Keys of another length, and those beyond KEYS_MAX, are left out. */
  replace(keys: readonly Uint8Array[]): void {
    this.#keys = keys.filter((key) => key.length === KEY_BYTES).slice(0, KEYS_MAX);
  }

  /** Undefined without a key: nothing is ever said in the clear. */
  seal(message: Uint8Array): Uint8Array | undefined {
    const [key] = this.#keys;
    if (key === undefined) return undefined;
    const nonce = this.#randomBytes(nacl.secretbox.nonceLength);
    const box = nacl.secretbox(message, nonce, key);
    const sealed = new Uint8Array(BOX_AT + box.length);
    sealed[0] = WIRE_VERSION;
    sealed.set(nonce, NONCE_AT);
    sealed.set(box, BOX_AT);
    return sealed;
  }

  /** Undefined: not sealed by any of our keys, or of another version. */
  open(sealed: Uint8Array): Uint8Array | undefined {
    if (sealed.length < SEAL_BYTES || sealed[0] !== WIRE_VERSION) return undefined;
    const nonce = sealed.subarray(NONCE_AT, BOX_AT);
    const box = sealed.subarray(BOX_AT);
    for (const key of this.#keys) {
      const message = nacl.secretbox.open(box, nonce, key);
      if (message !== null) return message;
    }
    return undefined;
  }
}
