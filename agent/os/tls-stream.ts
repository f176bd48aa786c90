// One mesh connection as a Stream: the runtime's TLS socket with its backpressure, half-close and chunk sizes made to fit
// base/net.ts. Bytes the runtime hands over are copied into the arena, where the data path edits them.
import type { CloseReason, MeshPeer, MeshTarget, Stream, StreamHandler } from "../base/net.ts";
import { EDIT_ROOM } from "../base/net.ts";
import { type Loop, RECEIVE_AT, RECEIVE_BYTES } from "./loop.ts";
import { giveBack } from "./memory.ts";
import { leaveToKernel, PeerWatch, type Watched } from "./peer-watch.ts";
import { localEnd, setLiveness } from "./socket.ts";

export interface PeerCertificate {
  readonly subjectAltName?: string;
  /** Text that Date.parse understands. */
  readonly validTo: string;
}

/** What we use of the runtime's socket. */
export interface RawSocket {
  data: TlsStream;
  readonly fd: number;
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly alpnProtocol: string | false | null;
  write(bytes: Uint8Array, start: number, length: number): number;
  pause(): void;
  resume(): void;
  end(): void;
  shutdown(): void;
  terminate(): void;
  getServername?(): string | undefined;
  exportKeyingMaterial(bytes: number, label: string): Uint8Array;
  getPeerX509Certificate(): PeerCertificate | undefined;
  isSessionReused(): boolean;
  setSession(session: Uint8Array): void;
}
/** What a dial must know until its peer has answered. */
export interface Dialling {
  readonly target: MeshTarget;
  readonly key: string;
  /** Of an earlier connection, to be resumed. */
  readonly session: Uint8Array | undefined;
  /** By this one's peer. */
  given: Uint8Array | undefined;
}

const NOTHING = (): void => {};
const isPoisoned = process.env["IRONMESH_POISON"] === "1";

export class TlsStream implements Stream, Watched {
  handler: StreamHandler;
  mesh: MeshPeer | undefined;
  peerAddress = "";
  peerPort = 0;
  /** Undefined: accepted, or answered. */
  dialling: Dialling | undefined;
  /** Before its handshake was done, and told of already. */
  isRefused = false;
  readonly #loop: Loop;
  readonly #view: Buffer;
  #socket: RawSocket | undefined;
  #watch: PeerWatch | undefined;
  #isOpen = false;
  #isClosed = false;
  #isPaused = false;
  #hasPeerEnded = false;
  #hasToldEnd = false;
  /** What came while paused: the runtime's pause() takes effect only after the chunk at hand. */
  #held: Uint8Array[] = [];
  #handshakeLimit: { cancel(): void } | undefined;
  #whenHandshakeOver = NOTHING;

  constructor(loop: Loop, view: Buffer, handler: StreamHandler) {
    this.#loop = loop;
    this.#view = view;
    this.handler = handler;
  }

