// A transparent UDP socket to which the redirect's TPROXY brings datagrams, each with where it was going (IP_RECVORIGDSTADDR, ip(7)).
// Needs CAP_NET_ADMIN. All threads have one at the same port; the kernel spreads by the two ends, so a flow stays with its thread.
import type { CapturedDatagram } from "../base/datagrams.ts";
import type { OriginalDestination } from "../base/net.ts";
import { err, ok, type Result } from "../base/result.ts";
import { readAddress, readPort, SOCKADDR_BYTES, writeSockaddr } from "./address.ts";
import {
  AF_INET,
  AF_INET6,
  EAGAIN,
  errnoName,
  SO_REUSEPORT,
  SOCK_DGRAM,
  SOCK_FLAGS,
  SOL_IP,
  SOL_IPV6,
  SOL_SOCKET,
} from "./libc.ts";
import { endListener } from "./listening-socket.ts";
import { ARGUMENTS_AT, type Loop, RECEIVE_AT, RECEIVE_BYTES, type Watcher } from "./loop.ts";
import { setOption } from "./socket.ts";
import { setReceiveRoom } from "./udp-socket.ts";

const IP_TRANSPARENT = 19;
const IP_RECVORIGDSTADDR = 20;
const IPV6_RECVORIGDSTADDR = 74;
const IPV6_TRANSPARENT = 75;

/** struct msghdr (recvmsg(2)), its one iovec, the sender's address and one control message. */
const MESSAGE_AT = ARGUMENTS_AT + 512;
const VECTOR_AT = MESSAGE_AT + 64;
const NAME_AT = VECTOR_AT + 16;
const CONTROL_AT = NAME_AT + 32;
const CONTROL_BYTES = 64;
/** In struct cmsghdr: length (8 bytes), level, type, then the data. */
const LEVEL_AT = CONTROL_AT + 8;
const TYPE_AT = CONTROL_AT + 12;
const ORIGINAL_AT = CONTROL_AT + 16;
/** Datagrams one socket may read a turn before the others get theirs. */
const READS_MAX = 64;
const isPoisoned = process.env["IRONMESH_POISON"] === "1";

export interface UdpAcceptor {
  onDatagram(datagram: CapturedDatagram): void;
}

export class UdpListener implements Watcher, CapturedDatagram {
  readonly #loop: Loop;
  readonly fd: number;
  readonly #isIpv6: boolean;
  readonly #acceptor: UdpAcceptor;
  readonly #halves: Uint16Array;
  #isClosed = false;
  readonly start = RECEIVE_AT;
  end = RECEIVE_AT;

  /** `fd`: of openTransparent(), perhaps of a process before this one. */
  constructor(loop: Loop, fd: number, isIpv6: boolean, acceptor: UdpAcceptor) {
    this.#loop = loop;
    this.#isIpv6 = isIpv6;
    this.#acceptor = acceptor;
    this.#halves = new Uint16Array(loop.arena.buffer);
    this.fd = fd;
    loop.watch(fd, this);
  }

