// Plain TCP on our own epoll: edge-triggered, registered once, read into the arena and shown to the handler from there.
//
//   connecting --EPOLLOUT--> open --recv 0--> read side ended --endWrite()--> both ended --> closed
//        \--SO_ERROR--> closed (connect_failed)        any error --> closed (failed)
//   open --close()--> closing, while bytes that write() took have not left --> closed
//
// Small messages go in and out with those of other streams where the loop has a batch (io-batch.ts): write() then takes a message
// whole, and what the kernel turns out not to take is kept here until it does, past close() as well, as the kernel's own buffer is.
// A peer that answers early and resets leaves its answer in our receive queue: errors are reported only after what was
// received has been read.
import type { CloseReason, Stream, StreamHandler } from "../base/net.ts";
import { EDIT_ROOM } from "../base/net.ts";
import { BATCHED_BYTES_MAX, type Receiver, type Sender, SLOT_BYTES } from "./io-batch.ts";
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
import { type Loop, RECEIVE_AT, SCRATCH_AT, SCRATCH_BYTES, type Watcher } from "./loop.ts";
import { setResetOnClose, takeError } from "./socket.ts";
import { NOT_RUN } from "./uring.ts";

/** Where the other side does not keep up, so much of a connection is kept here at most. */
const READ_BYTES = 32_768;
/** Reads that one socket may make before the others, and the runtime, get their turn. */
const READS_MAX = 8;
/** How long what was taken from write() may outlive close(). */
const LEFTOVER_MAX_MS = 30_000;
/** Where bytes that do not lie in the arena are copied before they are sent: the end of scratch, which builders do not reach. */
const COPY_BYTES = 65_536;
const COPY_AT = SCRATCH_AT + SCRATCH_BYTES - COPY_BYTES;
/** What the data path may build in. */
export const SCRATCH_END = COPY_AT;
const POISON = 0xdb;
/** Test builds fill what a handler was shown as soon as it returns, so that a kept reference shows itself. */
const isPoisoned = process.env["IRONMESH_POISON"] === "1";

/** What only few streams ever have. */
interface Rest {
  /** Taken by write(), and not by the kernel. */
  unsent: Uint8Array | undefined;
  /** Received while another stream's event paused this one. */
  held: Uint8Array | undefined;
  /** endWrite() was called: our direction ends once all is sent. */
  isEnding: boolean;
}

/** Each idle connection has one of these, so its fields are counted: 12 fill the runtime's next size of object (112 bytes). */
export class TcpStream implements Stream, Watcher, Receiver, Sender {
  handler: StreamHandler;
  readonly fd: number;
  readonly #loop: Loop;
  /** `closing` and `closed`: no more events. From `closed` on the fd's number may soon be another's. */
  #state: "connecting" | "open" | "closing" | "closed";
  /** `alone`: the last read brought more than fits a slot, so the next is made by itself, in larger pieces. */
  #reading: "shared" | "alone" | "paused" = "shared";
  /** `queued`: a message waits in the loop's batch. `blocked`: EPOLLOUT will come. */
  #writing: "free" | "queued" | "blocked" | "failed" = "free";
  /** The kernel has, or may have, something for us that we have not read. */
  #isReadable = false;
  /** The end of the peer's direction: announced by an event, then told to the handler. */
  #peerEnd: "none" | "announced" | "told" = "none";
  /** EPOLLERR came. */
  #hasError = false;
  #isQueued = false;
  #rest: Rest | undefined;
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

  get hasUnread(): boolean {
    return this.#isReadable;
  }

  get mesh(): undefined {
    return undefined;
  }

