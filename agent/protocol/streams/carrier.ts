// One TLS connection between two agents, and the streams it carries. What they send in one turn leaves as one write: one record, one
// packet, one system call for many requests.
//
// Bounds: WINDOW_BYTES a stream that is not read; STREAMS_MAX streams; OUT_BYTES waiting to be sent, and behind it only frames
// without payload. A peer that breaks any of them, or the grammar, loses the connection.
import {
  type CloseReason,
  EDIT_ROOM,
  IGNORE,
  type MeshPeer,
  type Scratch,
  type Stream,
  type StreamHandler,
} from "../../base/net.ts";
import { CarriedStream } from "./carried-stream.ts";
import {
  CREDIT_BYTES,
  FRAME,
  FRAME_HEADER_BYTES,
  type Frame,
  type FrameKind,
  PAYLOAD_BYTES_MAX,
  writeFrameHeader,
  writeWord,
} from "./frame.ts";
import { type FrameEvents, FrameReader } from "./frame-reader.ts";
import type { HeldBlocks } from "./held-blocks.ts";

/** Open at once; more are reset. */
export const STREAMS_MAX = 1_024;
/** One record's worth leaves at once, so that the peer begins while we go on. */
const FLUSH_BYTES = 16_384;
const OUT_BYTES = 65_536;
/** With frames that carry no data: far more than STREAMS_MAX streams have to say. Who makes us say more and does not read is cut. */
const OUT_BYTES_MAX = 262_144;

export interface CarrierDeps {
  /** Runs it after the events at hand, before the thread sleeps. */
  soon(task: () => void): void;
  /** Arena space for payloads with other frames behind them: at least PAYLOAD_BYTES_MAX + EDIT_ROOM. */
  readonly stage: Scratch;
  readonly heldBlocks: HeldBlocks;
  /** A bug of ours: its connection is closed, the others go on. */
  bug(error: unknown): void;
  /** What the streams say flows in them. */
  readonly alpn: string;
}

export interface CarrierEvents {
  /** The peer opened a stream: its handler must be set. */
  onStream(stream: CarriedStream): void;
  /** What was dialled is open; its streams were told. */
  onOpen(carrier: Carrier): void;
  /** No more streams may be opened here. */
  onRetired(carrier: Carrier): void;
  /** The last stream is gone. */
  onEmpty(carrier: Carrier): void;
  /** It is closed. */
  onOver(carrier: Carrier): void;
}

export class Carrier implements StreamHandler, FrameEvents {
  readonly #deps: CarrierDeps;
  readonly #events: CarrierEvents;
  readonly #reader = new FrameReader(this);
  readonly #streams = new Map<number, CarriedStream>();
  readonly #waiting: CarriedStream[] = [];
  readonly #isDialled: boolean;
  #stream: Stream | undefined;
  #state: "connecting" | "open" | "over";
  #lastId = 0;
  /** Whose payload is being read; undefined: nobody's any more. */
  #reading: CarriedStream | undefined;
  #out = new Uint8Array(0);
  #outStart = 0;
  #outEnd = 0;
  #isFlushDue = false;
  readonly #flushTask = (): void => this.#flush();
  #isBlocked = false;
  #isClosing = false;
  /** `asked`: we told the peer to open no more streams here, and it has not said that it heard. */
  retirement: "none" | "asked" | "retired" = "none";
  /** Who the streams' peer is. */
  peer: MeshPeer | undefined;

  /** A stream that was accepted, with its peer; or nothing yet, and connecting() follows. */
  constructor(
    deps: CarrierDeps,
    events: CarrierEvents,
    accepted?: { stream: Stream; peer: MeshPeer },
  ) {
    this.#deps = deps;
    this.#events = events;
    this.#isDialled = accepted === undefined;
    this.#state = accepted === undefined ? "connecting" : "open";
    if (accepted === undefined) return;
    this.#stream = accepted.stream;
    this.peer = { ...accepted.peer, alpn: deps.alpn };
    accepted.stream.handler = this;
  }

  connecting(stream: Stream): void {
    this.#stream = stream;
  }

  get isConnecting(): boolean {
    return this.#state === "connecting";
  }
  /** Something has not left yet. */
  get hasUnsent(): boolean {
    return this.#outEnd > 0 && this.#state !== "over";
  }
  get streamCount(): number {
    return this.#streams.size;
  }
  get peerAddress(): string {
    return this.#stream?.peerAddress ?? "";
  }
  get peerPort(): number {
    return this.#stream?.peerPort ?? 0;
  }

  get heldBlocks(): HeldBlocks {
    return this.#deps.heldBlocks;
  }
  soon(task: () => void): void {
    this.#deps.soon(task);
  }

  // ---- streams

