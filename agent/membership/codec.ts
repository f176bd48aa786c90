// Messages of the gossip wire, version 1, before they are sealed. One kind byte, then fields in order; numbers big endian, names as
// a length byte and ASCII; a list of claims ends every message. Nothing may follow. Whatever is not exactly that is no message.
import { type Claim, STATUSES } from "./claim.ts";

/** Sealed; below the IPv6 minimum MTU with headers, so that no message is ever cut into fragments. */
export const DATAGRAM_BYTES_MAX = 1_200;
/** A whole exchange: MEMBERS_MAX claims of long names. */
export const STREAM_BYTES_MAX = 4 * 1_048_576;
export const MEMBERS_MAX = 10_000;
export const NAME_BYTES_MAX = 128;

export type Message =
  /** Answered by `ack`. `to` keeps a late tenant of an address from answering for the one before. */
  | { readonly is: "ping"; readonly nonce: number; readonly from: string; readonly to: string }
  /** `isLeaving`: it answers, and wants no more traffic. */
  | {
      readonly is: "ack";
      readonly nonce: number;
      readonly from: string;
      readonly isLeaving: boolean;
    }
  /** Asks to ping `to` for us; answered by `relayed` or `no_answer`. */
  | {
      readonly is: "ping_for_me";
      readonly nonce: number;
      readonly from: string;
      readonly to: string;
    }
  | { readonly is: "relayed"; readonly nonce: number; readonly from: string; readonly to: string }
  | { readonly is: "no_answer"; readonly nonce: number; readonly from: string; readonly to: string }
  | { readonly is: "gossip"; readonly from: string }
  /** Streams only: all that one knows, answered by the same. */
  | { readonly is: "exchange"; readonly from: string };

export interface Letter {
  readonly message: Message;
  readonly claims: readonly Claim[];
}

/** 48 random bits: whoever answers has seen the question. */
export const NONCE_BYTES = 6;

const KINDS = ["ping", "ack", "ping_for_me", "relayed", "no_answer", "gossip", "exchange"] as const;
const NAME = /^[A-Za-z0-9._-]+$/;
const CHARACTERS = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte));
const IS_OF_NAME = Uint8Array.from(CHARACTERS, (character) => (NAME.test(character) ? 1 : 0));

export const isMemberName = (name: string): boolean =>
  name.length <= NAME_BYTES_MAX && NAME.test(name);

/** Bytes that a claim takes in a letter. */
export const claimBytes = ({ name, by }: Claim): number => 1 + 4 + 1 + name.length + 1 + by.length;

/** Bytes of a letter without claims. */
export function letterBytes(message: Message): number {
  const nonce = "nonce" in message ? NONCE_BYTES : 0;
  const to = "to" in message ? 1 + message.to.length : 0;
  const leaving = message.is === "ack" ? 1 : 0;
  return 1 + nonce + 1 + message.from.length + to + leaving + 2;
}

export function writeLetter({ message, claims }: Letter): Uint8Array {
  const size = claims.reduce((sum, claim) => sum + claimBytes(claim), letterBytes(message));
  const writer = new Writer(size);
  writer.u8(KINDS.indexOf(message.is));
  if ("nonce" in message) writer.nonce(message.nonce);
  writer.name(message.from);
  if ("to" in message) writer.name(message.to);
  if (message.is === "ack") writer.u8(message.isLeaving ? 1 : 0);
  writer.u16(claims.length);
  for (const claim of claims) {
    writer.u8(STATUSES.indexOf(claim.status));
    writer.u32(claim.incarnation);
    writer.name(claim.name);
    writer.name(claim.by);
  }
  return writer.bytes;
}

/** Undefined: not a letter of this version. */
export function readLetter(bytes: Uint8Array): Letter | undefined {
  const reader = new Reader(bytes);
  const message = readMessage(reader);
  const count = reader.u16();
  if (message === undefined || reader.isBroken || count > MEMBERS_MAX) return undefined;
  const claims: Claim[] = [];
  for (let i = 0; i < count; i++) {
    const status = STATUSES[reader.u8()];
    const incarnation = reader.u32();
    const name = reader.name();
    const by = reader.name();
    if (status === undefined || reader.isBroken) return undefined;
    claims.push({ name, status, incarnation, by });
  }
  return reader.isAtEnd ? { message, claims } : undefined;
}

function readMessage(reader: Reader): Message | undefined {
  const is = KINDS[reader.u8()];
  switch (is) {
    case "ping":
    case "ping_for_me":
    case "relayed":
    case "no_answer":
      return { is, nonce: reader.nonce(), from: reader.name(), to: reader.name() };
    case "ack": {
      const [nonce, from, leaving] = [reader.nonce(), reader.name(), reader.u8()];
      return leaving > 1 ? undefined : { is, nonce, from, isLeaving: leaving === 1 };
    }
    case "gossip":
    case "exchange":
      return { is, from: reader.name() };
    default:
      return undefined;
  }
}

class Writer {
  readonly bytes: Uint8Array;
  #at = 0;

  constructor(size: number) {
    this.bytes = new Uint8Array(size);
  }
  u8(value: number): void {
    this.#number(value, 1);
  }
  u16(value: number): void {
    this.#number(value, 2);
  }
  u32(value: number): void {
    this.#number(value, 4);
  }
  nonce(value: number): void {
    this.#number(value, NONCE_BYTES);
  }
  name(text: string): void {
    this.u8(text.length);
    for (let i = 0; i < text.length; i++) this.bytes[this.#at++] = text.charCodeAt(i);
  }
  #number(value: number, bytes: number): void {
    let left = value;
    for (let i = this.#at + bytes - 1; i >= this.#at; i--) {
      this.bytes[i] = left % 256;
      left = Math.floor(left / 256);
    }
    this.#at += bytes;
  }
}

/** Reads past the end, or of what is no name, break it: the caller looks once, at the end. */
class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;
  isBroken = false;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }
  get isAtEnd(): boolean {
    return !this.isBroken && this.#at === this.#bytes.length;
  }
  u8(): number {
    return this.#number(1);
  }
  u16(): number {
    return this.#number(2);
  }
  u32(): number {
    return this.#number(4);
  }
  nonce(): number {
    return this.#number(NONCE_BYTES);
  }
  name(): string {
    const length = this.u8();
    const end = this.#at + length;
    if (length === 0 || length > NAME_BYTES_MAX || end > this.#bytes.length) this.isBroken = true;
    if (this.isBroken) return "";
    // A large pool reads a million names a minute when many hosts die: no views, no spreading, no regex.
    let text = "";
    for (let at = this.#at; at < end; at++) {
      const byte = this.#bytes[at] as number;
      if (IS_OF_NAME[byte] !== 1) this.isBroken = true;
      text += CHARACTERS[byte];
    }
    this.#at = end;
    return text;
  }
  #number(bytes: number): number {
    if (this.#at + bytes > this.#bytes.length) this.isBroken = true;
    if (this.isBroken) return 0;
    let value = 0;
    for (let i = 0; i < bytes; i++) value = value * 256 + (this.#bytes[this.#at++] as number);
    return value;
  }
}
