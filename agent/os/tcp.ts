// Plain TCP on our own epoll: edge-triggered, registered once, read into the arena and shown to the handler from there.
//
//   connecting --EPOLLOUT--> open --recv 0--> read side ended --endWrite()--> both ended --> closed
//        \--SO_ERROR--> closed (connect_failed)        any error --> closed (failed)
//
// A peer that answers early and resets leaves its answer in our receive queue: errors are reported only after what was
// received has been read.
import type { CloseReason, OriginalDestination, Stream, StreamHandler } from "../base/net.ts";
import { EDIT_ROOM } from "../base/net.ts";
import { CannotListen } from "./cannot-listen.ts";
import {
  EAGAIN,
  EPOLLERR,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLRDHUP,
  errnoName,
  MSG_NOSIGNAL,
  SHUT_WR,
} from "./libc.ts";
import {
  type Loop,
  RECEIVE_AT,
  RECEIVE_BYTES,
  SCRATCH_AT,
  SCRATCH_BYTES,
  type Watcher,
} from "./loop.ts";
import {
  accept,
  acceptedAddress,
  acceptedPort,
  listenTcp,
  originalDestination,
  setNoDelay,
  setResetOnClose,
  takeError,
} from "./socket.ts";

/** Reads of 64 KiB that one socket may make before the others, and the runtime, get their turn. */
const READS_MAX = 4;
/** Where bytes that do not lie in the arena are copied before they are sent: the end of scratch, which builders do not reach. */
const COPY_BYTES = 65_536;
const COPY_AT = SCRATCH_AT + SCRATCH_BYTES - COPY_BYTES;
/** What the data path may build in. */
export const SCRATCH_END = COPY_AT;
const POISON = 0xdb;
/** Test builds fill what a handler was shown as soon as it returns, so that a kept reference shows itself. */
const isPoisoned = process.env["IRONMESH_POISON"] === "1";

/** Each idle connection has one of these, so its fields are counted: 12 fill the runtime's next size of object (112 bytes). */
export class TcpStream implements Stream, Watcher {
  handler: StreamHandler;
  readonly fd: number;
  readonly #loop: Loop;
  #state: "connecting" | "open" | "closed";
  #isPaused = false;
  /** The kernel has, or may have, something for us that we have not read. */
  #isReadable = false;
  /** The end of the peer's direction: announced by an event, then told to the handler. */
  #peerEnd: "none" | "announced" | "told" = "none";
  #isWriteBlocked = false;
  #hasWriteFailed = false;
  #isQueued = false;
  peerAddress: string;
  peerPort: number;

  constructor(
    loop: Loop,
    fd: number,
    handler: StreamHandler,
    peer: { address: string; port: number },
    isConnecting: boolean,
  ) {
    this.#loop = loop;
    this.fd = fd;
    this.handler = handler;
    this.peerAddress = peer.address;
    this.peerPort = peer.port;
    this.#state = isConnecting ? "connecting" : "open";
    loop.watch(fd, this);
  }

  get isOpen(): boolean {
    return this.#state === "open";
  }

  get mesh(): undefined {
    return undefined;
  }

