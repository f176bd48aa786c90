// An opaque connection to or from another agent, as the data path sees it: a stream whose end only its peer can have said. TCP's FIN
// can be anybody's, and the runtime does not tell it from TLS's own end, so whatever ends without the end frame was cut: it dies as
// one that was reset.
//
//   opening -> open -> closed
//                 \-> leaving -> closed     closed by its owner before the end could go out
//        \-> passed on                      a peer of the older wire: the connection itself is the stream
import { assert } from "../../base/assert.ts";
import type { Timer, Timers } from "../../base/clock.ts";
import type { CloseReason, MeshPeer, Stream, StreamHandler } from "../../base/net.ts";
import { OpaqueFrameReader, OpaqueFrameWriter } from "./opaque-frame.ts";

/** How long a peer that reads nothing may keep the end of a closed stream from going out. */
const LEAVE_MS = 5_000;

export interface OpaqueStreamDeps {
  readonly timers: Timers;
  /** What flows, by its own name. */
  readonly alpn: string;
  /** What its connection is dialled with; another there is a peer of the older wire. */
  readonly framedAlpn: string;
  soon(task: () => void): void;
  stage(): Uint8Array;
  /** It ended, and its peer had not said so. */
  onCut(): void;
  onOldPeer(): void;
  /** Its owner is done with it, and the end has not gone out. */
  onLeaving(stream: OpaqueStream): void;
  onLeft(stream: OpaqueStream): void;
}

export class OpaqueStream implements Stream, StreamHandler {
  handler: StreamHandler;
  readonly #deps: OpaqueStreamDeps;
  readonly #reader = new OpaqueFrameReader();
  readonly #writer = new OpaqueFrameWriter();
  #inner: Stream | undefined;
  #peer: MeshPeer | undefined;
  #state: "opening" | "open" | "leaving" | "passed_on" | "closed" = "opening";
  #isPaused = false;
  #peerEnd: "none" | "held" | "told" = "none";
  #ownEnd: "none" | "due" | "sent" = "none";
  /** Told once the end before it was. */
  #death: CloseReason | undefined;
  #leaveTimer: Timer | undefined;

  constructor(deps: OpaqueStreamDeps, handler: StreamHandler) {
    this.#deps = deps;
    this.handler = handler;
  }

  /** A connection that was dialled for it; onOpen or onClose(connect_failed) follows. */
  connecting(inner: Stream): void {
    this.#inner = inner;
  }

  /** A connection that was accepted. */
  accepted(inner: Stream): void {
    this.#begin(inner);
    inner.handler = this;
  }

