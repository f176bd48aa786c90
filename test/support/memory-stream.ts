// One stream of memory-network.ts, and what a test may do to it.
import type { CloseReason, MeshPeer, Stream, StreamHandler } from "../../agent/base/net.ts";
import type { MemoryFabric, MemoryNetwork } from "./memory-network.ts";

/** What a test may do to a stream of an agent just before a step of it. */
export type Fault =
  /** The kernel takes so many bytes of a write, at most; 0: EAGAIN. */
  | { readonly is: "takes"; readonly bytes: number }
  | { readonly is: "peer_resets" }
  | { readonly is: "peer_ends" }
  /** The peer neither reads nor says anything from here on, and its host does not tell. */
  | { readonly is: "peer_falls_silent" };
export type Step = "open" | "data" | "end" | "writable" | "write";

export class MemoryStream implements Stream {
  handler: StreamHandler;
  peerAddress = "";
  peerPort = 0;
  fromPort = 0;
  mesh: MeshPeer | undefined;
  isOpen = true;
  readonly #fabric: MemoryFabric;
  readonly #network: MemoryNetwork;
  #far: MemoryStream | undefined;
  /** Sent by the far end, not yet shown here. */
  #inbox: Uint8Array[] = [];
  #inboxBytes = 0;
  #isConnected = false;
  #isPaused = false;
  #isBlocked = false;
  #farEnded = false;
  #shownEnd = false;
  #ended = false;
  #isDue = false;

  readonly #mayFail: boolean;

  constructor(
    fabric: MemoryFabric,
    network: MemoryNetwork,
    handler: StreamHandler,
    mayFail = false,
  ) {
    this.#fabric = fabric;
    this.#network = network;
    this.#mayFail = mayFail;
    this.handler = handler;
  }

  join(far: MemoryStream): void {
    this.#far = far;
    far.#far = this;
    far.#isConnected = true;
  }

  connected(): void {
    this.#isConnected = true;
    this.#schedule();
  }

  /** For who dialled: nothing arrives before onOpen. */
  opened(): void {
    this.#fabric.later(() => {
      if (!this.isOpen) return;
      this.#step("open");
      this.connected();
      this.handler.onOpen(this);
      if (this.isOpen) this.handler.onWritable(this);
    });
  }

  write(bytes: Uint8Array, start: number, end: number): number {
    const far = this.#far;
    if (!this.isOpen || !this.#isConnected || this.#ended || far === undefined) return 0;
    const fault = this.#step("write");
    const room = this.#fabric.config.windowBytes - far.#inboxBytes;
    let taken = Math.min(room, end - start);
    if (fault?.is === "takes") taken = Math.min(taken, fault.bytes);
    if (this.#fabric.config.splits && taken > 1 && this.#fabric.random.unit() < 0.3) {
      taken = 1 + Math.floor(this.#fabric.random.unit() * taken);
    }
    if (taken < end - start) {
      this.#isBlocked = true;
      if (room > taken) this.#unblock();
    }
    if (taken <= 0) return 0;
    if (far.isOpen) far.#receive(bytes.slice(start, start + taken));
    else this.#fabric.later(() => this.die({ is: "failed", code: "EPIPE" }));
    return taken;
  }

  get hasUnread(): boolean {
    return this.#inboxBytes > 0 || (this.#farEnded && !this.#shownEnd);
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    this.#schedule();
  }

  endWrite(): void {
    if (!this.isOpen || this.#ended) return;
    this.#ended = true;
    const far = this.#far;
    if (far !== undefined) {
      far.#farEnded = true;
      far.#schedule();
    }
    if (this.#shownEnd) this.#fabric.later(() => this.die({ is: "ended" }));
  }

  close(): void {
    if (!this.isOpen) return;
    if (this.#inboxBytes > 0) {
      this.reset(); // as TCP does to who closes with unread bytes
      return;
    }
    this.isOpen = false;
    const far = this.#far;
    if (far === undefined) return;
    far.#farEnded = true;
    far.#schedule();
  }

  reset(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    const far = this.#far;
    if (far !== undefined) this.#fabric.later(() => far.die({ is: "failed", code: "ECONNRESET" }));
  }

  die(reason: CloseReason): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.handler.onClose(this, reason);
  }

  /** What the test wants to happen just now. */
  #step(step: Step): Fault | undefined {
    const fault = this.#mayFail ? this.#fabric.faultAt?.(this, step) : undefined;
    if (fault !== undefined) this.suffer(fault);
    return fault;
  }

  /** What the peer does has happened when this returns. */
  suffer(fault: Fault): void {
    const far = this.#far;
    if (far === undefined) return;
    // Another agent does neither of itself: what is between them cuts them off, and both are told.
    if (far.#mayFail && (fault.is === "peer_resets" || fault.is === "peer_ends")) {
      if (fault.is === "peer_ends") far.endWrite();
      else this.#fabric.later(() => this.die({ is: "failed", code: "ECONNRESET" }));
      this.#fabric.later(() => far.die({ is: "failed", code: "ECONNRESET" }));
    } else if (fault.is === "peer_resets") far.reset();
    else if (fault.is === "peer_ends") far.endWrite();
    else if (fault.is === "peer_falls_silent") far.#fallSilent();
  }

  #fallSilent(): void {
    this.#isPaused = true;
    this.resume = () => {};
    this.write = () => 0;
    this.endWrite = () => {};
  }

  #receive(piece: Uint8Array): void {
    this.#inbox.push(piece);
    this.#inboxBytes += piece.length;
    this.#schedule();
  }

  #schedule(): void {
    if (this.#isDue || !this.isOpen) return;
    if (this.#inboxBytes === 0 && (!this.#farEnded || this.#shownEnd)) return;
    this.#isDue = true;
    this.#fabric.later(() => {
      this.#isDue = false;
      this.#deliver();
    });
  }

  #deliver(): void {
    if (!this.isOpen || this.#isPaused || !this.#isConnected) return;
    if (this.#inboxBytes > 0) {
      this.#step("data");
      this.#network.show(this, this.#takePiece());
      if (this.#far !== undefined) this.#far.#unblock();
      this.#schedule();
    } else if (this.#farEnded && !this.#shownEnd) {
      this.#step("end");
      this.#shownEnd = true;
      if (this.#ended) this.die({ is: "ended" });
      else this.handler.onEnd(this);
    }
  }

  #takePiece(): Uint8Array {
    let length = Math.min(this.#inboxBytes, this.#network.pieceBytesMax);
    if (this.#fabric.config.splits && this.#fabric.random.unit() < 0.5) {
      length = 1 + Math.floor(this.#fabric.random.unit() * length);
    }
    const piece = new Uint8Array(length);
    let filled = 0;
    while (filled < length) {
      const first = this.#inbox[0] as Uint8Array;
      const part = first.subarray(0, length - filled);
      piece.set(part, filled);
      filled += part.length;
      if (part.length === first.length) this.#inbox.shift();
      else this.#inbox[0] = first.subarray(part.length);
    }
    this.#inboxBytes -= length;
    return piece;
  }

  #unblock(): void {
    if (!this.#isBlocked || !this.isOpen) return;
    this.#isBlocked = false;
    this.#fabric.later(() => {
      if (!this.isOpen) return;
      this.#step("writable");
      this.handler.onWritable(this);
    });
  }
}