  /** RFC 8446 7.5. Only of an open stream. */
  exportKey(label: string, bytes: number): Uint8Array {
    if (this.#socket === undefined || !this.isOpen) throw new Error("no session to export from");
    return Uint8Array.from(this.#socket.exportKeyingMaterial(bytes, label));
  }
  /** Our own end's. */
  get localAddress(): string {
    return this.#socket === undefined ? "" : localEnd(this.#loop, this.#socket.fd).address;
  }

  get isOpen(): boolean {
    return this.#isOpen && !this.#isClosed;
  }

  get isGone(): boolean {
    return this.#isClosed;
  }

  opened(socket: RawSocket): void {
    if (this.#isClosed) {
      socket.terminate();
      return;
    }
    this.#socket = socket;
    this.peerAddress = unmapped(socket.remoteAddress);
    this.peerPort = socket.remotePort;
    setLiveness(this.#loop, socket.fd);
    (socket as unknown as { setNoDelay(on: boolean): void }).setNoDelay(true);
  }
  setOpen(): void {
    this.#isOpen = true;
  }
  /** `whenOver` is called once: it is done, or the connection is gone. */
  limitHandshake(timeoutMs: number, whenOver: () => void): void {
    this.#whenHandshakeOver = whenOver;
    this.#handshakeLimit = this.#loop.wheel.after(timeoutMs, () => this.reset());
  }
  /** Of one accepted and paused since. False: it is gone. */
  beginHandshake(): boolean {
    if (!this.#isClosed) this.#socket?.resume();
    return !this.#isClosed;
  }
  handshakeDone(): void {
    if (this.#handshakeLimit === undefined) return;
    this.#handshakeLimit.cancel();
    this.#handshakeLimit = undefined;
    this.#whenHandshakeOver();
    this.#whenHandshakeOver = NOTHING;
  }
  failDial(code: string): void {
    if (this.#isClosed) return;
    this.reset();
    this.handler.onClose(this, { is: "connect_failed", code });
  }

  received(chunk: Uint8Array): void {
    if (this.#isClosed || !this.#isOpen) giveBack(chunk, this.#loop);
    else if (this.#isPaused || this.#held.length > 0) this.#held.push(chunk);
    else this.#show(chunk);
  }
  /** A chunk of the runtime's, which nobody else has. */
  #show(chunk: Uint8Array): void {
    const bytes = this.#loop.arena.bytes;
    for (let at = 0; at < chunk.length; at += RECEIVE_BYTES) {
      if (this.#isPaused) {
        this.#held.unshift(chunk.slice(at));
        break;
      }
      const part = chunk.length <= RECEIVE_BYTES ? chunk : chunk.subarray(at, at + RECEIVE_BYTES);
      bytes.set(part, RECEIVE_AT);
      this.handler.onData(this, bytes, RECEIVE_AT, RECEIVE_AT + part.length);
      if (isPoisoned) bytes.fill(0xdb, RECEIVE_AT, RECEIVE_AT + part.length + EDIT_ROOM);
      if (this.#isClosed) break;
    }
    giveBack(chunk, this.#loop);
  }
  writable(): void {
    if (this.isOpen) this.handler.onWritable(this);
  }
  ended(): void {
    this.#hasPeerEnded = true;
    this.#tellEnd();
  }
  #tellEnd(): void {
    if (
      this.#isClosed ||
      this.#isPaused ||
      this.#held.length > 0 ||
      !this.#hasPeerEnded ||
      this.#hasToldEnd
    )
      return;
    this.#hasToldEnd = true;
    if (this.#isOpen) this.handler.onEnd(this);
    else this.closed(undefined);
  }
  closed(error: { code?: string } | undefined): void {
    if (this.#isClosed) return;
    this.handshakeDone();
    this.#watch?.stop();
    const wasOpen = this.#isOpen;
    this.#isClosed = true;
    const code = error?.code ?? "ECONNRESET";
    let reason: CloseReason = { is: "failed", code };
    if (!wasOpen) reason = { is: "connect_failed", code };
    else if (error === undefined && this.#hasPeerEnded) reason = { is: "ended" };
    this.handler.onClose(this, reason);
  }

  write(bytes: Uint8Array, start: number, end: number): number {
    const socket = this.#socket;
    if (!this.#isOpen || this.#isClosed || socket === undefined) return 0;
    const from = bytes === this.#loop.arena.bytes ? this.#view : bytes;
    this.#watch ??= new PeerWatch(this.#loop, socket.fd, this);
    return Math.max(0, socket.write(from, start, end - start));
  }
  unwatched(): void {
    this.#watch = undefined;
  }
  unanswered(): void {
    this.#watch = undefined;
    const socket = this.#socket;
    this.closed({ code: "ETIMEDOUT" });
    socket?.terminate();
  }
  pause(): void {
    if (this.#isPaused) return;
    this.#isPaused = true;
    this.#socket?.pause();
  }
  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#loop.again({ onReady: () => this.#catchUp() });
  }
  #catchUp(): void {
    while (this.#held.length > 0 && !this.#isPaused && !this.#isClosed)
      this.#show(this.#held.shift() as Uint8Array);
    if (this.#isPaused || this.#isClosed) return;
    this.#socket?.resume();
    this.#loop.yieldSoon();
    this.#tellEnd();
  }
  endWrite(): void {
    if (this.isOpen) this.#socket?.shutdown();
  }
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.handshakeDone();
    if (this.#watch !== undefined && this.#socket !== undefined) {
      this.#watch.stop();
      leaveToKernel(this.#loop, this.#socket.fd);
    }
    this.#socket?.end();
  }
  reset(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.handshakeDone();
    this.#watch?.stop();
    this.#socket?.terminate();
  }
}

export const HANDLERS = {
  binaryType: "uint8array",
  data(socket: RawSocket, chunk: Uint8Array) {
    socket.data.received(chunk);
  },
  drain(socket: RawSocket) {
    socket.data?.writable();
  },
  end(socket: RawSocket) {
    socket.data?.ended();
  },
  close(socket: RawSocket, error?: { code?: string }) {
    socket.data?.closed(error);
  },
  error(socket: RawSocket, error: { code?: string }) {
    socket.data?.closed(error);
  },
  connectError(socket: RawSocket, error: { code?: string }) {
    socket.data?.closed(error);
  },
};

const unmapped = (address: string): string =>
  address.startsWith("::ffff:") && address.includes(".") ? address.slice(7) : address;
