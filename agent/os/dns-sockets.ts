// UDP sockets of the agent's resolver. Captured queries arrive on a socket that is bound to the resolver's own address
// (IP_TRANSPARENT), so that the answer comes from where the program asked, and conntrack need not remember anything.
// Needs CAP_NET_ADMIN (transparent) and CAP_NET_BIND_SERVICE (port 53).
import { writeSockaddr } from "./address.ts";
import {
  AF_INET,
  AF_INET6,
  EAGAIN,
  errnoName,
  SO_REUSEADDR,
  SOCK_DGRAM,
  SOCK_FLAGS,
  SOL_IP,
  SOL_IPV6,
  SOL_SOCKET,
} from "./libc.ts";
import {
  ARGUMENTS_AT,
  type Loop,
  RECEIVE_AT,
  RECEIVE_BYTES,
  SCRATCH_AT,
  type Watcher,
} from "./loop.ts";
import { setOption } from "./socket.ts";

const DNS_PORT = 53;
const IP_TRANSPARENT = 19;
const IPV6_TRANSPARENT = 75;
const PEER_AT = ARGUMENTS_AT + 256;
const PEER_LENGTH_AT = ARGUMENTS_AT + 320;
const PEER_BYTES_MAX = 28;
/** Datagrams one socket may read a turn before the others get theirs. */
const READS_MAX = 32;
const DATAGRAM_BYTES_MAX = 65_535;

export interface QueryEvents {
  /** The bytes are valid during the call only; `reply` may be called later, from the resolver's address. */
  onQuery(query: Uint8Array, resolver: string, reply: (message: Uint8Array) => void): void;
}

/** Takes the queries that a redirect routes to us in a resolver's place. */
export class ResolverSocket implements Watcher {
  readonly resolver: string;
  readonly #loop: Loop;
  readonly #fd: number;
  readonly #events: QueryEvents;
  #isClosed = false;

  /** `fd`: of openInPlaceOf(), or what a process before this one opened by it. */
  constructor(loop: Loop, resolver: string, events: QueryEvents, fd: number) {
    this.resolver = resolver;
    this.#loop = loop;
    this.#events = events;
    this.#fd = fd;
    loop.hold(fd); // so that it is found, and ended, if this thread dies before it begins
  }

  get fd(): number {
    return this.#fd;
  }

  /** A successor reads the same socket: what comes is its own, and what we were asked is still answered from here. */
  giveAway(): void {
    this.#loop.unwatch(this.#fd);
  }

  /** What came since it was bound waits in the socket. */
  begin(): void {
    this.#loop.unwatch(this.#fd);
    this.#loop.watch(this.#fd, this);
  }

