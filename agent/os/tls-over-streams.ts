// Mesh TLS by node:tls over TCP sockets of our own: for Deno, whose TLS sockets have no descriptors and which takes no listening
// socket for them. It gives what mesh-tls.ts expects of Bun (tls-runtime.ts), without resumption (no session is handed out) and without
// exported keys. What a peer's certificate is worth is node:tls's `authorized`, which only a tls.Server tells of accepted
// connections, and it does not tell which of several connections it means: so each handshake has a server for itself while it lasts.
import tls, { type TLSSocket } from "node:tls";
import type { Stream } from "../base/net.ts";
import type { Loop } from "./loop.ts";
import { connectTcp } from "./socket.ts";
import { StreamDuplex } from "./stream-duplex.ts";
import { TcpStream } from "./tcp.ts";
import { TcpListener } from "./tcp-listener.ts";
import type {
  ConnectOptions,
  ListenOptions,
  RawHandlers,
  RawListener,
  TlsRuntime,
} from "./tls-runtime.ts";
import type { PeerCertificate, RawSocket, TlsStream } from "./tls-stream.ts";

/** Servers kept for the next handshake; each has a context of its own, which costs a millisecond to make. */
const IDLE_SERVERS_MAX = 16;
/** Of one write, and of what is encrypted and not sent yet: beyond this write() takes nothing. */
const UNSENT_BYTES_MAX = 65_536;
/** How long a connection that we ended may wait for its peer's end. */
const END_MAX_MS = 5_000;

type TlsError = Error & { code?: string };

export class TlsOverStreams implements TlsRuntime {
  readonly #loop: Loop;

  constructor(loop: Loop) {
    this.#loop = loop;
  }

  listen({ fd, tls: settings, socket: handlers }: ListenOptions): RawListener {
    const idle: HandshakeServer[] = [];
    const listener = new TcpListener(this.#loop, fd, {
      onAccept: (stream) => {
        const socket = new StreamSocket(this.#loop, stream, handlers);
        handlers.open(socket);
        const server = idle.pop() ?? new HandshakeServer(settings, handlers);
        server.accept(socket, () => {
          if (idle.length < IDLE_SERVERS_MAX) idle.push(server);
        });
      },
    });
    return { port: 0, stop: () => listener.giveAway() };
  }

  connect({ hostname, port, data, tls: settings, socket: handlers }: ConnectOptions) {
    return new Promise<RawSocket>((resolve, reject) => {
      const fd = connectTcp(this.#loop, hostname, port, undefined);
      if (!fd.ok) {
        reject({ code: fd.error });
        return;
      }
      const connecting = {
        onOpen: () => {
          const socket = new StreamSocket(this.#loop, stream, handlers);
          socket.data = data;
          handlers.open(socket);
          socket.dial(settings);
          resolve(socket);
        },
        onData() {},
        onWritable() {},
        onEnd() {},
        onClose: (_: Stream, reason: { readonly is: string; readonly code?: string }) =>
          reject({ code: reason.code ?? "ECONNRESET" }),
      };
      const stream = new TcpStream(
        this.#loop,
        fd.value,
        connecting,
        { address: hostname, port },
        true,
      );
    });
  }
}

/** A tls.Server that listens nowhere and sees one handshake at a time. */
class HandshakeServer {
  readonly #server: tls.Server;
  #current: { readonly socket: StreamSocket; readonly whenOver: () => void } | undefined;

  constructor(settings: ListenOptions["tls"], handlers: ListenOptions["socket"]) {
    this.#server = tls.createServer({
      key: settings.key,
      cert: settings.cert,
      ca: settings.ca,
      requestCert: true,
      rejectUnauthorized: false,
      minVersion: "TLSv1.3",
      allowHalfOpen: true,
      // As wire format: RFC 7301 3.1.
      ALPNProtocols: settings.ALPNProtocols as unknown as string[],
      SNICallback: (name, answer) => {
        this.#current?.socket.asked(name);
        const context = name === "" ? undefined : handlers.serverName(undefined, name);
        if (context === false) answer(new Error("no such server name"));
        else answer(null, context === undefined ? undefined : contextOf(context));
      },
    });
    this.#server.on("secureConnection", (tlsSocket: TLSSocket) =>
      this.#over((socket) => socket.secured(tlsSocket, verdictOf(tlsSocket))),
    );
    this.#server.on("tlsClientError", (error: TlsError) =>
      this.#over((socket) => socket.failed(error)),
    );
  }

  /** `whenOver`: it may see the next. A handshake that never ends keeps its server, and goes with it. */
  accept(socket: StreamSocket, whenOver: () => void): void {
    this.#current = { socket, whenOver };
    this.#server.emit("connection", socket.carrier);
  }

  #over(tell: (socket: StreamSocket) => void): void {
    const current = this.#current;
    this.#current = undefined;
    if (current === undefined) return; // an error after the handshake: its socket tells
    tell(current.socket);
    current.whenOver();
  }
}

