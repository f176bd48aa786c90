// Listening sockets on our own epoll: accept, and where the kernel's redirect took the connection from.
import { IGNORE, type OriginalDestination } from "../base/net.ts";
import { CannotListen } from "./cannot-listen.ts";
import { errnoName } from "./libc.ts";
import { endListener } from "./listening-socket.ts";
import type { Loop, Watcher } from "./loop.ts";
import {
  accept,
  acceptedAddress,
  acceptedPort,
  listenTcp,
  originalDestination,
  setNoDelay,
} from "./socket.ts";
import { TcpStream } from "./tcp.ts";

export interface TcpAcceptor {
  /** `original` is undefined for a connection that nothing redirected. Must set stream.handler. */
  onAccept(stream: TcpStream, original: OriginalDestination | undefined): void;
}

/** Accepts that one listener may make a turn: the rest waits in the kernel's queue. */
const ACCEPTS_MAX = 64;
/** How long a listener rests when the process has no file descriptor left. */
const EXHAUSTED_REST_MS = 100;

export class TcpListener implements Watcher {
  readonly #loop: Loop;
  readonly fd: number;
  readonly #acceptor: TcpAcceptor;
  /** Times that accept found no file descriptor (EMFILE, ENFILE). */
  exhausted = 0;

  constructor(loop: Loop, fd: number, acceptor: TcpAcceptor) {
    this.#loop = loop;
    this.fd = fd;
    this.#acceptor = acceptor;
    loop.watch(fd, this, "level");
  }

  onReady(): void {
    for (let accepts = 0; accepts < ACCEPTS_MAX; accepts++) {
      const fd = accept(this.#loop, this.fd);
      if (fd < 0) {
        const code = errnoName(this.#loop.errno());
        if (code === "EMFILE" || code === "ENFILE") this.#rest();
        return;
      }
      this.#accepted(fd);
    }
  }

  #accepted(fd: number): void {
    const peer = { address: acceptedAddress(this.#loop), port: acceptedPort(this.#loop) };
    setNoDelay(this.#loop, fd);
    const original = originalDestination(this.#loop, fd, peer.address.includes(":"));
    const stream = new TcpStream(this.#loop, fd, IGNORE, peer, false);
    this.#acceptor.onAccept(stream, original);
  }

  #rest(): void {
    this.exhausted++;
    this.#loop.unwatch(this.fd);
    this.#loop.wheel.after(EXHAUSTED_REST_MS, () => this.#loop.watch(this.fd, this, "level"));
  }

  /** A successor has the socket too: what waits in the queue, and all that comes, is its own. */
  giveAway(): void {
    this.#loop.unwatch(this.fd);
    this.#loop.closeLater(this.fd);
  }

  /** Connections that wait in the kernel's queue are accepted: it would reset them, unless another process has a copy. */
  close(): void {
    this.onReady();
    this.#loop.unwatch(this.fd);
    this.#loop.closeLater(this.fd);
  }

  /** The same, for good: also for whoever else has a copy of it. */
  retire(): void {
    this.onReady();
    this.#loop.unwatch(this.fd);
    endListener(this.#loop.libc, this.fd);
  }
}

/** Opens one listener that nobody keeps, or throws CannotListen. */
export function listenOn(
  loop: Loop,
  address: string,
  port: number,
  acceptor: TcpAcceptor,
): TcpListener {
  const fd = listenTcp(loop, address, port);
  if (fd.ok) return new TcpListener(loop, fd.value, acceptor);
  throw new CannotListen(address, port, fd.error);
}
