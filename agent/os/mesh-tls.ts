// mTLS between hosts on the runtime's native TLS (BoringSSL): one context per identity, chosen by SNI on our side and by the
// caller's identity on the other. The peer's SPIFFE ID is verified before the data path sees the stream, so no byte of a
// request leaves earlier. SPIFFE certificates have no host names, so the runtime always ends in "altname invalid": exactly
// that error, or none, is accepted, and then the URI SAN decides (BUN.md, "SPIFFE peers").
import tls from "node:tls";
import {
  IGNORE,
  type MeshPeer,
  type MeshRefusal,
  type MeshTarget,
  type Stream,
  type StreamHandler,
} from "../base/net.ts";
import { HandshakeTurns, type HandshakeWaiter } from "./handshake-turns.ts";
import type { Loop } from "./loop.ts";
import { MeshSessions, SESSIONS_MAX } from "./mesh-sessions.ts";
import {
  type ConnectOptions,
  type RawListener,
  type TlsRuntime,
  tlsRuntime,
} from "./tls-runtime.ts";
import {
  type Dialling,
  HANDLERS,
  type PeerCertificate,
  type RawSocket,
  TlsStream,
} from "./tls-stream.ts";

/** A certificate chain and its key, PEM; replaced as a whole. */
export interface MeshIdentityKey {
  readonly identity: string;
  readonly certificates: readonly string[];
  readonly keyPem: string;
}

export interface MeshKeys {
  readonly identities: readonly MeshIdentityKey[];
  /** PEM roots. */
  readonly trustBundle: readonly string[];
}

export interface MeshAcceptor {
  onAccept(stream: Stream): void;
  /** To be counted. */
  onRefused(reason: MeshRefusal): void;
  /** The same, once it is over: where it came from, and the server name that it asked for, as the peer wrote it. */
  onRefusedPeer(reason: MeshRefusal, address: string, serverName: string): void;
  /** A handshake whose peer is who it has to be; `isResumed`: an earlier one spared its certificates. To be counted. */
  onProven(isResumed: boolean): void;
  /** SPIFFE ID of the local workload that a server name targets; undefined refuses. */
  identityFor(serverName: string): string | undefined;
  /** Whoever asks for one of this ALPN may do so without a server name (ztunnel sends none), if all that it could mean has one identity. */
  readonly namelessAlpn: string;
  /** That identity; undefined: there are none, or several. */
  soleIdentity(): string | undefined;
}

type Context = { readonly context: unknown };

/** A peer that connects and never finishes its handshake is dropped after this. */
const HANDSHAKE_TIMEOUT_MS = 5_000;
/** As the runtime's own listeners want it (RFC 8446 4.1.2). */
const TLS_1_3 = 0x0304;
const ALTNAME = "ERR_TLS_CERT_ALTNAME_INVALID";

export class MeshTls {
  readonly #loop: Loop;
  readonly #runtime: TlsRuntime;
  readonly #view: Buffer;
  readonly #alpn: Buffer;
  readonly #alpns: readonly string[];
  /** Accepted, and not proven yet. A client is done before we are and may have sent its first request (RFC 8446 2). */
  handshakes = 0;
  #contexts = new Map<string, Context>();
  #trust: readonly string[] = [];
  /** What each context was made of. */
  #leaves = new Map<string, string>();
  readonly #sessions: MeshSessions;
  readonly #turns: HandshakeTurns;
  /** Of the keys: no session outlives a change of them. */
  #generation = 0;

  /** `sessionsMax`: of what it dialled; 0: it resumes nothing. */
  constructor(loop: Loop, alpns: readonly string[], sessionsMax = SESSIONS_MAX) {
    this.#sessions = new MeshSessions(sessionsMax);
    this.#loop = loop;
    this.#runtime = tlsRuntime(loop);
    this.#turns = new HandshakeTurns(loop);
    this.#view = Buffer.from(loop.arena.buffer);
    this.#alpns = alpns;
    this.#alpn = wireAlpn(alpns);
  }

