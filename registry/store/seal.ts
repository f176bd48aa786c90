// What is kept in somebody else's store is sealed: an HMAC-SHA256 under a key that only the mesh's servers have, over the place and
// the text. Who can write to Consul can so destroy or turn back what we keep there, but not invent a host, a token or a policy.
import { createHmac, timingSafeEqual } from "node:crypto";

const SEAL_CHARS = 64;

export class Sealer {
  readonly #key: Uint8Array;

  /** 32 bytes, the same for all servers of a mesh. */
  constructor(key: Uint8Array) {
    this.#key = key;
  }

  /** `place`: the key it will lie under, so that one sealed text cannot stand in for another. */
  seal(place: string, text: string): string {
    return `${this.#mark(place, text).toString("hex")} ${text}`;
  }

  /** Undefined: not sealed by us, or for another place. */
  open(place: string, sealed: string): string | undefined {
    const text = sealed.slice(SEAL_CHARS + 1);
    const claimed = Buffer.from(sealed.slice(0, SEAL_CHARS), "hex");
    const mark = this.#mark(place, text);
    return claimed.length === mark.length && timingSafeEqual(claimed, mark) ? text : undefined;
  }

  #mark(place: string, text: string): Buffer {
    return createHmac("sha256", this.#key).update(`${place}\n`).update(text).digest();
  }
}
