// Sealed datagrams of one mesh session (docs/decisions/0025-udp.md):
//
//   | counter, 8 bytes, big endian | AEAD( flow, 4 bytes, big endian | payload ) | tag, 16 bytes |
//
// The counter is the associated data and, XORed to the last bytes of the direction's salt, the nonce (as TLS 1.3's, RFC 8446 5.3): it rises
// with each datagram and a session has keys of its own, so no nonce comes twice.
import { type Aead, DATAGRAM_BYTES_MAX, TAG_BYTES } from "../../base/datagrams.ts";
import { ReplayWindow } from "./replay-window.ts";

export const KEY_BYTES = 16;
export const SALT_BYTES = 12;
/** Of both directions, the dialler's first. */
export const SESSION_KEY_BYTES = 2 * (KEY_BYTES + SALT_BYTES);
const COUNTER_BYTES = 8;
const FLOW_BYTES = 4;
/** What a datagram is longer by. */
export const SEALED_OVERHEAD = COUNTER_BYTES + FLOW_BYTES + TAG_BYTES;
/** Longest payload. */
export const SEALED_PAYLOAD_MAX = DATAGRAM_BYTES_MAX - SEALED_OVERHEAD;

/** RFC 9001 B.1.1: 2^28 datagrams of 2^7 blocks keep AES-GCM's margin of 2^-57; the half of that product, and the same number. */
const SEALED_MAX = 2 ** 28;
const BLOCKS_MAX = 2 ** 34;
const BLOCK_BYTES = 16;
/** RFC 9001 B.1.2 allows 2^52 failures for such lengths. Nobody comes near it who is not an attacker. */
const FORGED_MAX = 2 ** 36;

export interface SessionKeys {
  readonly seal: { readonly aead: Aead; readonly salt: Uint8Array };
  readonly open: { readonly aead: Aead; readonly salt: Uint8Array };
}

/** `exported`: SESSION_KEY_BYTES of the mesh connection's exporter. */
export function sessionKeys(
  exported: Uint8Array,
  side: "dialler" | "acceptor",
  aead: (key: Uint8Array) => Aead,
): SessionKeys {
  const one = KEY_BYTES + SALT_BYTES;
  const direction = (at: number) => ({
    aead: aead(exported.slice(at, at + KEY_BYTES)),
    salt: exported.slice(at + KEY_BYTES, at + one),
  });
  const [seal, open] = side === "dialler" ? [0, one] : [one, 0];
  return { seal: direction(seal), open: direction(open) };
}

export type OpenRefusal = "forged" | "replayed";

export class SealedDatagrams {
  readonly #keys: SessionKeys;
  readonly #window = new ReplayWindow();
  readonly #nonce = new Uint8Array(SALT_BYTES);
  readonly #aad = new Uint8Array(COUNTER_BYTES);
  readonly #aadView: DataView;
  #sealed = 0;
  #blocks = 0;
  #forged = 0;
  /** Of what open() opened last. */
  flow = 0;

  constructor(keys: SessionKeys) {
    this.#keys = keys;
    this.#aadView = new DataView(this.#aad.buffer);
  }

  /** New keys are due. */
  get isSpent(): boolean {
    return this.#sealed >= SEALED_MAX || this.#blocks >= BLOCKS_MAX || this.#forged >= FORGED_MAX;
  }

  /** Writes the sealed datagram at `at` and returns its end. The payload is SEALED_PAYLOAD_MAX long at most and may lie anywhere. */
  seal(
    flow: number,
    payload: { readonly bytes: Uint8Array; readonly start: number; readonly end: number },
    out: Uint8Array,
    at: number,
  ): number {
    const { aead, salt } = this.#keys.seal;
    const { bytes, start, end } = payload;
    const plainAt = at + COUNTER_BYTES;
    const plainEnd = plainAt + FLOW_BYTES + end - start;
    if (bytes === out) out.copyWithin(plainAt + FLOW_BYTES, start, end);
    else out.set(bytes.subarray(start, end), plainAt + FLOW_BYTES);
    writeU32(out, plainAt, flow);
    this.#setCounter(this.#sealed++, salt);
    this.#blocks += Math.ceil((plainEnd - plainAt) / BLOCK_BYTES) + 1;
    out.set(this.#aad, at);
    aead.seal(this.#nonce, this.#aad, out, plainAt, plainEnd);
    return plainEnd + TAG_BYTES;
  }

  /** Opens bytes[start..end) in place; the payload is then bytes[start + PAYLOAD_AT..end - TAG_BYTES), its flow in `flow`. */
  open(bytes: Uint8Array, start: number, end: number): "opened" | OpenRefusal {
    if (end - start < SEALED_OVERHEAD) return this.#forgedOne();
    const { aead, salt } = this.#keys.open;
    const high = readU32(bytes, start);
    const counter = high * 0x1_0000_0000 + readU32(bytes, start + 4);
    if (high >= 1 << 21) return this.#forgedOne(); // beyond the safe integers, and SEALED_MAX
    if (!this.#window.isNew(counter)) return "replayed";
    this.#setCounter(counter, salt);
    if (!aead.open(this.#nonce, this.#aad, bytes, start + COUNTER_BYTES, end))
      return this.#forgedOne();
    this.#window.note(counter);
    this.flow = readU32(bytes, start + COUNTER_BYTES);
    return "opened";
  }

  #forgedOne(): "forged" {
    this.#forged++;
    return "forged";
  }

  #setCounter(counter: number, salt: Uint8Array): void {
    this.#aadView.setUint32(0, Math.floor(counter / 0x1_0000_0000));
    this.#aadView.setUint32(4, counter >>> 0);
    this.#nonce.set(salt);
    for (let i = 0; i < COUNTER_BYTES; i++) {
      const at = SALT_BYTES - COUNTER_BYTES + i;
      this.#nonce[at] = (salt[at] as number) ^ (this.#aad[i] as number);
    }
  }
}

/** Where an opened datagram's payload begins. */
export const PAYLOAD_AT = COUNTER_BYTES + FLOW_BYTES;

const readU32 = (bytes: Uint8Array, at: number): number =>
  (((bytes[at] as number) << 24) |
    ((bytes[at + 1] as number) << 16) |
    ((bytes[at + 2] as number) << 8) |
    (bytes[at + 3] as number)) >>>
  0;

function writeU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = (value >>> 16) & 255;
  bytes[at + 2] = (value >>> 8) & 255;
  bytes[at + 3] = value & 255;
}