  onReady(): void {
    const { libc, arena } = this.#loop;
    for (let reads = 0; reads < READS_MAX; reads++) {
      if (this.#isClosed) return;
      arena.words[PEER_LENGTH_AT >> 2] = PEER_BYTES_MAX;
      const at = this.#loop.at.bind(this.#loop);
      const count = libc.recvfrom(
        this.#fd,
        at(RECEIVE_AT),
        RECEIVE_BYTES,
        0,
        at(PEER_AT),
        at(PEER_LENGTH_AT),
      );
      if (count < 0) {
        if (this.#loop.errno() === EAGAIN) return;
        continue; // an ICMP error of an earlier answer, now taken
      }
      const peer = arena.bytes.slice(
        PEER_AT,
        PEER_AT + (arena.words[PEER_LENGTH_AT >> 2] as number),
      );
      const query = arena.bytes.subarray(RECEIVE_AT, RECEIVE_AT + count);
      this.#events.onQuery(query, this.resolver, (message) => this.#send(peer, message));
    }
    this.#loop.again(this);
  }

  #send(peer: Uint8Array, message: Uint8Array): void {
    if (this.#isClosed || message.length > DATAGRAM_BYTES_MAX) return;
    const { libc, arena } = this.#loop;
    arena.bytes.set(peer, PEER_AT);
    arena.bytes.set(message, SCRATCH_AT);
    // An answer that the kernel does not take is lost, as datagrams may be: the program asks again.
    libc.sendto(
      this.#fd,
      this.#loop.at(SCRATCH_AT),
      message.length,
      0,
      this.#loop.at(PEER_AT),
      peer.length,
    );
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#loop.unwatch(this.#fd);
    this.#loop.closeLater(this.#fd);
  }
}

/** Throws with what to do about it. */
export function openInPlaceOf(loop: Loop, resolver: string): number {
  const { libc } = loop;
  const isIpv6 = resolver.includes(":");
  const fd = libc.socket(isIpv6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_FLAGS, 0);
  if (fd < 0) throw refusal(resolver, errnoName(loop.errno()));
  // A thread that crashed may leave its socket open: the newest one gets the packets, as long as both allow it.
  setOption(loop, fd, SOL_SOCKET, SO_REUSEADDR, 1);
  const isTransparent = isIpv6
    ? setOption(loop, fd, SOL_IPV6, IPV6_TRANSPARENT, 1)
    : setOption(loop, fd, SOL_IP, IP_TRANSPARENT, 1);
  const length = writeSockaddr(loop.arena.bytes, PEER_AT, resolver, DNS_PORT);
  if (isTransparent !== 0 || libc.bind(fd, loop.at(PEER_AT), length) !== 0) {
    const reason = errnoName(loop.errno());
    libc.close(fd);
    throw refusal(resolver, reason);
  }
  return fd;
}

function refusal(resolver: string, reason: string): Error {
  const next =
    reason === "EPERM" || reason === "EACCES"
      ? "the agent needs CAP_NET_ADMIN and CAP_NET_BIND_SERVICE for DNS capture, or --no-dns"
      : reason === "EADDRINUSE"
        ? "a DNS server of this host has port 53 there or on every address (ss -lunp): bind it to its own addresses, or use --no-dns"
        : "run with --no-dns to go on without";
  return new Error(`cannot take queries to ${resolver}:53: ${reason}; ${next}`);
}

export interface ForwardSocketEvents {
  onMessage(message: Uint8Array): void;
  onFailed(): void;
}

/** One question's socket: connected, so that only the resolver is heard; its port is the kernel's random choice. */
export class ForwardSocket implements Watcher {
  readonly #loop: Loop;
  readonly #fd: number;
  readonly #events: ForwardSocketEvents;
  #isClosed = false;

  private constructor(loop: Loop, fd: number, events: ForwardSocketEvents) {
    this.#loop = loop;
    this.#fd = fd;
    this.#events = events;
    loop.watch(fd, this);
  }

  /** undefined: no file descriptor, or no route. */
  static open(
    loop: Loop,
    resolver: string,
    events: ForwardSocketEvents,
  ): ForwardSocket | undefined {
    const { libc } = loop;
    const fd = libc.socket(resolver.includes(":") ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_FLAGS, 0);
    if (fd < 0) return undefined;
    const length = writeSockaddr(loop.arena.bytes, PEER_AT, resolver, DNS_PORT);
    if (length > 0 && libc.connect(fd, loop.at(PEER_AT), length) === 0) {
      return new ForwardSocket(loop, fd, events);
    }
    libc.close(fd);
    return undefined;
  }

  send(message: Uint8Array): void {
    if (this.#isClosed) return;
    this.#loop.arena.bytes.set(message, SCRATCH_AT);
    const sent = this.#loop.libc.send(this.#fd, this.#loop.at(SCRATCH_AT), message.length, 0);
    if (sent < 0) this.#failLater();
  }

  #failLater(): void {
    this.#loop.again({ onReady: () => this.#isClosed || this.#events.onFailed() });
  }

  onReady(): void {
    const { libc, arena } = this.#loop;
    for (let reads = 0; reads < READS_MAX; reads++) {
      if (this.#isClosed) return;
      const count = libc.recv(this.#fd, this.#loop.at(RECEIVE_AT), RECEIVE_BYTES, 0);
      if (count < 0) {
        if (this.#loop.errno() !== EAGAIN) this.#events.onFailed();
        return;
      }
      this.#events.onMessage(arena.bytes.subarray(RECEIVE_AT, RECEIVE_AT + count));
    }
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#loop.unwatch(this.#fd);
    this.#loop.closeLater(this.#fd);
  }
}
