// One place on an HTTP/2 connection where streams pass one after the other. To the data path it is a connection that speaks HTTP/1.1: it shows
// what the peer's frames say as HTTP/1.1, and says in frames what is written to it. Both ways are exact, or the stream is reset. An idle
// lane is taken for the next stream, so a request in steady state makes no objects.
//
//   peer -> us:  none -> head -> body -> done        us -> peer:  head -> body -> done        both done: the stream is over
//   tunnel:      none -> asked -> open (bytes both ways, each with an end of its own, and no stream after it), or none: refused
import {
  type CloseReason,
  type MeshPeer,
  type Stream,
  type StreamHandler,
  UNPROCESSED,
} from "../../base/net.ts";
import { BodyReader } from "../http1/body.ts";
import { NEED_MORE } from "../http1/refusal.ts";
import type { Http2Connection } from "./connection.ts";
import type { FieldList } from "./field-list.ts";
import { type Mistake, readTrailerFields } from "./field-rules.ts";
import { CODE } from "./frame.ts";
import { PartialHead } from "./partial-head.ts";
import { ShownContent } from "./shown-content.ts";
import { type Framing, LAST_CHUNK, writeTrailers } from "./to-http1.ts";

/** A head is whole, and what it may become the peer has not said yet: it is to be written again. */
export const NOT_YET = -1_000;

/** A direction of a tunnel. */
export const UNTIL_ITS_END = { bodyKind: "until_close", contentLength: -1 } as const;

export abstract class Lane implements Stream {
  handler: StreamHandler;
  readonly mesh: MeshPeer | undefined = undefined;
  /** The stream at hand; 0: none. */
  streamId = 0;
  isWaiting = false;
  /** What becomes of the stream at hand, RFC 8441. */
  tunnel: "none" | "asked" | "open" = "none";
  protected readonly wire: Http2Connection;
  protected receiving: "none" | "head" | "body" | "done" = "none";
  protected sending: "head" | "body" | "done" = "head";
  protected readonly body = new BodyReader(true);
  protected readonly shown: ShownContent;
  readonly #partial = new PartialHead();
  protected framing: Framing = "none";
  protected isAlive: boolean;
  #sendWindow = 0;
  #contentLeft = 0;
  #hasEnded = false;

  constructor(wire: Http2Connection, handler: StreamHandler, isOpen: boolean) {
    this.wire = wire;
    this.handler = handler;
    this.isAlive = isOpen;
    this.shown = new ShownContent(this, wire);
  }

  get isOpen(): boolean {
    return this.isAlive;
  }
  get isRetiring(): boolean {
    return this.wire.isRetiring;
  }
  get peerAddress(): string {
    return this.wire.peerAddress;
  }
  get peerPort(): number {
    return this.wire.peerPort;
  }
  /** For the next stream. */
  get isReusable(): boolean {
    return this.isAlive && !this.#hasEnded && this.shown.isEmpty;
  }
  /** All that the peer says on the stream at hand. */
  get hasReceived(): boolean {
    return this.receiving === "done";
  }

  protected begin(id: number): void {
    this.streamId = id;
    this.#sendWindow = this.wire.peerWindow;
    this.shown.begin();
    this.isWaiting = false;
    this.receiving = "head";
  }

  // ---- what the owner does

  write(bytes: Uint8Array, start: number, end: number): number {
    if (!this.isAlive || this.#hasEnded) return 0;
    let at = start;
    while (at < end && this.isAlive) {
      const next = this.#send(bytes, at, end);
      if (next === at) break;
      at = next;
    }
    if (at < end && this.isAlive) this.wire.wait(this);
    return at - start;
  }

  #send(bytes: Uint8Array, start: number, end: number): number {
    if (this.sending === "head")
      return this.maySendHead ? this.#sendHead(bytes, start, end) : start;
    if (this.sending === "body") return this.#sendBody(bytes, start, end);
    return end; // to a stream that wants no more of it
  }

  /** There is room, and a stream to send it on. */
  protected get maySendHead(): boolean {
    return this.wire.canSend;
  }

