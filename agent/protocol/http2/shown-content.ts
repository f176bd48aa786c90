// What a lane (lane.ts) shows its handler: what the peer said, as HTTP/1.1, each piece with EDIT_ROOM behind it. While the handler is paused
// pieces are held, in order, and counted as the peer's windows count them: what is shown, or nobody's, is given back as credit. What comes for
// a tunnel is held, with its end, until the tunnel stands.
import type { CloseReason } from "../../base/net.ts";
import type { Http2Connection } from "./connection.ts";
import { copy } from "./copy.ts";
import { HeldPieces } from "./held-pieces.ts";
import type { Lane } from "./lane.ts";
import { CHUNK_END, CHUNK_OVERHEAD, writeChunkSize } from "./to-http1.ts";

export class ShownContent {
  readonly #lane: Lane;
  readonly #wire: Http2Connection;
  /** What the peer may still send on the stream at hand. */
  #window = 0;
  /** Shown, and not yet given back to the peer. */
  #shown = 0;
  #isPaused = false;
  readonly #held = new HeldPieces();
  /** Came for a tunnel that does not stand yet. */
  #early: HeldPieces | undefined;
  /** The peer ended its direction of a tunnel, and the handler does not know yet. */
  #isEndDue = false;
  #heldDeath: CloseReason | undefined;

  constructor(lane: Lane, wire: Http2Connection) {
    this.#lane = lane;
    this.#wire = wire;
  }

  get isEmpty(): boolean {
    return this.#held.isEmpty;
  }

  /** A stream begins. */
  begin(): void {
    this.#window = this.#wire.windows.stream;
    this.#shown = 0;
  }

  /** Nobody will be shown what is held. */
  forget(): void {
    this.#isEndDue = false;
    this.#wire.consumed(this.#held.clear() + (this.#early?.clear() ?? 0));
    this.#early = undefined;
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#goOn();
  }

  #goOn(): void {
    if (!this.#held.isEmpty || this.#isEndDue) this.#wire.soon(() => this.#showHeld());
  }

  get #holds(): boolean {
    return this.#isPaused || !this.#held.isEmpty;
  }

  /** The tunnel stands: what was said in it is shown behind this turn of its owner's. */
  stands(): void {
    for (const { bytes, end, content } of this.#early?.takeAll() ?? [])
      this.#held.add(bytes, 0, end, content);
    this.#early = undefined;
    this.#goOn();
  }

  /** The peer said all that it says in a tunnel. */
  end(): void {
    const lane = this.#lane;
    if (lane.tunnel === "asked" || this.#holds) this.#isEndDue = true;
    else if (lane.isOpen) lane.handler.onEnd(lane);
  }

  /** A frame of so many bytes came. False: more than its window. */
  takeWindow(length: number): boolean {
    this.#window -= length;
    return this.#window >= 0;
  }

  /** The lane dies, once what is held is shown; false: nothing is held, it dies now. */
  diesLater(reason: CloseReason): boolean {
    if (this.#held.isEmpty) return false;
    this.#heldDeath = reason;
    return true;
  }

  /** As chunks. */
  showChunks(bytes: Uint8Array, start: number, end: number): void {
    const { bytes: room, start: from } = this.#wire.deps.stage;
    const most = this.#wire.pieceBytesMax - CHUNK_OVERHEAD;
    for (let at = start; at < end; ) {
      const until = Math.min(end, at + most);
      const to = writeChunkSize(room, from, until - at);
      copy(bytes, at, until, room, to);
      copy(CHUNK_END, 0, CHUNK_END.length, room, to + until - at);
      this.show(room, from, to + until - at + CHUNK_END.length, until - at);
      at = until;
    }
  }

  /** Bytes behind which lies what is not the handler's. */
  showCopy(bytes: Uint8Array, start: number, end: number, content: number): void {
    const { bytes: room, start: from } = this.#wire.deps.stage;
    let left = content;
    for (let at = start; at < end; ) {
      const until = Math.min(end, at + this.#wire.pieceBytesMax);
      const counted = until === end ? left : Math.min(left, until - at);
      copy(bytes, at, until, room, from);
      this.show(room, from, from + until - at, counted);
      left -= counted;
      at = until;
    }
  }

  /** Bytes with EDIT_ROOM behind them, which are not kept: shown, held, or nobody's any more. `content`: so much of them counts. */
  show(bytes: Uint8Array, start: number, end: number, content: number): void {
    const lane = this.#lane;
    if (!lane.isOpen) this.#wire.consumed(content);
    else if (lane.tunnel === "asked" && content > 0) {
      this.#early ??= new HeldPieces();
      this.#early.add(bytes, start, end, content);
    } else if (this.#holds) this.#held.add(bytes, start, end, content);
    else {
      this.consumed(content);
      lane.handler.onData(lane, bytes, start, end);
    }
  }

  /** Whoever pauses again in the middle has the rest held again. */
  #showHeld(): void {
    const lane = this.#lane;
    if (this.#isPaused || !lane.isOpen) return;
    for (const { bytes, end, content } of this.#held.takeAll())
      this.showCopy(bytes, 0, end, content);
    if (!this.#held.isEmpty || !lane.isOpen) return;
    if (this.#isEndDue && lane.tunnel === "open") {
      this.#isEndDue = false;
      lane.handler.onEnd(lane);
    }
    if (this.#heldDeath !== undefined) lane.die(this.#heldDeath);
    else if (lane.streamId === 0) this.#wire.idleAgain(lane);
  }

  /** The peer may send so much more. */
  consumed(bytes: number): void {
    if (bytes === 0) return;
    this.#wire.consumed(bytes);
    this.#shown += bytes;
    const lane = this.#lane;
    if (lane.streamId === 0 || lane.hasReceived) return;
    if (this.#shown < this.#wire.windows.stream / 2) return;
    this.#wire.sendCredit(lane.streamId, this.#shown);
    this.#window += this.#shown;
    this.#shown = 0;
  }
}
