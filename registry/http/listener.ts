// The server's socket: TLS 1.3 only, client certificates asked for and judged by the routes, HTTP and WebSocket upgrades on the same
// port. node:https of this runtime shows no peer certificate and cannot rotate its own, so node:tls accepts and hands each
// connection to a node:http server. That server's own timeouts do not run for handed-over connections: the deadline here does.
import { constants } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import type { Duplex } from "node:stream";
import { createServer as createTlsServer, TLSSocket, type Server as TlsServer } from "node:tls";
import { getRequestListener } from "@hono/node-server";
import { type Bindings, peerOf, remoteAddressOf } from "./peer.ts";

export const HANDSHAKE_TIMEOUT_MS = 10_000;
/** From one answer to the next complete request, idle time included: silence and slow senders end here. */
export const REQUEST_TIMEOUT_MS = 60_000;
export const CONNECTIONS_MAX = 20_000;

export interface TlsCredentials {
  readonly keyPem: string;
  /** Leaf, intermediate and root: a host that joins knows only the root's hash, so it must see the root. */
  readonly chainPem: readonly string[];
  /** Roots that client certificates must come from. */
  readonly trustBundle: readonly string[];
}

export interface ListenerDeps {
  fetch(request: Request, bindings: Bindings): Response | Promise<Response>;
  upgrade(request: IncomingMessage, socket: TLSSocket, head: Buffer): void;
}

export class Listener {
  readonly #http: Server;
  readonly #tls: TlsServer;
  readonly #sockets = new Set<TLSSocket>();
  readonly #deadlines = new WeakMap<TLSSocket, Deadline>();
  readonly #requestTimeoutMs: number;

  /** The time-outs default to the constants above. */
  constructor(
    config: {
      readonly credentials: TlsCredentials;
      readonly handshakeTimeoutMs?: number;
      readonly requestTimeoutMs?: number;
    },
    deps: ListenerDeps,
  ) {
    this.#requestTimeoutMs = config.requestTimeoutMs ?? REQUEST_TIMEOUT_MS;
    const respond = getRequestListener((request, env) => {
      const { socket } = (env as { incoming: IncomingMessage }).incoming;
      return deps.fetch(request, bindingsOf(socket as TLSSocket));
    });
    this.#http = createServer((request, response) => {
      this.#watch(request, response);
      void respond(request, response);
    });
    this.#http.on("upgrade", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      this.#deadlines.get(request.socket as TLSSocket)?.clear();
      deps.upgrade(request, socket as TLSSocket, head);
    });
    this.#http.on("clientError", (_error, socket) => socket.destroy());
    this.#tls = createTlsServer(
      {
        ...tlsOptions(config.credentials),
        handshakeTimeout: config.handshakeTimeoutMs ?? HANDSHAKE_TIMEOUT_MS,
      },
      (socket) => this.#accept(socket),
    );
    // This runtime has no handshake timeout of its own, but shows a connection before its handshake; where the option above
    // works, what is shown is no TLSSocket.
    this.#tls.on("connection", (socket: Socket) => {
      if (!(socket instanceof TLSSocket)) return;
      this.#track(socket).start(config.handshakeTimeoutMs ?? HANDSHAKE_TIMEOUT_MS);
    });
    this.#tls.maxConnections = CONNECTIONS_MAX;
    // A failed handshake is the stranger's affair; without a listener it would end the process.
    this.#tls.on("tlsClientError", () => undefined);
  }

  listen(address: string, port: number): Promise<{ address: string; port: number }> {
    return new Promise((resolve, reject) => {
      this.#tls.once("error", reject);
      this.#tls.listen(port, address, () => {
        this.#tls.off("error", reject);
        const bound = this.#tls.address() as AddressInfo;
        resolve({ address: bound.address, port: bound.port });
      });
    });
  }

  /** New connections get the new certificate; open ones keep theirs. */
  rotate(credentials: TlsCredentials): void {
    this.#tls.setSecureContext(tlsOptions(credentials));
  }

  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => this.#tls.close(() => resolve()));
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #accept(socket: TLSSocket): void {
    this.#track(socket).start(this.#requestTimeoutMs);
    this.#http.emit("connection", socket);
  }

  #track(socket: TLSSocket): Deadline {
    const known = this.#deadlines.get(socket);
    if (known !== undefined) return known;
    const deadline = new Deadline(socket);
    this.#deadlines.set(socket, deadline);
    this.#sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      deadline.clear();
      this.#sockets.delete(socket);
    });
    return deadline;
  }

  #watch(request: IncomingMessage, response: ServerResponse): void {
    const deadline = this.#deadlines.get(request.socket as TLSSocket);
    request.once("end", () => deadline?.clear());
    response.once("close", () => deadline?.start(this.#requestTimeoutMs));
  }
}

/** Ends its connection unless cleared in time. */
class Deadline {
  readonly #socket: TLSSocket;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(socket: TLSSocket) {
    this.#socket = socket;
  }

  start(timeoutMs: number): void {
    this.clear();
    if (this.#socket.destroyed) return;
    this.#timer = setTimeout(() => this.#socket.destroy(), timeoutMs);
    this.#timer.unref();
  }

  clear(): void {
    clearTimeout(this.#timer);
  }
}

export const bindingsOf = (socket: TLSSocket): Bindings => ({
  peer: peerOf(socket),
  remoteAddress: remoteAddressOf(socket),
});

const tlsOptions = ({ keyPem, chainPem, trustBundle }: TlsCredentials) => ({
  minVersion: "TLSv1.3" as const,
  // A resumed session shows the certificate it was made with and checks it no more: a ticket would outlive the certificate.
  secureOptions: constants.SSL_OP_NO_TICKET,
  key: keyPem,
  cert: chainPem.join(""),
  ca: [...trustBundle],
  requestCert: true,
  // Hosts that join and operators have no certificate; who needs one is refused by the route, with a reason.
  rejectUnauthorized: false,
});