  /** Returns where to go on. */
  #sendHead(bytes: Uint8Array, start: number, end: number): number {
    const partial = this.#partial;
    if (partial.length === 0) {
      const headEnd = this.takeHead(bytes, start, end);
      if (headEnd === NOT_YET) return start;
      if (headEnd !== NEED_MORE) return headEnd < 0 ? this.#unsayable(end) : headEnd;
      partial.add(bytes, start, end, this.wire.deps.headLimits);
      return end;
    }
    const before = partial.length;
    if (!partial.add(bytes, start, end, this.wire.deps.headLimits)) return end;
    const headEnd = this.takeHead(partial.bytes, 0, partial.length);
    if (headEnd === NEED_MORE) return end;
    if (headEnd === NOT_YET) {
      partial.length = before;
      return start;
    }
    partial.clear();
    return headEnd < 0 ? this.#unsayable(end) : start + headEnd - before;
  }

  /** Says the head that begins at `start` in frames. Returns where it ended, NEED_MORE, NOT_YET, or a refusal's code. */
  protected abstract takeHead(bytes: Uint8Array, start: number, end: number): number;

  #unsayable(end: number): number {
    this.cut(CODE.internalError, "http1_invalid");
    return end;
  }

  #sendBody(bytes: Uint8Array, start: number, end: number): number {
    const { body, wire } = this;
    const most = Math.max(0, Math.min(this.#sendWindow, wire.sendWindow, wire.out.room));
    const next = body.nextContent(bytes, start, end, most);
    if (next < 0) return this.#unsayable(end);
    const count = body.contentEnd - body.contentStart;
    const isWhole = body.isDone && body.trailerBytes === 0;
    if (count > 0) {
      this.#sendWindow -= count;
      wire.sendWindow -= count;
      wire.sentContent(count, most);
      wire.out.data(this.streamId, bytes, body.contentStart, body.contentEnd, isWhole);
      if (isWhole) this.sent();
    } else if (body.isDone) {
      // One CR alone is the section's end.
      if (body.trailerBytes > 1) wire.sendTrailers(this.streamId, body.trailers, body.trailerBytes);
      else wire.out.end(this.streamId);
      this.sent();
    }
    return next;
  }

  /** Our direction of the stream ended in order. */
  protected sent(): void {
    this.sending = "done";
    this.settle();
  }

  /** Looks whether the stream at hand is over. */
  protected abstract settle(): void;

  /** The stream at hand is over, the lane is free. */
  protected finish(): void {
    const id = this.streamId;
    if (this.tunnel === "asked") this.#forgetTunnel();
    this.streamId = 0;
    this.receiving = "none";
    this.sending = "head";
    this.wire.forget(id, this);
  }

  #forgetTunnel(): void {
    if (this.tunnel === "asked") this.shown.forget(); // what was said in it
    this.tunnel = "none";
  }

  pause(): void {
    this.shown.pause();
  }

  resume(): void {
    this.shown.resume();
  }

  endWrite(): void {
    if (!this.isAlive || this.#hasEnded) return;
    this.#hasEnded = true;
    if (this.streamId !== 0 && this.sending === "body" && this.body.end()) {
      this.wire.out.end(this.streamId);
      this.sent();
    }
    if (this.tunnel === "open") return;
    if (this.streamId !== 0) this.cut(CODE.internalError, undefined);
    else this.wire.soon(() => this.#tellEnd());
  }

  #tellEnd(): void {
    if (this.isAlive) this.handler.onEnd(this);
  }

  close(): void {
    if (this.streamId !== 0) this.#abandonStream(CODE.cancel);
    this.isAlive = false;
    this.shown.forget();
    this.wire.left(this);
  }

  /** Of a tunnel as RFC 8441 5 has it. */
  reset(): void {
    const isAnswer = this.wire.isServer && this.tunnel !== "open";
    if (this.streamId !== 0) this.#abandonStream(isAnswer ? CODE.internalError : CODE.cancel);
    this.close();
  }

  #abandonStream(code: number): void {
    const id = this.streamId;
    this.streamId = 0;
    this.receiving = "none";
    this.sending = "done";
    this.#forgetTunnel();
    this.wire.resetStream(id, code);
    this.wire.forget(id, undefined);
  }

  /** Ends it with its stream, for something that cannot be said; `reason` is counted, `word` is what its owner is told. */
  protected cut(code: number, reason: string | undefined, word = "EPROTO"): void {
    if (reason !== undefined) this.wire.count(reason);
    if (this.streamId !== 0) this.#abandonStream(code);
    this.wire.soon(() => this.died({ is: "failed", code: word }));
  }

  // ---- what the connection tells

  /** It stands: of one that was dialled before. */
  opened(): void {}

  writable(): void {
    this.isWaiting = false;
    if (this.isAlive) this.handler.onWritable(this);
  }

  /** False: more than a window can be. */
  credited(bytes: number): boolean {
    const wasBlocked = this.#sendWindow <= 0;
    this.#sendWindow += bytes;
    if (this.#sendWindow > 0x7fff_ffff) return false;
    if (wasBlocked && this.#sendWindow > 0 && this.isWaiting) this.wire.soon(() => this.writable());
    return true;
  }

  get isBlocked(): boolean {
    return this.#sendWindow <= 0 && this.sending === "body";
  }

  /** A header block of the stream at hand was decoded. Undefined: well; otherwise what is wrong with it. */
  abstract receiveFields(fields: FieldList, isLast: boolean): Mistake | undefined;

  protected beginContent(framing: Framing, length: number): void {
    this.framing = framing;
    this.#contentLeft = framing === "length" ? length : 0;
    this.receiving = "body";
  }

  /** `length`: of the whole frame, which all counts. Undefined: well. */
  receiveData(
    bytes: Uint8Array,
    start: number,
    end: number,
    length: number,
    isEnd: boolean,
    isEditable: boolean,
  ): Mistake | undefined {
    const wrong = this.#countContent(end - start, length, isEnd);
    if (wrong !== undefined) return wrong;
    this.shown.consumed(length - (end - start)); // padding is nobody's
    const isChunked = this.framing === "chunked";
    // Before anything is shown: who sees the end of a response may ask again at once, on this lane.
    if (isEnd) this.#received();
    if (isChunked) {
      this.shown.showChunks(bytes, start, end);
      if (isEnd) this.shown.showCopy(LAST_CHUNK, 0, LAST_CHUNK.length, 0);
    } else if (isEditable && start < end) this.shown.show(bytes, start, end, end - start);
    else this.shown.showCopy(bytes, start, end, end - start);
    if (isEnd && this.framing === "tunnel") this.shown.end();
    return undefined;
  }

  #countContent(content: number, length: number, isEnd: boolean): Mistake | undefined {
    if (this.receiving === "head") return "data_before_head";
    if (this.receiving !== "body") return "stream_closed";
    if (!this.shown.takeWindow(length)) return "flow_control";
    if (this.framing === "chunked" || this.framing === "tunnel") return undefined;
    this.#contentLeft -= content;
    return this.#contentLeft < 0 || (isEnd && this.#contentLeft > 0) ? "content_length" : undefined;
  }

  #received(): void {
    this.receiving = "done";
    this.settle();
  }

  protected receiveTrailers(fields: FieldList, isLast: boolean): Mistake | undefined {
    if (this.receiving !== "body") return "stream_closed";
    if (this.framing === "tunnel") return "fields_in_tunnel"; // RFC 9113 8.5
    const { facts } = this.wire.deps;
    const malformed = isLast ? readTrailerFields(fields, facts) : "trailers_not_last";
    if (malformed !== undefined) return malformed;
    const isChunked = this.framing === "chunked";
    // HTTP/1.1 has no trailers behind a body of a given length.
    if (!isChunked && fields.count > 0) return "trailers_with_length";
    if (!isChunked && this.#contentLeft > 0) return "content_length";
    this.#received();
    if (!isChunked) return undefined;
    const { bytes, start } = this.wire.roomFor(fields);
    this.shown.show(bytes, start, writeTrailers(fields, facts, bytes, start), 0);
    return undefined;
  }

  peerReset(code: number): void {
    const { isServer } = this.wire;
    // A server that said all it has to say may end what it is still being told, RFC 9113 8.1.
    if (this.receiving === "done" && !isServer && this.tunnel === "none") this.sent();
    else {
      const isRefused = code === CODE.refusedStream && !isServer && this.receiving === "head";
      this.died({ is: "failed", code: isRefused ? UNPROCESSED : "ECONNRESET" });
    }
  }

  /** The peer reset its stream, or the connection is gone. */
  died(reason: CloseReason): void {
    const isTunnel = this.tunnel === "open";
    /** A tunnel whose directions both ended has no more to do with its connection. */
    const isOver = isTunnel && this.streamId === 0;
    const how: CloseReason = isOver ? { is: "ended" } : reason;
    this.streamId = 0;
    this.sending = "done";
    // What is said in a tunnel and not shown dies with it, as behind a TCP reset.
    const isReset = isTunnel && !isOver;
    if (!this.isAlive || isReset || !this.shown.diesLater(how)) this.die(how);
  }

  die(reason: CloseReason): void {
    const wasOpening = this.isOpening;
    if (!this.isAlive && !wasOpening) return;
    this.isAlive = false;
    this.shown.forget();
    this.wire.left(this);
    const code = "code" in reason ? reason.code : "ECONNRESET";
    const failed: CloseReason = { is: wasOpening ? "connect_failed" : "failed", code };
    this.handler.onClose(this, this.tunnel === "open" ? reason : failed);
  }

  /** Dialled, and its connection does not stand yet. */
  protected get isOpening(): boolean {
    return false;
  }
}