  get bytes(): Uint8Array {
    return this.#loop.arena.bytes;
  }
  get from(): OriginalDestination {
    return { address: readAddress(this.bytes, NAME_AT), port: readPort(this.bytes, NAME_AT) };
  }
  get to(): OriginalDestination {
    const { bytes } = this;
    return { address: readAddress(bytes, ORIGINAL_AT), port: readPort(bytes, ORIGINAL_AT) };
  }
  /** Port and address of both ends, as they lie in their sockaddrs. */
  get flowKey(): string {
    return this.#isIpv6
      ? `${this.#text(NAME_AT + 2, 1)}${this.#text(NAME_AT + 8, 8)}${this.#text(ORIGINAL_AT + 2, 1)}${this.#text(ORIGINAL_AT + 8, 8)}`
      : this.#ipv4Key();
  }
  /** It is asked for each datagram, so nothing is made but the text. */
  #ipv4Key(): string {
    const halves = this.#halves;
    const from = (NAME_AT + 2) >> 1;
    const to = (ORIGINAL_AT + 2) >> 1;
    return String.fromCharCode(
      halves[from] as number,
      halves[from + 1] as number,
      halves[from + 2] as number,
      halves[to] as number,
      halves[to + 1] as number,
      halves[to + 2] as number,
    );
  }
  #text(at: number, halves: number): string {
    const first = at >> 1;
    return String.fromCharCode(...this.#halves.subarray(first, first + halves));
  }

  onReady(): void {
    for (let reads = 0; reads < READS_MAX; reads++) {
      if (this.#isClosed) return;
      const count = this.#receive();
      if (count < 0) {
        if (this.#loop.errno() === EAGAIN) return;
        continue;
      }
      this.#loop.messages++;
      this.end = RECEIVE_AT + count;
      if (this.#hasOriginal) this.#acceptor.onDatagram(this);
      if (isPoisoned) this.bytes.fill(0xdb, RECEIVE_AT, RECEIVE_AT + count);
    }
    this.#loop.again(this);
  }

  #receive(): number {
    const { libc, arena } = this.#loop;
    const { words } = arena;
    // Pointers and sizes are 64 bits; the arena lies below 4 GB.
    words.fill(0, MESSAGE_AT >> 2, (MESSAGE_AT + 56) >> 2);
    words[MESSAGE_AT >> 2] = this.#loop.at(NAME_AT);
    words[(MESSAGE_AT + 8) >> 2] = SOCKADDR_BYTES;
    words[(MESSAGE_AT + 16) >> 2] = this.#loop.at(VECTOR_AT);
    words[(MESSAGE_AT + 24) >> 2] = 1;
    words[(MESSAGE_AT + 32) >> 2] = this.#loop.at(CONTROL_AT);
    words[(MESSAGE_AT + 40) >> 2] = CONTROL_BYTES;
    words[VECTOR_AT >> 2] = this.#loop.at(RECEIVE_AT);
    words[(VECTOR_AT + 4) >> 2] = 0;
    words[(VECTOR_AT + 8) >> 2] = RECEIVE_BYTES;
    words[(VECTOR_AT + 12) >> 2] = 0;
    words[LEVEL_AT >> 2] = -1;
    return libc.recvmsg(this.fd, this.#loop.at(MESSAGE_AT), 0);
  }

  get #hasOriginal(): boolean {
    const { words } = this.#loop.arena;
    const level = words[LEVEL_AT >> 2];
    const type = words[TYPE_AT >> 2];
    return this.#isIpv6
      ? level === SOL_IPV6 && type === IPV6_RECVORIGDSTADDR
      : level === SOL_IP && type === IP_RECVORIGDSTADDR;
  }

  /** What waits in it is for whoever else has a copy: the service manager, a successor. */
  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#loop.unwatch(this.fd);
    this.#loop.closeLater(this.fd);
  }

  /** For good, for every copy: nobody would read from it. */
  retire(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#loop.unwatch(this.fd);
    endListener(this.#loop.libc, this.fd);
  }
}

/** A text is the errno's name. */
export function openTransparent(loop: Loop, address: string, port: number): Result<number, string> {
  const { libc } = loop;
  const isIpv6 = address.includes(":");
  const fd = libc.socket(isIpv6 ? AF_INET6 : AF_INET, SOCK_DGRAM | SOCK_FLAGS, 0);
  if (fd < 0) return err(errnoName(loop.errno()));
  setReceiveRoom(loop, fd);
  const level = isIpv6 ? SOL_IPV6 : SOL_IP;
  const isReady =
    setOption(loop, fd, SOL_SOCKET, SO_REUSEPORT, 1) === 0 &&
    setOption(loop, fd, level, isIpv6 ? IPV6_TRANSPARENT : IP_TRANSPARENT, 1) === 0 &&
    setOption(loop, fd, level, isIpv6 ? IPV6_RECVORIGDSTADDR : IP_RECVORIGDSTADDR, 1) === 0 &&
    libc.bind(fd, loop.at(NAME_AT), writeSockaddr(loop.arena.bytes, NAME_AT, address, port)) === 0;
  if (isReady) return ok(fd);
  const reason = errnoName(loop.errno());
  libc.close(fd);
  return err(reason);
}