  get #isClosed(): boolean {
    return this.#state === "closed";
  }

  onReady(events: number): void {
    if (this.#isClosed) return;
    this.#isQueued = false;
    if (this.#state === "connecting") {
      if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) === 0) return;
      if (!this.#finishConnect()) return;
    }
    if ((events & EPOLLOUT) !== 0 && this.#isWriteBlocked) {
      this.#isWriteBlocked = false;
      this.handler.onWritable(this);
      if (this.#isClosed) return;
    }
    if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) !== 0 && this.#peerEnd === "none") {
      this.#peerEnd = "announced";
    }
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) !== 0) this.#isReadable = true;
    if (this.#isReadable && !this.#isPaused) this.#read();
  }

  #finishConnect(): boolean {
    const failure = takeError(this.#loop, this.fd);
    if (failure !== undefined) {
      this.#end({ is: "connect_failed", code: failure });
      return false;
    }
    this.#state = "open";
    this.handler.onOpen(this);
    return !this.#isClosed;
  }

  #read(): void {
    const { libc, arena } = this.#loop;
    for (let reads = 0; reads < READS_MAX; reads++) {
      const count = libc.recv(this.fd, arena.base + RECEIVE_AT, RECEIVE_BYTES, 0);
      if (count <= 0) {
        this.#readNothing(count);
        return;
      }
      this.handler.onData(this, arena.bytes, RECEIVE_AT, RECEIVE_AT + count);
      if (isPoisoned) arena.bytes.fill(POISON, RECEIVE_AT, RECEIVE_AT + count + EDIT_ROOM);
      if (this.#isClosed) return;
      // A short read empties the queue, and what comes later is a new edge; unless the end came together with the data.
      if (count < RECEIVE_BYTES && this.#peerEnd === "none") {
        this.#isReadable = false;
        return;
      }
      if (this.#isPaused) return;
    }
    this.#queue();
  }

  #readNothing(count: number): void {
    if (count === 0) {
      this.#isReadable = false;
      if (this.#hasWriteFailed) this.#end({ is: "failed", code: "EPIPE" });
      else if (this.#peerEnd !== "told") {
        this.#peerEnd = "told";
        this.handler.onEnd(this);
      }
      return;
    }
    const code = this.#loop.errno();
    this.#isReadable = false;
    if (code !== EAGAIN) this.#end({ is: "failed", code: errnoName(code) });
    else if (this.#hasWriteFailed) this.#end({ is: "failed", code: "EPIPE" });
  }

  #queue(): void {
    if (this.#isQueued || this.#isClosed) return;
    this.#isQueued = true;
    this.#loop.again(this);
  }

  write(bytes: Uint8Array, start: number, end: number): number {
    if (this.#isClosed || this.#hasWriteFailed) return 0;
    if (this.#state === "connecting") {
      this.#isWriteBlocked = true;
      return 0;
    }
    const { libc, arena } = this.#loop;
    if (bytes === arena.bytes)
      return this.#sent(
        libc.send(this.fd, arena.base + start, end - start, MSG_NOSIGNAL),
        end - start,
      );
    let at = start;
    while (at < end) {
      const length = Math.min(COPY_BYTES, end - at);
      arena.bytes.set(
        at === 0 && length === bytes.length ? bytes : bytes.subarray(at, at + length),
        COPY_AT,
      );
      const taken = this.#sent(
        libc.send(this.fd, arena.base + COPY_AT, length, MSG_NOSIGNAL),
        length,
      );
      at += taken;
      if (taken < length) break;
    }
    return at - start;
  }

  #sent(count: number, wanted: number): number {
    if (count === wanted) return count;
    if (count >= 0 || this.#loop.errno() === EAGAIN) {
      this.#isWriteBlocked = true;
      return Math.max(0, count);
    }
    // The peer is gone, but may have answered first: read on, and report when nothing is left.
    this.#hasWriteFailed = true;
    this.#isReadable = true;
    this.#queue();
    return 0;
  }

  pause(): void {
    this.#isPaused = true;
  }
  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    if (this.#isReadable) this.#queue();
  }
  endWrite(): void {
    if (this.#state === "open") this.#loop.libc.shutdown(this.fd, SHUT_WR);
  }
  close(): void {
    if (this.#isClosed) return;
    this.#state = "closed";
    this.#loop.closeLater(this.fd);
  }
  reset(): void {
    if (this.#isClosed) return;
    setResetOnClose(this.#loop, this.fd);
    this.close();
  }

  #end(reason: CloseReason): void {
    if (this.#isClosed) return;
    this.close();
    this.handler.onClose(this, reason);
  }
}

export interface TcpAcceptor {
  /** `original` is undefined for a connection that nothing redirected. Must set stream.handler. */
  onAccept(stream: TcpStream, original: OriginalDestination | undefined): void;
}

/** Accepts that one listener may make a turn: the rest waits in the kernel's queue. */
const ACCEPTS_MAX = 64;
/** How long a listener rests when the process has no file descriptor left. */
const EXHAUSTED_REST_MS = 100;

const NOT_YET: StreamHandler = {
  onOpen() {},
  onData() {},
  onWritable() {},
  onEnd() {},
  onClose() {},
};

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
    const stream = new TcpStream(this.#loop, fd, NOT_YET, peer, false);
    this.#acceptor.onAccept(stream, original);
  }

  #rest(): void {
    this.exhausted++;
    this.#loop.unwatch(this.fd);
    this.#loop.wheel.after(EXHAUSTED_REST_MS, () => this.#loop.watch(this.fd, this, "level"));
  }

  /** Connections that wait in the kernel's queue are accepted: it would reset them. */
  close(): void {
    this.onReady();
    this.#loop.unwatch(this.fd);
    this.#loop.closeLater(this.fd);
  }
}

/** Opens one listener, or throws CannotListen. */
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