  /** New handshakes use these; open connections live on. Returns the identities whose certificate was another before. */
  setKeys(keys: MeshKeys): ReadonlySet<string> {
    const leaves = new Map(keys.identities.map((key) => [key.identity, key.certificates[0] ?? ""]));
    const renewed = [...leaves].filter(([identity, leaf]) => {
      const before = this.#leaves.get(identity);
      return before !== undefined && before !== leaf;
    });
    const isTrustNew = keys.trustBundle.join() !== this.#trust.join();
    if (isTrustNew || [...leaves].some(([one, leaf]) => this.#leaves.get(one) !== leaf)) {
      this.#generation++;
      this.#sessions.clear();
    }
    this.#leaves = leaves;
    this.#trust = keys.trustBundle;
    this.#contexts = new Map(
      keys.identities.map((key) => [key.identity, this.#context(key)] as const),
    );
    return new Set(renewed.map(([identity]) => identity));
  }

  #context(key: MeshIdentityKey): Context {
    return tls.createSecureContext({
      key: key.keyPem,
      cert: key.certificates.join("\n"),
      ca: this.#trust.join("\n"),
      minVersion: "TLSv1.3",
      ...{ requestCert: true, rejectUnauthorized: false },
    }) as unknown as Context;
  }

  /** `fd`: a listening socket, which is the listener's from here on. `fallback` is what a client without SNI is shown, which is then
   *  refused unless that was the acceptor's only identity. */
  listen(fd: number, acceptor: MeshAcceptor, fallback: MeshIdentityKey): RawListener {
    return this.#runtime.listen({
      fd,
      allowHalfOpen: true,
      tls: {
        key: fallback.keyPem,
        cert: fallback.certificates.join("\n"),
        ca: this.#trust.join("\n"),
        requestCert: true,
        rejectUnauthorized: false,
        minVersion: TLS_1_3,
        ALPNProtocols: this.#alpn,
      },
      socket: {
        ...HANDLERS,
        serverName: (_data: unknown, name: string) => this.#serve(name, acceptor),
        open: (socket: RawSocket) => {
          const stream = new TlsStream(this.#loop, this.#view, IGNORE);
          socket.data = stream;
          stream.opened(socket);
          this.handshakes++;
          stream.limitHandshake(HANDSHAKE_TIMEOUT_MS, () => this.handshakes--);
          if (!this.#turns.ask(this.#accepting(stream, acceptor))) socket.pause();
        },
        handshake: (socket: RawSocket, _done: boolean, error: Error | null) =>
          this.#accepted(socket, error, acceptor, fallback.identity),
      },
    });
  }

  #accepting(stream: TlsStream, acceptor: MeshAcceptor): HandshakeWaiter {
    return {
      handshakeSteps: 2, // its hello, and what proves it
      beginHandshake: () => stream.beginHandshake(),
      refuseHandshake: () => {
        if (stream.isGone) return;
        stream.isRefused = true;
        acceptor.onRefused("overloaded");
        acceptor.onRefusedPeer("overloaded", stream.peerAddress, "");
        stream.reset();
      },
    };
  }