const contextOf = (context: unknown) => ({ context }) as unknown as tls.SecureContext;

/** Undefined: its chain holds. Never undefined unless node:tls says so. */
function verdictOf(socket: TLSSocket): TlsError | undefined {
  if (socket.authorized) return undefined;
  const found = socket.authorizationError as unknown as { code?: string } | string | undefined;
  const code = (typeof found === "string" ? found : found?.code) ?? "ERR_UNAUTHORIZED";
  const error = (text: string): TlsError => Object.assign(new Error(text), { code: text });
  // Deno says of an expired certificate that its signature cannot be verified.
  const certificate = certificateOf(socket);
  const isOfTime = code === "UNABLE_TO_VERIFY_LEAF_SIGNATURE" && certificate !== undefined;
  return error(isOfTime && isOutsideItsTime(certificate) ? "CERT_HAS_EXPIRED" : code);
}

interface Dated extends PeerCertificate {
  readonly validFrom: string;
}
const certificateOf = (socket: TLSSocket): Dated | undefined =>
  socket.getPeerX509Certificate() as unknown as Dated | undefined;
const isOutsideItsTime = ({ validFrom, validTo }: Dated): boolean =>
  !(Date.parse(validFrom) <= Date.now() && Date.now() < Date.parse(validTo));

/** One connection, as Bun shows its sockets. */
class StreamSocket implements RawSocket {
  // Set by whoever takes `open`, before any other event.
  declare data: TlsStream;
  readonly carrier: StreamDuplex;
  readonly #loop: Loop;
  readonly #stream: TcpStream;
  readonly #handlers: RawHandlers;
  #tls: TLSSocket | undefined;
  #error: TlsError | undefined;
  #askedName = "";
  /** write() was short: `drain` is owed. */
  #wantsDrain = false;
  #isHandingOn = false;
  #isEnding = false;
  /** It is among the loop's leftovers: end() was called, and not all has left. */
  #isLeftover = false;
  #isClosed = false;

