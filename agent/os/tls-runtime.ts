// The TLS that mesh-tls.ts is written for, which is Bun's own, and who else can give it.
import type { Loop } from "./loop.ts";
import { isBun } from "./runtime.ts";
import type { RawSocket } from "./tls-stream.ts";

export interface RawListener {
  stop(closeConnections: boolean): void;
  readonly port: number;
}

/** What a socket tells, each with the socket itself first. */
export interface RawHandlers {
  data(socket: RawSocket, chunk: Uint8Array): void;
  drain(socket: RawSocket): void;
  end(socket: RawSocket): void;
  close(socket: RawSocket, error?: { code?: string }): void;
  /** TCP is connected, TLS not yet. */
  open(socket: RawSocket): void;
  handshake(socket: RawSocket, isDone: boolean, error: Error | null): void;
}

export interface ListenOptions {
  /** A listening socket, which is the listener's from here on. */
  readonly fd: number;
  readonly allowHalfOpen: true;
  readonly tls: {
    readonly key: string;
    readonly cert: string;
    readonly ca: string;
    readonly requestCert: true;
    readonly rejectUnauthorized: false;
    readonly minVersion: number;
    readonly ALPNProtocols: Buffer;
  };
  readonly socket: RawHandlers & {
    /** The context of tls.createSecureContext() for that name, or false to refuse. */
    serverName(data: unknown, name: string): unknown;
  };
}

export interface ConnectOptions {
  readonly hostname: string;
  readonly port: number;
  readonly data: RawSocket["data"];
  readonly allowHalfOpen: true;
  readonly tls: {
    readonly secureContext: unknown;
    readonly serverName: string;
    readonly ALPNProtocols: Buffer;
    readonly rejectUnauthorized: false;
  };
  readonly socket: RawHandlers & { session(socket: RawSocket, given: Uint8Array): void };
}

export interface TlsRuntime {
  listen(options: ListenOptions): RawListener;
  /** Rejects when TCP does not connect. */
  connect(options: ConnectOptions): Promise<RawSocket>;
}

/** Elsewhere the runtime's TLS runs over sockets of ours: its own have no descriptors. */
const tlsOverStreams = isBun ? undefined : await import("./tls-over-streams.ts");

export function tlsRuntime(loop: Loop): TlsRuntime {
  if (tlsOverStreams !== undefined) return new tlsOverStreams.TlsOverStreams(loop);
  return (globalThis as unknown as { Bun: TlsRuntime }).Bun;
}
