// One of a carrier's streams: to the data path a stream like any other.
import { concat } from "../../base/bytes.ts";
import type { CloseReason, MeshPeer, Stream, StreamHandler } from "../../base/net.ts";
import type { Carrier } from "./carrier.ts";
import { PAYLOAD_BYTES_MAX, WINDOW_BYTES } from "./frame.ts";
import type { HeldPiece } from "./held-blocks.ts";

/** Held pieces before they are joined: a byte each would weigh a hundred times as much. */
const PIECES_MAX = 64;

export class CarriedStream implements Stream {
  handler: StreamHandler;
  readonly id: number;
  readonly #carrier: Carrier;
  #state: "opening" | "open" | "closed";
  #isPaused = false;
  #hasEnded = false;
  #peerEnd: "none" | "announced" | "told" = "none";
  /** Received and not shown: at most WINDOW_BYTES. */
  #held: HeldPiece[] = [];
  /** What we may send, and what the peer may. */
  #sendCredit = WINDOW_BYTES;
  #receiveCredit = WINDOW_BYTES;
  /** Shown, and not yet given back as credit. */
  #shownBytes = 0;
  /** Its carrier is gone: told once what was received has been shown. */
  #death: CloseReason | undefined;
  isCarrierGone = false;
  /** In the carrier's queue of those who wait to write. */
  isWaiting = false;

  constructor(carrier: Carrier, id: number, handler: StreamHandler, isOpen: boolean) {
    this.#carrier = carrier;
    this.id = id;
    this.handler = handler;
    this.#state = isOpen ? "open" : "opening";
  }

  get isOpen(): boolean {
    return this.#state === "open";
  }
  get isRetiring(): boolean {
    return this.#carrier.retirement !== "none";
  }
  get peerAddress(): string {
    return this.#carrier.peerAddress;
  }
  get peerPort(): number {
    return this.#carrier.peerPort;
  }
  get mesh(): MeshPeer | undefined {
    return this.#carrier.peer;
  }

  // ---- what the owner does

  write(bytes: Uint8Array, start: number, end: number): number {
    if (this.#state !== "open" || this.#hasEnded) return 0;
    const allowed = Math.min(end - start, this.#sendCredit);
    const taken = this.#carrier.send(this.id, bytes, start, start + allowed);
    this.#sendCredit -= taken;
    if (taken < allowed) this.#carrier.wait(this);
    return taken;
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    if (this.#held.length > 0 || this.#peerEnd === "announced")
      this.#carrier.soon(() => this.#showHeld());
  }

  endWrite(): void {
    if (this.#state !== "open" || this.#hasEnded) return;
    this.#hasEnded = true;
    this.#carrier.sendEnd(this.id);
  }

  /** As a socket's close: our direction ends, and what the peer still sends is answered by a reset. */
  close(): void {
    if (this.#state === "open" && !this.#hasEnded) this.#carrier.sendEnd(this.id);
    this.#leave();
  }

  reset(): void {
    if (this.#state === "open") this.#carrier.sendReset(this.id);
    this.#leave();
  }

  #leave(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#letGo();
    this.#carrier.forget(this.id);
  }

  // ---- what the carrier tells

  opened(): void {
    if (this.#state !== "opening") return;
    this.#state = "open";
    this.#carrier.sendOpen(this.id);
    this.handler.onOpen(this);
  }

  writable(): void {
    this.isWaiting = false;
    if (this.#state === "open" && this.#sendCredit > 0) this.handler.onWritable(this);
  }

  /** False: more than there can be. */
  credited(bytes: number): boolean {
    const hadNone = this.#sendCredit === 0;
    this.#sendCredit += bytes;
    if (bytes === 0 || this.#sendCredit > WINDOW_BYTES) return false;
    if (hadNone) this.#carrier.soon(() => this.writable());
    return true;
  }

  /** A frame of so many bytes begins. False: the peer may not send that. */
  announced(bytes: number): boolean {
    this.#receiveCredit -= bytes;
    return this.#receiveCredit >= 0 && this.#peerEnd === "none";
  }

  get mustHold(): boolean {
    return this.#isPaused || this.#held.length > 0;
  }

  hold(bytes: Uint8Array, start: number, end: number): void {
    if (this.#held.length === PIECES_MAX) this.#join();
    this.#held.push(this.#carrier.heldBlocks.copy(bytes, start, end));
  }

  #join(): void {
    const bytes = concat(this.#held.map((piece) => piece.bytes.subarray(piece.start, piece.end)));
    this.#letGo();
    this.#held = [{ bytes, start: 0, end: bytes.length }];
  }

  #letGo(): void {
    for (const piece of this.#held) this.#carrier.heldBlocks.give(piece);
    this.#held = [];
  }

  /** [end, end + EDIT_ROOM) may be overwritten. */
  show(bytes: Uint8Array, start: number, end: number): void {
    this.#shownBytes += end - start;
    this.handler.onData(this, bytes, start, end);
    this.#giveCredit();
  }

  #showHeld(): void {
    while (this.#held.length > 0 && !this.#isPaused && this.#state === "open") {
      const piece = this.#held[0] as HeldPiece;
      const { start } = piece;
      piece.start = Math.min(piece.end, start + PAYLOAD_BYTES_MAX);
      if (piece.start === piece.end) this.#held.shift();
      this.#carrier.showStaged(this, piece.bytes, start, piece.start);
      if (piece.start === piece.end) this.#carrier.heldBlocks.give(piece);
    }
    if (this.mustHold) return;
    if (this.#peerEnd === "announced") this.#tellEnd();
    if (this.#death !== undefined) this.#die(this.#death);
  }

  #giveCredit(): void {
    if (this.#shownBytes < WINDOW_BYTES / 2 || this.#state !== "open") return;
    this.#receiveCredit += this.#shownBytes;
    this.#carrier.sendCredit(this.id, this.#shownBytes);
    this.#shownBytes = 0;
  }

  /** False: it had ended before. */
  peerEnded(): boolean {
    if (this.#peerEnd !== "none") return false;
    this.#peerEnd = "announced";
    this.#tellEnd();
    return true;
  }

  #tellEnd(): void {
    if (this.mustHold || this.#state !== "open") return;
    this.#peerEnd = "told";
    this.handler.onEnd(this);
  }

  /** Its carrier is gone, or the peer reset it. */
  died(reason: CloseReason): void {
    if (this.#state === "open" && this.#held.length > 0) this.#death = reason;
    else this.#die(reason);
  }

  #die(reason: CloseReason): void {
    if (this.#state === "closed") return;
    const wasOpen = this.#state === "open";
    this.#leave();
    const code = "code" in reason ? reason.code : "ECONNRESET";
    this.handler.onClose(this, { is: wasOpen ? "failed" : "connect_failed", code });
  }
}