  #serve(name: string, acceptor: MeshAcceptor): unknown {
    const identity = acceptor.identityFor(name);
    const found = identity === undefined ? undefined : this.#contexts.get(identity);
    if (found !== undefined) return found.context;
    acceptor.onRefused("unknown_server_name");
    return false;
  }

  #accepted(
    socket: RawSocket,
    error: Error | null,
    acceptor: MeshAcceptor,
    fallback: string,
  ): void {
    const stream = socket.data;
    stream.handshakeDone();
    if (stream.isRefused) return; // ended by us: an error to the runtime
    const peer = this.#verify(socket, error, acceptor, fallback);
    if (typeof peer === "string") {
      // A name that #serve refused has been counted there; its handshake ends here without a word of why.
      const serverName = socket.getServername?.() ?? "";
      const isCounted = peer === "tls_error" && acceptor.identityFor(serverName) === undefined;
      if (!isCounted) acceptor.onRefused(peer);
      const isUnknown = isCounted && serverName !== "";
      const reason = isUnknown ? "unknown_server_name" : peer;
      acceptor.onRefusedPeer(reason, stream.peerAddress, serverName);
      stream.reset();
      return;
    }
    acceptor.onProven(socket.isSessionReused());
    stream.mesh = peer;
    stream.setOpen();
    acceptor.onAccept(stream);
  }

  /** Who it is, or why not. */
  #verify(
    socket: RawSocket,
    error: Error | null,
    acceptor: MeshAcceptor,
    fallback: string,
  ): MeshPeer | MeshRefusal {
    const certificate = socket.getPeerX509Certificate();
    const refusal = chainRefusal(error);
    if (refusal === "untrusted_issuer" && certificate === undefined) return "no_certificate";
    if (refusal !== undefined) return refusal;
    const serverName = socket.getServername?.() ?? "";
    const alpn = socket.alpnProtocol;
    const nameless = serverName === "" ? namelessRefusal(alpn, acceptor, fallback) : undefined;
    if (nameless !== undefined) return nameless;
    if (typeof alpn !== "string" || !this.#alpns.includes(alpn)) return "no_alpn";
    if (certificate === undefined) return "no_certificate";
    if (this.#hasOutlived(certificate)) return "expired";
    const identity = onlyUri(certificate.subjectAltName);
    if (identity === undefined) return "not_spiffe";
    const as = serverName === "" ? fallback : acceptor.identityFor(serverName);
    return { identity, serverName, alpn, as };
  }

  /** A resumed session shows the certificate it was made with, and the runtime does not look at its dates again. */
  #hasOutlived({ validTo }: PeerCertificate): boolean {
    return !(Date.parse(validTo) > this.#loop.wallMs());
  }

  dial(target: MeshTarget, handler: StreamHandler): Stream {
    const stream = new TlsStream(this.#loop, this.#view, handler);
    stream.peerAddress = target.address;
    stream.peerPort = target.port;
    const context = this.#contexts.get(target.as);
    if (context === undefined) return this.#failSoon(stream, "no_certificate");
    if (!offersOf(target).every((alpn) => this.#alpns.includes(alpn)))
      return this.#failSoon(stream, "no_alpn");
    const key = this.#sessionKey(target);
    stream.dialling = { target, key, session: this.#sessions.find(key), given: undefined };
    const begin = (): boolean => this.#connect(stream, target, context);
    // It is readable once, for the other's answer. Who dials has a limit of his own.
    if (this.#turns.ask({ handshakeSteps: 1, beginHandshake: begin })) begin();
    return stream;
  }

  /** False: nobody wants it any more. */
  #connect(stream: TlsStream, target: MeshTarget, context: Context): boolean {
    if (stream.isGone) return false;
    this.#runtime
      .connect({
        hostname: target.address,
        port: target.port,
        data: stream,
        allowHalfOpen: true,
        tls: {
          secureContext: context.context,
          serverName: target.serverName,
          ALPNProtocols: wireAlpn(offersOf(target)),
          rejectUnauthorized: false,
        },
        socket: this.#dialHandlers,
      })
      .catch((error: { code?: string }) => stream.failDial(error.code ?? "ECONNREFUSED"));
    this.#loop.yieldSoon();
    return true;
  }

  /** One set for all: a closure for each connection would cost it a kilobyte for as long as it lives. */
  readonly #dialHandlers: ConnectOptions["socket"] = {
    ...HANDLERS,
    open: (socket) => {
      const session = socket.data.dialling?.session;
      if (session !== undefined) socket.setSession(session);
      socket.data.opened(socket);
    },
    session: ({ data: { dialling } }, given) => {
      if (dialling !== undefined) dialling.given = given;
    },
    data: (socket, chunk) => {
      const stream = socket.data;
      if (stream.dialling !== undefined && stream.isOpen) this.#answered(stream, stream.dialling);
      stream.received(chunk);
    },
    handshake: (socket, _isDone, error) => {
      const { dialling } = socket.data;
      if (dialling === undefined) return; // a second verdict
      if (!this.#dialled(socket, error, dialling.target)) this.#sessions.drop(dialling.key);
    },
  };

  /** A session is kept with the first byte: a server that refused us had given one too, and would refuse whoever comes back with it. */
  #answered(stream: TlsStream, { target, key, given }: Dialling): void {
    if (given !== undefined && key === this.#sessionKey(target)) this.#sessions.keep(key, given);
    stream.dialling = undefined;
  }

  #failSoon(stream: TlsStream, refusal: MeshRefusal): Stream {
    this.#loop.again({ onReady: () => stream.failDial(refusal) });
    return stream;
  }

  /** All that a session may depend on. */
  #sessionKey({ as, address, port, serverName, peers }: MeshTarget): string {
    return `${this.#generation} ${as} ${address} ${port} ${serverName} ${peers.join(" ")}`;
  }

  /** False: refused. */
  #dialled(socket: RawSocket, error: Error | null, target: MeshTarget): boolean {
    const stream = socket.data;
    const refusal = chainRefusal(error) ?? this.#dialRefusal(socket, target);
    if (typeof refusal === "string") {
      stream.failDial(refusal);
      return false;
    }
    stream.mesh = refusal;
    stream.setOpen();
    stream.handler.onOpen(stream);
    return true;
  }

  #dialRefusal(socket: RawSocket, target: MeshTarget): MeshPeer | MeshRefusal {
    const alpn = socket.alpnProtocol;
    if (typeof alpn !== "string" || !offersOf(target).includes(alpn)) return "no_alpn";
    const certificate = socket.getPeerX509Certificate();
    if (certificate === undefined) return "no_certificate";
    if (this.#hasOutlived(certificate)) return "expired";
    const identity = onlyUri(certificate.subjectAltName);
    if (identity === undefined) return "not_spiffe";
    if (!target.peers.includes(identity)) return "wrong_identity";
    return { identity, serverName: target.serverName, alpn };
  }
}

const offersOf = ({ alpn, olderAlpn }: MeshTarget): readonly string[] =>
  olderAlpn === undefined ? [alpn] : [alpn, olderAlpn];

/** Of a client without SNI, which was shown `fallback`. */
function namelessRefusal(
  alpn: string | false | null,
  { namelessAlpn, soleIdentity }: MeshAcceptor,
  fallback: string,
): MeshRefusal | undefined {
  if (alpn !== namelessAlpn) return "no_server_name";
  return soleIdentity() === fallback ? undefined : "ambiguous_identity";
}

function chainRefusal(error: Error | null): MeshRefusal | undefined {
  const code = (error as { code?: string } | null)?.code;
  if (error === null || code === ALTNAME) return undefined;
  if (code === "CERT_HAS_EXPIRED" || code === "CERT_NOT_YET_VALID") return "expired";
  if (code === "ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE") return "no_certificate";
  if (
    code?.startsWith("UNABLE_TO_") ||
    code?.includes("SELF_SIGNED") ||
    code?.startsWith("CERT_")
  ) {
    return "untrusted_issuer";
  }
  return code === "INVALID_CA" || code === "INVALID_PURPOSE" ? "untrusted_issuer" : "tls_error";
}

/** The SPIFFE ID of a SAN list as node prints it; undefined unless there is exactly one URI. */
function onlyUri(names: string | undefined): string | undefined {
  const uris = (names ?? "").split(", ").filter((name) => name.startsWith("URI:"));
  const only = uris.length === 1 ? uris[0]?.slice(4) : undefined;
  return only?.startsWith("spiffe://") ? only : undefined;
}

/** RFC 7301 3.1. A string or an array would silently give no ALPN, or throw. */
function wireAlpn(protocols: readonly string[]): Buffer {
  return Buffer.concat(
    protocols.map((p) => Buffer.concat([Buffer.from([p.length]), Buffer.from(p)])),
  );
}
