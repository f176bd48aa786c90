// A connected UDP socket on our own epoll.
import type { DatagramEvents, DatagramSocket } from "../base/datagrams.ts";
import { writeSockaddr } from "./address.ts";
import {
  AF_INET,
  AF_INET6,
  EAGAIN,
  errnoName,
  SO_REUSEPORT,
  SOCK_DGRAM,
  SOCK_FLAGS,
  SOL_SOCKET,
} from "./libc.ts";
import {
  ARGUMENTS_AT,
  type Loop,
  RECEIVE_AT,
  RECEIVE_BYTES,
  SCRATCH_AT,
  SCRATCH_BYTES,
  type Watcher,
} from "./loop.ts";
import { localEnd, setOption } from "./socket.ts";

const SOCKADDR_AT = ARGUMENTS_AT + 512;
/** The last part of the scratch: who builds something there begins at its start. */
const COPY_AT = SCRATCH_AT + SCRATCH_BYTES - 65_536;
/** Datagrams one socket may read a turn before the others get theirs. */
const READS_MAX = 64;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
/** What may wait in the kernel for us to read it; the kernel counts its own overhead too, and doubles it for that. More is lost. */
const WAITING_BYTES_MAX = 1_048_576;
const isPoisoned = process.env["IRONMESH_POISON"] === "1";

/** Whatever the host's default is (needs CAP_NET_ADMIN; without, the host's default holds). */
export const setReceiveRoom = (loop: Loop, fd: number): void => {
  setOption(loop, fd, SOL_SOCKET, SO_RCVBUFFORCE, WAITING_BYTES_MAX);
};

/** The same for what is sent. */
export const setSendRoom = (loop: Loop, fd: number): void => {
  setOption(loop, fd, SOL_SOCKET, SO_SNDBUFFORCE, WAITING_BYTES_MAX);
};

export interface UdpPath {
  readonly to: { readonly address: string; readonly port: number };
  /** Our own end; several sockets of ours may share it, as each hears only its peer. Undefined: the kernel's choice. */
  readonly from?: { readonly address: string; readonly port: number } | undefined;
}

export class UdpSocket implements DatagramSocket, Watcher {
  readonly localPort: number;
  readonly #loop: Loop;
  readonly #fd: number;
  readonly #events: DatagramEvents;
  #isClosed = false;

  private constructor(loop: Loop, fd: number, events: DatagramEvents) {
    this.#loop = loop;
    this.#fd = fd;
    this.#events = events;
    this.localPort = localEnd(loop, fd).port;
    loop.watch(fd, this);
  }

  /** A text is the errno's name. */
  static open(loop: Loop, path: UdpPath, events: DatagramEvents): UdpSocket | string {
    const { libc } = loop;
    const family = path.to.address.includes(":") ? AF_INET6 : AF_INET;
    const fd = libc.socket(family, SOCK_DGRAM | SOCK_FLAGS, 0);
    if (fd < 0) return errnoName(loop.errno());
    setReceiveRoom(loop, fd);
    setSendRoom(loop, fd);
    if (connect(loop, fd, path)) return new UdpSocket(loop, fd, events);
    const reason = errnoName(loop.errno());
    libc.close(fd);
    return reason;
  }

  onReady(): void {
    const { libc, arena } = this.#loop;
    for (let reads = 0; reads < READS_MAX; reads++) {
      if (this.#isClosed) return;
      const count = libc.recv(this.#fd, this.#loop.at(RECEIVE_AT), RECEIVE_BYTES, 0);
      if (count < 0) {
        if (this.#loop.errno() === EAGAIN) return;
        this.#events.onRefused();
        continue;
      }
      this.#events.onDatagram(arena.bytes, RECEIVE_AT, RECEIVE_AT + count);
      if (isPoisoned) arena.bytes.fill(0xdb, RECEIVE_AT, RECEIVE_AT + count);
    }
    this.#loop.again(this);
  }

  send(bytes: Uint8Array, start: number, end: number): boolean {
    if (this.#isClosed) return false;
    const { libc, arena } = this.#loop;
    const sent =
      bytes === arena.bytes
        ? libc.send(this.#fd, this.#loop.at(start), end - start, 0)
        : sendCopy(this.#loop, this.#fd, bytes, start, end);
    // Anything but EAGAIN is an ICMP error of an earlier datagram, now taken: this one was not sent either.
    return sent >= 0;
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#loop.unwatch(this.#fd);
    this.#loop.closeLater(this.#fd);
  }
}

function sendCopy(loop: Loop, fd: number, bytes: Uint8Array, start: number, end: number): number {
  loop.arena.bytes.set(bytes.subarray(start, end), COPY_AT);
  return loop.libc.send(fd, loop.at(COPY_AT), end - start, 0);
}

function connect(loop: Loop, fd: number, { to, from }: UdpPath): boolean {
  const { libc, arena } = loop;
  if (from !== undefined) {
    setOption(loop, fd, SOL_SOCKET, SO_REUSEPORT, 1);
    const length = writeSockaddr(arena.bytes, SOCKADDR_AT, from.address, from.port);
    if (length === 0 || libc.bind(fd, loop.at(SOCKADDR_AT), length) !== 0) return false;
  }
  const length = writeSockaddr(arena.bytes, SOCKADDR_AT, to.address, to.port);
  return length > 0 && libc.connect(fd, loop.at(SOCKADDR_AT), length) === 0;
}
