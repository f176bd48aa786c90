// The seam between the data path and the kernel for datagrams; agent/os implements it on sockets. Bytes that an event shows are valid
// only while the handler runs, and may be overwritten by it.
import type { OriginalDestination, Scratch, Stream } from "./net.ts";

/** Longest payload of UDP over IPv4 (65,535 less both heads). */
export const DATAGRAM_BYTES_MAX = 65_507;

export interface DatagramEvents {
  onDatagram(bytes: Uint8Array, start: number, end: number): void;
  /** The other end's host says that nobody is there (ICMP). What was sent is lost; the socket goes on. */
  onRefused(): void;
  /** So many of those that send() took are lost: the kernel has no room for them, or says so of one before. */
  onNotSent(datagrams: number): void;
}

/** Connected: only its peer is heard. */
export interface DatagramSocket {
  readonly localPort: number;
  /** Leaves before the thread sleeps. False: it is lost. */
  send(bytes: Uint8Array, start: number, end: number): boolean;
  /** No event follows. */
  close(): void;
}

/** A datagram that the redirect brought to one of our listeners; valid during the event only. */
export interface CapturedDatagram {
  /** The same text for the same two ends. */
  readonly flowKey: string;
  /** Made when asked. */
  readonly from: OriginalDestination;
  /** Where it was going. */
  readonly to: OriginalDestination;
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
}

/** Says things to a program of this host as if somebody else did. */
export interface Answerer {
  /** False: the kernel does not take it now, and it is lost. */
  send(bytes: Uint8Array, start: number, end: number): boolean;
}

export const TAG_BYTES = 16;
/** AEAD (RFC 5116) with a nonce of 12 bytes and a tag of TAG_BYTES. */
export interface Aead {
  /** Seals bytes[start..end) in place; the tag takes the TAG_BYTES behind. */
  seal(nonce: Uint8Array, aad: Uint8Array, bytes: Uint8Array, start: number, end: number): void;
  /** Opens bytes[start..end) in place, tag included. False: forged, and what is there now means nothing. */
  open(nonce: Uint8Array, aad: Uint8Array, bytes: Uint8Array, start: number, end: number): boolean;
}

export interface DatagramNetwork {
  /** As Network.scratch. */
  readonly scratch: Scratch;
  /** A text is the errno's name. */
  connect(address: string, port: number, events: DatagramEvents): DatagramSocket | string;
  /** A socket between the same two addresses as a mesh stream. `from`: our port; undefined: the kernel's choice. */
  beside(
    stream: Stream,
    ports: { readonly from: number | undefined; readonly to: number },
    events: DatagramEvents,
  ): DatagramSocket | string;
  /** False: this runtime's TLS exports no keys, so no datagram can be sealed and none goes to or comes from another mesh host. */
  readonly canSeal: boolean;
  /** The exporter of a mesh stream's TLS 1.3 session (RFC 8446 7.5): both ends get the same bytes, nobody else can. */
  exportKey(stream: Stream, label: string, bytes: number): Uint8Array;
  /** AES-128-GCM under a key of 16 bytes. */
  aead(key: Uint8Array): Aead;
  answerer(from: OriginalDestination, to: OriginalDestination): Answerer;
}