  constructor(loop: Loop, stream: TcpStream, handlers: RawHandlers) {
    this.#loop = loop;
    this.#stream = stream;
    this.#handlers = handlers;
    this.carrier = new StreamDuplex(loop, stream);
    this.carrier.on("error", (error: TlsError) => {
      this.#error ??= error;
    });
    this.carrier.on("close", () => {
      if (this.#isLeftover) this.#loop.leftovers--;
      this.#isLeftover = false;
      this.#close();
    });
    this.carrier.onAllSent = () => this.#drained();
  }

  get fd(): number {
    return this.#stream.fd;
  }
  get remoteAddress(): string {
    return this.#stream.peerAddress;
  }
  get remotePort(): number {
    return this.#stream.peerPort;
  }
  get alpnProtocol(): string | false | null {
    return this.#tls?.alpnProtocol ?? null;
  }

  dial({ secureContext, serverName, ALPNProtocols }: ConnectOptions["tls"]): void {
    const socket = tls.connect({
      socket: this.carrier,
      secureContext: contextOf(secureContext),
      servername: serverName,
      ALPNProtocols: ALPNProtocols as unknown as string[],
      rejectUnauthorized: false,
      // A SPIFFE certificate has no host name: mesh-tls.ts compares its URI.
      checkServerIdentity: () => undefined,
    });
    const failed = (error: TlsError): void => this.failed(error);
    socket.once("error", failed);
    socket.once("secureConnect", () => {
      socket.off("error", failed);
      this.secured(socket, verdictOf(socket));
    });
    this.#loop.yieldSoon();
  }

  /** The handshake is over; `verdict`: what is wrong with the peer's chain. */
  secured(socket: TLSSocket, verdict: TlsError | undefined): void {
    if (this.#isClosed) {
      socket.destroy();
      return;
    }
    this.#tls = socket;
    socket.on("error", (error: TlsError) => {
      this.#error ??= error;
      this.terminate();
    });
    this.#handlers.handshake(this, true, verdict ?? null);
    if (this.#isClosed || socket.destroyed) return;
    socket.on("end", () => this.#handlers.end(this));
    socket.on("close", () => this.#close());
    socket.on("data", (chunk: Uint8Array) => this.#handlers.data(this, chunk));
    this.#loop.yieldSoon();
  }

  /** The name that the peer asks for, which a handshake that fails does not tell. */
  asked(name: string): void {
    this.#askedName = name;
  }

  failed(error: TlsError): void {
    this.#error ??= error;
    if (!this.#isClosed) this.#handlers.handshake(this, false, error);
    this.terminate();
  }

  #close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#handlers.close(this, this.#error);
  }

  /** Deno's TLS takes all that it is given, and hands it on in a microtask of its own, whatever its carrier says. */
  get #isFull(): boolean {
    return this.#isHandingOn || this.carrier.writableLength >= UNSENT_BYTES_MAX;
  }

  write(bytes: Uint8Array, start: number, length: number): number {
    const socket = this.#tls;
    if (socket === undefined || this.#isEnding || !socket.writable) return 0;
    const taken = this.#isFull ? 0 : Math.min(UNSENT_BYTES_MAX, length);
    this.#wantsDrain = taken < length;
    if (taken === 0) return 0;
    socket.write(Uint8Array.prototype.slice.call(bytes, start, start + taken));
    this.#isHandingOn = true;
    setImmediate(this.#handedOn);
    this.#loop.yieldSoon();
    return taken;
  }
  readonly #handedOn = (): void => {
    this.#isHandingOn = false;
    this.#drained();
  };

  #drained(): void {
    if (this.#isClosed || this.#isFull) return;
    if (this.#isEnding) this.#sendEnd();
    else if (this.#wantsDrain) {
      this.#wantsDrain = false;
      this.#handlers.drain(this);
    }
  }

  /** Not Deno's TLS itself, which forgets an end that comes while it is paused: what is on its way in there is still told. */
  pause(): void {
    this.carrier.hold();
  }
  resume(): void {
    this.carrier.release();
  }
  setNoDelay(): void {} // our own sockets have it from the start

  /** Deno's TLS loses its close_notify behind bytes that it has not handed on, so that waits until all is sent. */
  shutdown(): void {
    this.#isEnding = true;
    this.#sendEnd();
  }
  #sendEnd(): void {
    if (this.#isHandingOn || this.carrier.writableLength > 0) return;
    if (this.#tls?.writableEnded !== false) return;
    this.#tls.end();
    this.#loop.yieldSoon();
  }
  end(): void {
    const socket = this.#tls;
    if (socket === undefined) {
      this.terminate();
      return;
    }
    if (!this.#isLeftover && !this.#isClosed) {
      this.#isLeftover = true;
      this.#loop.leftovers++;
    }
    const limit = this.#loop.wheel.after(END_MAX_MS, () => this.terminate());
    socket.resume(); // nobody reads what still comes
    socket.once("finish", () => {
      limit.cancel();
      socket.destroy();
      this.carrier.end(() => this.carrier.destroy());
      this.#loop.yieldSoon();
    });
    this.shutdown();
  }
  terminate(): void {
    this.#stream.reset();
    this.#tls?.destroy();
    this.carrier.destroy();
    this.#loop.yieldSoon();
  }

  getServername(): string {
    const name = this.#tls?.servername as unknown;
    return typeof name === "string" ? name : this.#askedName;
  }
  exportKeyingMaterial(): Uint8Array {
    throw new Error("this runtime exports no keys of a TLS session");
  }
  getPeerX509Certificate(): PeerCertificate | undefined {
    return this.#tls && certificateOf(this.#tls);
  }
  isSessionReused(): boolean {
    return this.#tls?.isSessionReused() ?? false;
  }
  setSession(): void {} // none was ever handed out
}
