// The seam between the data path and the kernel: streams without buffers, events without allocation. agent/os implements
// it on epoll and on the runtime's TLS; test/support/memory-network.ts in memory, on virtual time.

/** Bytes that an event shows are valid only while the handler runs. They lie in the thread's arena. Plain and TLS alike, the
 *  handler may overwrite [start, end + EDIT_ROOM): heads are edited in place and sent from where they were received. */
export const EDIT_ROOM = 8192;

/** A failed stream of HTTP/2 whose request its server did not begin with, by its own word or because none of it left (RFC 9113 8.7): it may
 *  be asked again, whatever it is. */
export const UNPROCESSED = "unprocessed";

export type CloseReason =
  /** Both directions ended in order. */
  | { readonly is: "ended" }
  /** RST, ETIMEDOUT, EPIPE and the like; `code` is the errno's name, or UNPROCESSED. */
  | { readonly is: "failed"; readonly code: string }
  /** A dialled stream never opened: `code` is an errno name, or for a mesh stream one of the MeshRefusal words. */
  | { readonly is: "connect_failed"; readonly code: string };

/** One connected byte stream. After `close()` or `reset()` no event follows; calls on a closed stream do nothing. */
export interface Stream {
  /** Receives this stream's events; may be replaced at any time (a pooled connection changes hands). */
  handler: StreamHandler;
  /** Takes bytes[start..end) or a prefix and returns how many; 0 when blocked or not open yet (onWritable follows), or dead
   *  (onClose follows). Never keeps a reference. Cheapest from the arena (an event's bytes, or Network.scratch). */
  write(bytes: Uint8Array, start: number, end: number): number;
  /** Stops onData and onEnd until resume(). Events stop at once, also for bytes already read. */
  pause(): void;
  /** onData never runs inside this call. */
  resume(): void;
  /** Ends our direction (FIN or close_notify) after what write() took. The other direction stays open. */
  endWrite(): void;
  close(): void;
  /** Closes with RST where the transport has one. */
  reset(): void;
  readonly isOpen: boolean;
  /** The connection under it takes no new streams and waits for its last: whoever holds this one idle should close it. */
  readonly isRetiring?: boolean;
  /** It ended because the connection under it did, with all its streams: nobody meant this one. */
  readonly isCarrierGone?: boolean;
  /** Bytes, or an end, may have arrived that no event has shown yet. Not known of every transport. */
  readonly hasUnread?: boolean;
  /** The request at hand asks for a tunnel (RFC 8441): the Sec-WebSocket-Accept that must come with a 101, and a 2xx that is none would
   *  be taken for one. */
  readonly awaitsAccept?: string | undefined;
  /** What its peer speaks, as logs call it, when that is not the HTTP/1.1 which is read and written here. */
  readonly speaks?: "HTTP/2";
  /** Text of the remote address, without port; made when asked. IPv4-mapped addresses are shown as IPv4. */
  readonly peerAddress: string;
  readonly peerPort: number;
  /** Mesh streams only. */
  readonly mesh: MeshPeer | undefined;
}

export interface StreamHandler {
  /** A dialled stream connected; a mesh stream has by now verified its peer's identity. `stream` is the one to use from here on: it
   *  may be another than dial() returned. */
  onOpen(stream: Stream): void;
  onData(stream: Stream, bytes: Uint8Array, start: number, end: number): void;
  /** write() may take more. May come without need. */
  onWritable(stream: Stream): void;
  /** The peer ended its direction; ours is still open. */
  onEnd(stream: Stream): void;
  /** Last event. The stream is already closed. */
  onClose(stream: Stream, reason: CloseReason): void;
}

export interface MeshPeer {
  /** The SPIFFE ID the peer proved, in TLS, on this connection. */
  readonly identity: string;
  /** What it asked for: see agent/api/mesh-wire.ts. */
  readonly serverName: string;
  readonly alpn: string;
  /** Who it was shown to be speaking with: of the accepting side alone. */
  readonly as?: string | undefined;
}

/** Why a mesh connection was refused; also the label of ironmesh_mesh_refused_total. */
export type MeshRefusal =
  | "untrusted_issuer"
  | "expired"
  | "wrong_identity"
  | "no_certificate"
  | "not_spiffe"
  | "no_server_name"
  | "ambiguous_identity"
  | "unknown_server_name"
  | "no_alpn"
  /** It waited too long for its turn. */
  | "overloaded"
  | "tls_error";

export interface PlainTarget {
  readonly is: "plain";
  readonly address: string;
  readonly port: number;
  /** Source address to bind, e.g. 127.0.0.6 towards local apps. */
  readonly from?: string;
  /** What is written and read is HTTP/1.1; who is dialled speaks this (protocol/http2/app-connections.ts). */
  readonly speaks?: "http2" | undefined;
}

export interface MeshTarget {
  readonly is: "mesh";
  readonly address: string;
  readonly port: number;
  /** SPIFFE ID whose certificate we present; must be one this agent holds. */
  readonly as: string;
  /** Empty: none is sent. */
  readonly serverName: string;
  readonly alpn: string;
  /** Offered as well, for a peer that is not upgraded yet; MeshPeer.alpn says which it took. */
  readonly olderAlpn?: string | undefined;
  /** The peer must prove one of these before a byte of a request leaves. */
  readonly peers: readonly string[];
  /** `ADDRESS:PORT` that the peer is asked for by HTTP/2's CONNECT (HBONE); what flows is what that address gets. */
  readonly tunnelTo?: string | undefined;
}

export type DialTarget = PlainTarget | MeshTarget;

/** Where an accepted connection was going before the kernel redirected it. */
export interface OriginalDestination {
  readonly address: string;
  readonly port: number;
}

export interface Scratch {
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
}

export interface Network {
  /** A region of the arena in which the data path builds what it sends; contents do not survive an event. At least 64 KiB. */
  readonly scratch: Scratch;
  /** onOpen or onClose(connect_failed) follows, never inside this call. Has no deadline of its own: the caller has. */
  dial(target: DialTarget, handler: StreamHandler): Stream;
}

/** Whatever happens is ignored: for a stream that nobody has taken yet. */
export const IGNORE: StreamHandler = {
  onOpen() {},
  onData() {},
  onWritable() {},
  onEnd() {},
  onClose() {},
};