  /** onOpen or onClose(connect_failed) follows. */
  open(handler: StreamHandler): CarriedStream {
    this.#lastId++;
    const stream = new CarriedStream(this, this.#lastId, handler, false);
    this.#streams.set(stream.id, stream);
    if (this.#state === "open") this.soon(() => stream.opened());
    return stream;
  }

  forget(id: number): void {
    this.#streams.delete(id);
    if (this.#streams.size === 0 && this.#state !== "over") this.#events.onEmpty(this);
  }

  /** Opens no more streams, and tells a peer that might. */
  retire(): void {
    if (this.retirement !== "none" || this.#state === "over") return;
    if (this.#isDialled) {
      this.retirement = "retired";
      this.#events.onRetired(this);
    } else {
      this.retirement = "asked";
      this.#append(FRAME.retire, 0);
    }
    if (this.#streams.size === 0) this.#events.onEmpty(this);
  }

  /** Once what was said has left; streams that are still open are cut. */
  close(): void {
    if (this.#state === "over" || this.#isClosing) return;
    this.#flush();
    if (this.hasUnsent && this.#state === "open") {
      this.#isClosing = true;
      this.#events.onRetired(this);
      return;
    }
    this.#stream?.close();
    this.#over({ is: "failed", code: "ECONNRESET" });
  }

  reset(): void {
    if (this.#state === "over") return;
    this.#stream?.reset();
    this.#over({ is: "failed", code: "ECONNRESET" });
  }

  #over(reason: CloseReason): void {
    if (this.#state === "over") return;
    this.#state = "over";
    this.#reader.stop();
    this.#out = new Uint8Array(0);
    this.#events.onOver(this); // first: whose stream dies may dial again at once, and not here
    for (const stream of [...this.#streams.values()]) {
      stream.isCarrierGone = true;
      stream.died(reason);
    }
  }

  // ---- sending

  /** How many of bytes[start..end) it took. */
  send(id: number, bytes: Uint8Array, start: number, end: number): number {
    let at = start;
    while (at < end && !this.#isBlocked && this.#state === "open") {
      const length = Math.min(
        end - at,
        PAYLOAD_BYTES_MAX,
        OUT_BYTES - this.#outEnd - FRAME_HEADER_BYTES,
      );
      if (length <= 0) {
        this.#flush();
        if (this.#outEnd > 0) break;
        continue;
      }
      const to = this.#header(FRAME.data, id, length);
      this.#out.set(
        at === 0 && length === bytes.length ? bytes : bytes.subarray(at, at + length),
        to,
      );
      at += length;
      if (this.#outEnd >= FLUSH_BYTES) this.#flush();
    }
    return at - start;
  }

  sendOpen(id: number): void {
    this.#append(FRAME.open, id);
  }
  sendEnd(id: number): void {
    this.#append(FRAME.end, id);
  }
  sendReset(id: number): void {
    this.#append(FRAME.reset, id);
  }
  sendCredit(id: number, bytes: number): void {
    if (!this.#mayAppend()) return;
    const at = this.#header(FRAME.credit, id, CREDIT_BYTES); // this may replace #out
    writeWord(this.#out, at, bytes);
  }
  #append(kind: FrameKind, id: number): void {
    if (this.#mayAppend()) this.#header(kind, id, 0);
  }

  #mayAppend(): boolean {
    if (this.#outEnd <= OUT_BYTES_MAX) return this.#state !== "over";
    this.soon(() => this.reset()); // not within a call of a stream's owner
    return false;
  }

  /** Calls its writable() once there is room. */
  wait(stream: CarriedStream): void {
    if (stream.isWaiting) return;
    stream.isWaiting = true;
    this.#waiting.push(stream);
    if (!this.#isBlocked) this.soon(() => this.#wake());
  }

  /** Writes a header with room for its payload behind it; returns where that goes. */
  #header(kind: FrameKind, stream: number, length: number): number {
    const at = this.#outEnd;
    const end = at + FRAME_HEADER_BYTES + length;
    if (end > this.#out.length) this.#grow(end);
    writeFrameHeader(this.#out, at, { length, kind, stream });
    this.#outEnd = end;
    if (!this.#isFlushDue && !this.#isBlocked) {
      this.#isFlushDue = true;
      this.soon(this.#flushTask);
    }
    return at + FRAME_HEADER_BYTES;
  }

  /** Data stays below OUT_BYTES; frames without payload go on top, a few for each of STREAMS_MAX streams. */
  #grow(bytes: number): void {
    let size = Math.max(4_096, this.#out.length);
    while (size < bytes) size *= 2;
    const larger = new Uint8Array(size);
    larger.set(this.#out.subarray(0, this.#outEnd));
    this.#out = larger;
  }

  #flush(): void {
    this.#isFlushDue = false;
    if (this.#state !== "open" || this.#stream === undefined || this.#outEnd === 0) return;
    this.#outStart += this.#stream.write(this.#out, this.#outStart, this.#outEnd);
    this.#isBlocked = this.#outStart < this.#outEnd;
    if (this.#isBlocked) return;
    this.#outStart = 0;
    this.#outEnd = 0;
  }

  #wake(): void {
    for (let turns = this.#waiting.length; turns > 0 && !this.#isBlocked; turns--)
      this.#waiting.shift()?.writable();
  }

  // ---- the connection's events

  onOpen(stream: Stream): void {
    if (this.#state !== "connecting") return;
    this.#stream = stream;
    if (stream.mesh !== undefined) this.peer = { ...stream.mesh, alpn: this.#deps.alpn };
    this.#state = "open";
    for (const one of [...this.#streams.values()]) one.opened();
    if (this.#state === "open") this.#events.onOpen(this);
  }

  onData(_stream: Stream, bytes: Uint8Array, start: number, end: number): void {
    if (this.#state !== "open") return;
    try {
      if (!this.#reader.read(bytes, start, end)) this.reset();
    } catch (error) {
      this.#deps.bug(error);
      this.reset();
    }
  }

  onWritable(): void {
    this.#flush();
    if (this.#isClosing && !this.#isBlocked) {
      this.#isClosing = false;
      this.close();
    } else this.#wake();
  }

  onEnd(): void {
    this.#stream?.close();
    this.#over({ is: "failed", code: "ECONNRESET" }); // streams that are still open were cut in the middle
  }

  onClose(_stream: Stream, reason: CloseReason): void {
    this.#over(reason);
  }

  // ---- frames

  onDataFrame(id: number, length: number): void {
    this.#reading = this.#streams.get(id);
    if (this.#reading !== undefined) {
      if (!this.#reading.announced(length)) this.reset();
    } else if (this.#isKnown(id)) {
      this.#append(FRAME.reset, id); // closed here, and the peer goes on
    } else this.reset();
  }

  #openedByPeer(id: number): void {
    if (this.#isDialled || this.#isKnown(id) || this.retirement === "retired") {
      this.reset();
      return;
    }
    this.#lastId = id;
    if (this.#streams.size >= STREAMS_MAX) {
      this.#append(FRAME.reset, id);
      return;
    }
    const stream = new CarriedStream(this, id, IGNORE, true);
    this.#streams.set(id, stream);
    this.#events.onStream(stream);
  }

  #isKnown(id: number): boolean {
    return id <= this.#lastId;
  }

  onPayload(bytes: Uint8Array, start: number, end: number, isLast: boolean): void {
    const stream = this.#reading;
    if (stream === undefined || !stream.isOpen) return;
    if (stream.mustHold) stream.hold(bytes, start, end);
    else if (isLast) stream.show(bytes, start, end);
    else this.showStaged(stream, bytes, start, end);
  }

  /** Shows a copy, since what lies behind the bytes is not the handler's to overwrite. */
  showStaged(stream: CarriedStream, bytes: Uint8Array, start: number, end: number): void {
    const { stage } = this.#deps;
    const until = stage.start + end - start;
    if (bytes === stage.bytes) stage.bytes.copyWithin(stage.start, start, end);
    else stage.bytes.set(bytes.subarray(start, end), stage.start);
    stream.show(stage.bytes, stage.start, until);
  }

  onFrame({ kind, stream: id }: Readonly<Frame>, credit: number): void {
    if (kind === FRAME.retire || kind === FRAME.retired) this.#heardRetirement(kind);
    else if (kind === FRAME.open) this.#openedByPeer(id);
    else if (!this.#isKnown(id)) this.reset();
    else {
      const stream = this.#streams.get(id);
      if (stream === undefined) return; // it was closed here meanwhile
      if (kind === FRAME.reset) stream.died({ is: "failed", code: "ECONNRESET" });
      else if (!(kind === FRAME.end ? stream.peerEnded() : stream.credited(credit))) this.reset();
    }
  }

  #heardRetirement(kind: FrameKind): void {
    // Only the end that accepted asks, and only the end that dialled answers.
    if ((kind === FRAME.retire) !== this.#isDialled) this.reset();
    else if (kind === FRAME.retire) {
      this.retire();
      // Behind the streams that were opened here before, which the peer is told of in this turn: none may follow it.
      this.soon(() => this.#append(FRAME.retired, 0));
    } else if (this.retirement !== "asked") this.reset();
    else {
      this.retirement = "retired";
      if (this.#streams.size === 0) this.#events.onEmpty(this);
    }
  }
}

export const STAGE_BYTES = PAYLOAD_BYTES_MAX + EDIT_ROOM;