  get #isOver(): boolean {
    return this.#state === "closed" || this.#state === "closing";
  }

  // ---- events

  onReady(events: number): void {
    if (this.#isOver) {
      if (this.#state === "closing") this.#sendRest();
      return;
    }
    this.#isQueued = false;
    if (this.#state === "connecting" && !this.#finishConnect(events)) return;
    if ((events & EPOLLOUT) !== 0 && this.#writing === "blocked") {
      this.#becomeWritable();
      if (this.#isOver) return;
    }
    if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) !== 0 && this.#peerEnd === "none") {
      this.#peerEnd = "announced";
    }
    if ((events & EPOLLERR) !== 0) this.#hasError = true;
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) !== 0) this.#isReadable = true;
    if (this.#isReadable && this.#reading !== "paused") this.#read();
  }

  receiverFor(events: number): Receiver | undefined {
    if (this.#state !== "open" || this.#reading !== "shared" || this.#isReadable) return undefined;
    const isPlain =
      events === EPOLLIN || (events === (EPOLLIN | EPOLLOUT) && this.#writing !== "blocked");
    return isPlain ? this : undefined;
  }

  onReceived(at: number, result: number): void {
    if (this.#isOver) return;
    if (result === NOT_RUN) {
      this.#isReadable = true;
      this.#queue();
    } else if (result <= 0) this.#readNothing(-result);
    else if (this.#reading === "paused") this.#hold(at, result);
    else {
      this.#isReadable = result === SLOT_BYTES;
      if (this.#isReadable) this.#reading = "alone";
      this.#show(at, result);
      if (this.#isReadable) this.#read();
    }
  }

  /** Whether it is open now. */
  #finishConnect(events: number): boolean {
    if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) === 0) return false;
    const failure = takeError(this.#loop, this.fd);
    if (failure !== undefined) {
      this.#end({ is: "connect_failed", code: failure });
      return false;
    }
    this.#state = "open";
    const hasTried = this.#writing === "blocked";
    this.#writing = "free";
    this.handler.onOpen(this);
    if (hasTried && !this.#isOver) this.handler.onWritable(this);
    return !this.#isOver;
  }

  #becomeWritable(): void {
    if (!this.#sendRest()) return;
    this.#writing = "free";
    this.handler.onWritable(this);
  }

  // ---- reading

  #read(): void {
    this.#showHeld();
    for (let reads = 0; reads < READS_MAX; reads++) {
      if (this.#reading === "paused" || this.#isOver || !this.#readOnce()) return;
    }
    this.#queue();
  }

  /** Whether there may be more. */
  #readOnce(): boolean {
    const { libc, arena } = this.#loop;
    const count = libc.recv(this.fd, arena.base + RECEIVE_AT, READ_BYTES, 0);
    if (count <= 0) {
      this.#readNothing(count === 0 ? 0 : this.#loop.errno());
      return false;
    }
    this.#reading = count < SLOT_BYTES ? "shared" : "alone";
    // A short read empties the queue, and what comes later is a new edge; unless the end came together with the data, or a
    // failed write is to be told once all is read. Known before it is shown: the handler may ask.
    const isMore = count === READ_BYTES || this.#peerEnd !== "none" || this.#writing === "failed";
    this.#isReadable &&= isMore;
    this.#show(RECEIVE_AT, count);
    return this.#isReadable;
  }

  #show(at: number, count: number): void {
    const { bytes } = this.#loop.arena;
    this.handler.onData(this, bytes, at, at + count);
    if (isPoisoned) bytes.fill(POISON, at, at + count + EDIT_ROOM);
  }

  #hold(at: number, count: number): void {
    this.#theRest.held = this.#loop.arena.bytes.slice(at, at + count);
    this.#isReadable = true; // so that resume() looks
  }

  #showHeld(): void {
    const held = this.#rest?.held;
    if (held === undefined) return;
    this.#theRest.held = undefined;
    this.#loop.arena.bytes.set(held, RECEIVE_AT);
    this.#show(RECEIVE_AT, held.length);
  }

  /** `code`: 0 for the end of the stream, else an errno. */
  #readNothing(code: number): void {
    this.#isReadable = false;
    if (code === 0 && this.#writing !== "failed") {
      const wasTold = this.#peerEnd === "told";
      this.#peerEnd = "told";
      if (!wasTold) this.handler.onEnd(this);
      if (wasTold || this.#hasError) this.#lookForReset();
    } else if (code !== 0 && code !== EAGAIN) this.#end({ is: "failed", code: errnoName(code) });
    else if (this.#writing === "failed") this.#end({ is: "failed", code: "EPIPE" });
  }

  /** Behind a FIN the kernel tells of a reset by an event alone: recv() goes on saying that the stream has ended. */
  #lookForReset(): void {
    if (this.#isOver) return;
    const failure = takeError(this.#loop, this.fd);
    if (failure !== undefined) this.#end({ is: "failed", code: failure });
  }

  #queue(): void {
    if (this.#isQueued || this.#isOver) return;
    this.#isQueued = true;
    this.#loop.again(this);
  }

  pause(): void {
    this.#reading = "paused";
  }
  resume(): void {
    if (this.#reading !== "paused") return;
    this.#reading = "alone";
    if (this.#isReadable) this.#queue();
  }

  // ---- writing

  write(bytes: Uint8Array, start: number, end: number): number {
    if (this.#isOver || this.#writing === "failed" || this.#writing === "blocked") return 0;
    if (this.#state === "connecting") {
      this.#writing = "blocked";
      return 0;
    }
    const { batch } = this.#loop;
    const isQueued = this.#writing === "queued";
    if (batch !== undefined && end - start <= BATCHED_BYTES_MAX) {
      if (batch.queue(this, isQueued, bytes, start, end)) {
        this.#writing = "queued";
        return end - start;
      }
    } else if (!isQueued) return this.#writeAlone(bytes, start, end);
    batch?.run();
    return this.write(bytes, start, end); // there is room now, unless this stream turned out to be blocked
  }

  onSent(at: number, length: number, result: number): void {
    if (this.#state === "closed") return; // reset meanwhile
    this.#writing = "free";
    if (result === length) this.#allSent();
    else if (result >= 0 || result === -EAGAIN) {
      const from = at + Math.max(0, result);
      this.#theRest.unsent = this.#loop.arena.bytes.slice(from, at + length);
      this.#writing = "blocked";
      this.#limitRest();
    } else this.#cannotSend();
  }

  #writeAlone(bytes: Uint8Array, start: number, end: number): number {
    if (bytes === this.#loop.arena.bytes) return this.#send(start, end - start);
    let at = start;
    while (at < end) {
      const length = Math.min(COPY_BYTES, end - at);
      this.#loop.arena.bytes.set(
        at === 0 && length === bytes.length ? bytes : bytes.subarray(at, at + length),
        COPY_AT,
      );
      const taken = this.#send(COPY_AT, length);
      at += taken;
      if (taken < length) break;
    }
    return at - start;
  }

  /** How many of the arena's bytes the kernel took. */
  #send(at: number, length: number): number {
    const { libc, arena } = this.#loop;
    const count = libc.send(this.fd, arena.base + at, length, MSG_NOSIGNAL);
    if (count === length) return count;
    if (count >= 0 || this.#loop.errno() === EAGAIN) this.#writing = "blocked";
    else this.#cannotSend();
    return Math.max(0, count);
  }

  /** True: nothing is left. */
  #sendRest(): boolean {
    const unsent = this.#rest?.unsent;
    if (unsent === undefined) return true;
    this.#loop.arena.bytes.set(unsent, COPY_AT);
    const count = this.#send(COPY_AT, unsent.length);
    if (this.#state === "closed" || this.#writing === "failed") return false;
    this.#theRest.unsent = count === unsent.length ? undefined : unsent.slice(count);
    if (count < unsent.length) return false;
    this.#allSent();
    return true;
  }

  #allSent(): void {
    if (this.#state === "closing") this.#release();
    else if (this.#rest?.isEnding === true) this.#loop.libc.shutdown(this.fd, SHUT_WR);
  }

  /** The peer is gone, but may have answered first: read on, and report when nothing is left. */
  #cannotSend(): void {
    if (this.#state === "closing") {
      this.#release();
      return;
    }
    this.#writing = "failed";
    if (this.#rest !== undefined) this.#rest.unsent = undefined;
    this.#isReadable = true;
    this.#queue();
  }

  get #theRest(): Rest {
    this.#rest ??= { unsent: undefined, held: undefined, isEnding: false };
    return this.#rest;
  }

  get #hasUnsent(): boolean {
    return this.#writing === "queued" || this.#rest?.unsent !== undefined;
  }

  /** What is left may outlive close() for so long. */
  #limitRest(): void {
    if (this.#state === "closing") this.#loop.wheel.after(LEFTOVER_MAX_MS, () => this.#release());
  }

  // ---- the end

  endWrite(): void {
    if (this.#state !== "open") return;
    if (this.#hasUnsent) this.#theRest.isEnding = true;
    else this.#loop.libc.shutdown(this.fd, SHUT_WR);
  }

  close(): void {
    if (this.#isOver) return;
    if (!this.#hasUnsent) {
      this.#release();
      return;
    }
    this.#state = "closing";
    this.#loop.leftovers++;
    if (this.#writing !== "queued") this.#limitRest();
  }

  reset(): void {
    if (this.#isOver) return;
    setResetOnClose(this.#loop, this.fd);
    this.#release();
  }

  #release(): void {
    if (this.#state === "closed") return;
    if (this.#state === "closing") this.#loop.leftovers--;
    this.#state = "closed";
    this.#rest = undefined;
    this.#loop.closeLater(this.fd);
  }

  #end(reason: CloseReason): void {
    if (this.#isOver) return;
    this.close();
    this.handler.onClose(this, reason);
  }
}