  #begin(inner: Stream): void {
    this.#inner = inner;
    this.#peer = inner.mesh && { ...inner.mesh, alpn: this.#deps.alpn };
    this.#state = "open";
  }

  get isOpen(): boolean {
    return this.#state === "open";
  }
  get peerAddress(): string {
    return this.#inner?.peerAddress ?? "";
  }
  get peerPort(): number {
    return this.#inner?.peerPort ?? 0;
  }
  get mesh(): MeshPeer | undefined {
    return this.#peer;
  }

  // ---- what the owner does

  write(bytes: Uint8Array, start: number, end: number): number {
    const inner = this.#inner;
    if (this.#state !== "open" || this.#ownEnd !== "none" || inner === undefined) return 0;
    return this.#writer.write(inner, bytes, start, end, this.#deps.stage);
  }

  pause(): void {
    this.#isPaused = true;
    this.#inner?.pause();
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#inner?.resume();
    if (this.#peerEnd === "held") this.#deps.soon(() => this.#tellEnd());
  }

  endWrite(): void {
    if (this.#state !== "open" || this.#ownEnd !== "none") return;
    this.#ownEnd = "due";
    this.#sendEnd();
    if (this.#hasBothEnds) this.#deps.soon(() => this.#closeInOrder());
  }

  close(): void {
    // What was offered and not taken cannot be left out: that is no end in order.
    if (this.#state !== "open" || this.#writer.isInFrame) {
      this.reset();
      return;
    }
    if (this.#ownEnd === "none") this.#ownEnd = "due";
    if (this.#ownEnd === "due") this.#sendEnd();
    if (this.#ownEnd === "due") this.#leave();
    else {
      this.#state = "closed";
      this.#inner?.close();
    }
  }

  reset(): void {
    if (this.#state === "closed" || this.#state === "leaving") return;
    this.#state = "closed";
    this.#inner?.reset();
  }

  #leave(): void {
    this.#state = "leaving";
    this.#deps.onLeaving(this);
    this.#leaveTimer = this.#deps.timers.after(LEAVE_MS, () => {
      this.#inner?.reset();
      this.#left();
    });
  }

  #left(): void {
    this.#state = "closed";
    this.#leaveTimer?.cancel();
    this.#deps.onLeft(this);
  }

  #sendEnd(): void {
    const inner = this.#inner;
    assert(inner !== undefined, "an open stream has its connection");
    if (this.#writer.writeEnd(inner, this.#deps.stage)) this.#ownEnd = "sent";
  }

  get #hasBothEnds(): boolean {
    return this.#ownEnd === "sent" && this.#peerEnd === "told";
  }

  #closeInOrder(): void {
    if (this.#state !== "open") return;
    this.#state = "closed";
    this.#inner?.close();
    this.handler.onClose(this, { is: "ended" });
  }

  // ---- what its connection tells

  onOpen(inner: Stream): void {
    if (this.#state !== "opening") return;
    if (inner.mesh?.alpn === this.#deps.framedAlpn) {
      this.#begin(inner);
      this.handler.onOpen(this);
      return;
    }
    this.#inner = inner;
    this.#state = "passed_on";
    this.#deps.onOldPeer();
    inner.handler = this.handler;
    this.handler.onOpen(inner);
  }

  onData(_inner: Stream, bytes: Uint8Array, start: number, end: number): void {
    if (this.#state !== "open") return; // its owner is done with it
    const reader = this.#reader;
    if (!reader.read(bytes, start, end)) {
      this.#die("EPROTO");
      return;
    }
    if (reader.end > reader.start) this.handler.onData(this, bytes, reader.start, reader.end);
    if (!reader.hasEnded || this.#peerEnd !== "none") return;
    this.#peerEnd = "held";
    this.#tellEnd();
  }

  #tellEnd(): void {
    if (this.#isPaused || this.#peerEnd !== "held" || this.#state !== "open") return;
    this.#peerEnd = "told";
    if (this.#ownEnd === "sent") this.#closeInOrder();
    else this.handler.onEnd(this);
    if (this.#death !== undefined) this.#tellDeath(this.#death);
  }

  onWritable(): void {
    if (this.#ownEnd === "due") this.#sendEnd();
    if (this.#state === "leaving" && this.#ownEnd === "sent") {
      this.#inner?.close();
      this.#left();
    } else if (this.#state === "open") {
      if (this.#hasBothEnds) this.#closeInOrder();
      else this.handler.onWritable(this);
    }
  }

  /** Whoever sent this, the peer says its end in a frame. */
  onEnd(): void {
    if (!this.#reader.hasEnded) this.#die("ECONNRESET");
  }

  #die(code: string): void {
    if (this.#state !== "open") return;
    if (code === "ECONNRESET") this.#deps.onCut();
    this.#inner?.reset();
    this.#tellDeath({ is: "failed", code });
  }

  onClose(_inner: Stream, reason: CloseReason): void {
    if (this.#state === "leaving") this.#left();
    else if (this.#state === "opening") this.#tellDeath(reason);
    else if (this.#state === "open") this.#closed(reason);
  }

  #closed(reason: CloseReason): void {
    const isInOrder = this.#reader.hasEnded && this.#ownEnd === "sent";
    if (!this.#reader.hasEnded && reason.is === "ended") this.#deps.onCut();
    const code = "code" in reason ? reason.code : "ECONNRESET";
    const death: CloseReason = isInOrder ? { is: "ended" } : { is: "failed", code };
    if (this.#peerEnd === "held") this.#death = death;
    else this.#tellDeath(death);
  }

  #tellDeath(reason: CloseReason): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.handler.onClose(this, reason);
  }
}
