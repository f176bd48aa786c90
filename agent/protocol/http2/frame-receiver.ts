// What a peer's frames mean, and what of them is a mistake: RFC 9113 4.3, 5.1 and 6. Header blocks are put together here; whatever the
// frames say of streams is told to the connection (connection.ts), which has them.
//
// Bounds: one header block of BLOCK_BYTES_MAX in at most CONTINUATIONS_MAX frames more; frames that move nothing, see flood-guard.ts.
import { FIELD_BYTES_MAX, type FieldList } from "./field-list.ts";
import { FloodGuard } from "./flood-guard.ts";
import { CODE, FLAG, FRAME, type Frame, readWord, STREAM_ID_MAX, WINDOW_MAX } from "./frame.ts";
import { type FrameEvents, FrameReader } from "./frame-reader.ts";
import { HpackDecoder } from "./hpack-decoder.ts";
import { ANY_TABLE, type KnownHead, KnownHeads } from "./known-heads.ts";

/** A list of FIELD_BYTES_MAX needs no more. */
const BLOCK_BYTES_MAX = FIELD_BYTES_MAX + 4_096;
const CONTINUATIONS_MAX = 16;

/** What too many frames that move nothing are counted as. */
export type Flood =
  | "settings_flood"
  | "ping_flood"
  | "priority_flood"
  | "goaway_flood"
  | "window_flood"
  | "empty_data"
  | "unknown_frames"
  | "late_frames";

interface Block {
  bytes: Uint8Array;
  start: number;
  end: number;
  tableRevision: number;
}

export abstract class FrameReceiver implements FrameEvents {
  protected readonly reader = new FrameReader(this);
  protected readonly guard: FloodGuard;
  readonly #fields: FieldList;
  readonly #decoder = new HpackDecoder();
  #hasSettings = false;
  /** A header block that is not whole yet; its stream and whether that ends with it. */
  #block: Uint8Array | undefined;
  #blockBytes = 0;
  #blockFrames = 0;
  #blockStream = 0;
  #blockEnds = false;
  #blockBegan = 0;
  readonly #known = new KnownHeads();
  /** Where the block at hand lies, and the table as it was before. */
  readonly #at: Block = { bytes: NO_BYTES, start: 0, end: 0, tableRevision: 0 };

  readonly #arrivals: { messages: number };

  constructor(deps: {
    now(): number;
    readonly fields: FieldList;
    readonly arrivals: { messages: number };
  }) {
    this.#fields = deps.fields;
    this.#arrivals = deps.arrivals;
    this.guard = new FloodGuard(() => deps.now());
  }

  /** It has said what it allows. */
  protected get hasSettings(): boolean {
    return this.#hasSettings;
  }

  /** What has begun to come and is not whole, the first settings, a header block or another frame: a number of its own, for its owner's
   *  deadline. Negative: nothing. */
  get pendingHead(): number {
    if (!this.#hasSettings) return 0;
    if (this.#block !== undefined) return this.#blockBegan;
    return this.reader.isWithinFrame ? this.reader.frames : -1;
  }

  // ---- what they say

  /** A mistake that ends the connection, RFC 9113 5.4.1; `reason` is counted. */
  abstract fail(code: number, reason: string): void;
  /** A stream that never was, or cannot be the peer's to speak of: RFC 9113 5.1, idle. */
  protected abstract isIdle(id: number): boolean;
  /** `fields` were decoded for that stream. */
  protected abstract onFields(id: number, fields: FieldList, isLast: boolean): void;
  /** Content of a frame of `length` bytes. `isEditable`: see FrameEvents.onFrame. */
  protected abstract onContent(
    frame: Readonly<Frame>,
    bytes: Uint8Array,
    start: number,
    end: number,
    isEditable: boolean,
  ): void;
  /** Whether the block at hand is one of findKnown(), and all that follows from it was done: it is not decoded. */
  protected abstract takeKnown(id: number, isLast: boolean): boolean;
  protected abstract onReset(id: number, code: number): void;
  protected abstract onPriority(id: number, isWellFormed: boolean): void;
  protected abstract onSettings(bytes: Uint8Array, start: number, end: number): void;
  protected abstract onPing(bytes: Uint8Array, start: number): void;
  /** An answer to a ping of ours. */
  protected abstract onPong(): void;
  /** The peer takes no streams of ours above `last`. */
  protected abstract goneAway(last: number): void;
  /** `id` 0: of the connection. */
  protected abstract onWindow(id: number, bytes: number): void;

  // ---- what they are

  protected stopReading(): void {
    this.reader.stop();
    this.#block = undefined;
  }

  onTooLong(): void {
    this.fail(CODE.frameSizeError, "frame_size");
  }

  onFrame(
    frame: Readonly<Frame>,
    bytes: Uint8Array,
    start: number,
    end: number,
    isLast: boolean,
  ): void {
    const isSettings = frame.kind === FRAME.settings && (frame.flags & FLAG.ack) === 0;
    const continues = frame.kind === FRAME.continuation && frame.stream === this.#blockStream;
    if (!this.#hasSettings && !isSettings) this.fail(CODE.protocolError, "no_settings");
    else if (this.#block !== undefined && !continues)
      this.fail(CODE.protocolError, "block_interrupted");
    else if (frame.kind === FRAME.data) this.#onData(frame, bytes, start, end, isLast);
    else if (frame.kind === FRAME.headers) this.#onHeaders(frame, bytes, start, end);
    else if (frame.kind === FRAME.continuation) this.#onContinuation(frame, bytes, start, end);
    else if (frame.kind === FRAME.windowUpdate) this.#onWindowUpdate(frame, bytes, start);
    else this.#onRare(frame, bytes, start, end);
  }

  #onRare(frame: Readonly<Frame>, bytes: Uint8Array, start: number, end: number): void {
    switch (frame.kind) {
      case FRAME.settings:
        this.#onSettings(frame, bytes, start, end);
        return;
      case FRAME.rstStream:
        this.#onRstStream(frame, bytes, start);
        return;
      case FRAME.ping:
        this.#onPing(frame, bytes, start);
        return;
      case FRAME.goaway:
        this.#onGoaway(frame, bytes, start);
        return;
      case FRAME.priority:
        if (frame.stream === 0) this.fail(CODE.protocolError, "stream_zero");
        else if (this.spendIdle("priority_flood"))
          this.onPriority(frame.stream, frame.length === 5);
        return;
      case FRAME.pushPromise:
        this.fail(CODE.protocolError, "push");
        return;
      default:
        this.spendIdle("unknown_frames"); // RFC 9113 5.5: kinds nobody knows are ignored
    }
  }

  /** For a frame that moves nothing. False: there were too many; counted by what the last of them was. */
  protected spendIdle(flood: Flood): boolean {
    if (this.guard.allowsIdleFrame()) return true;
    this.fail(CODE.enhanceYourCalm, flood);
    return false;
  }

  protected sizeError(): void {
    this.fail(CODE.frameSizeError, "frame_size");
  }

  /** Bytes of padding behind [start, end), with its length in front: RFC 9113 6.1. Negative: a mistake, and the connection ends. */
  #paddingOf(frame: Readonly<Frame>, bytes: Uint8Array, start: number, end: number): number {
    if ((frame.flags & FLAG.padded) === 0) return 0;
    if (start === end) this.sizeError();
    else if ((bytes[start] as number) >= end - start) this.fail(CODE.protocolError, "padding");
    else return bytes[start] as number;
    return -1;
  }

  #onData(
    frame: Readonly<Frame>,
    bytes: Uint8Array,
    start: number,
    end: number,
    isLast: boolean,
  ): void {
    if (frame.stream === 0 || this.isIdle(frame.stream)) {
      this.fail(CODE.protocolError, "idle_stream");
      return;
    }
    const padding = this.#paddingOf(frame, bytes, start, end);
    if (padding < 0) return;
    const from = start + ((frame.flags & FLAG.padded) === 0 ? 0 : 1);
    const until = end - padding;
    const isEmpty = until === from && (frame.flags & FLAG.endStream) === 0;
    if (isEmpty && !this.spendIdle("empty_data")) return;
    this.onContent(frame, bytes, from, until, isLast && padding === 0);
  }

  #onHeaders(frame: Readonly<Frame>, bytes: Uint8Array, start: number, end: number): void {
    if (frame.stream === 0) {
      this.fail(CODE.protocolError, "stream_zero");
      return;
    }
    const padding = this.#paddingOf(frame, bytes, start, end);
    if (padding < 0) return;
    const padded = (frame.flags & FLAG.padded) === 0 ? 0 : 1;
    const from = start + padded + ((frame.flags & FLAG.priority) === 0 ? 0 : 5);
    const until = end - padding;
    if (from > until) {
      if (from > end) this.sizeError();
      else this.fail(CODE.protocolError, "padding");
      return;
    }
    this.#arrivals.messages++;
    this.#blockStream = frame.stream;
    this.#blockEnds = (frame.flags & FLAG.endStream) !== 0;
    if ((frame.flags & FLAG.endHeaders) !== 0) {
      this.#decode(bytes, from, until);
      return;
    }
    this.#block = NO_BYTES;
    this.#blockFrames = 0;
    this.#blockBytes = 0;
    this.#blockBegan = this.reader.frames;
    this.#addToBlock(this.#block, bytes, from, until);
  }

  #onContinuation(frame: Readonly<Frame>, bytes: Uint8Array, start: number, end: number): void {
    if (this.#block === undefined) this.fail(CODE.protocolError, "continuation");
    else if (
      ++this.#blockFrames > CONTINUATIONS_MAX ||
      this.#blockBytes + end - start > BLOCK_BYTES_MAX
    )
      this.fail(CODE.enhanceYourCalm, "continuations");
    else {
      const block = this.#addToBlock(this.#block, bytes, start, end);
      if ((frame.flags & FLAG.endHeaders) === 0) return;
      this.#block = undefined;
      this.#decode(block, 0, this.#blockBytes);
    }
  }

  #addToBlock(before: Uint8Array, bytes: Uint8Array, start: number, end: number): Uint8Array {
    const had = this.#blockBytes;
    this.#blockBytes += end - start;
    let block = before;
    if (this.#blockBytes > block.length) {
      block = new Uint8Array(Math.max(this.#blockBytes, 2 * before.length));
      block.set(before.subarray(0, had));
    }
    block.set(bytes.subarray(start, end), had);
    this.#block = block;
    return block;
  }

  #decode(bytes: Uint8Array, start: number, end: number): void {
    const at = this.#at;
    at.bytes = bytes;
    at.start = start;
    at.end = end;
    at.tableRevision = this.#decoder.table.revision;
    if (!this.takeKnown(this.#blockStream, this.#blockEnds)) this.#decodeNew(bytes, start, end);
    at.bytes = NO_BYTES; // one that was gathered is let go
  }

  /** What the block at hand was found to mean before. Who takes it says so by enterKnown(). */
  protected findKnown(isLast: boolean): KnownHead | undefined {
    const { bytes, start, end, tableRevision } = this.#at;
    return this.#known.find(bytes, start, end, isLast, tableRevision);
  }

  /** The table becomes what the block would have made of it. */
  protected enterKnown(known: KnownHead): void {
    if (known.entries.count > 0) this.#decoder.enter(known.entries);
  }

  /** The head of the block at hand was written as text[from..to). Undefined: it is not to be kept. */
  placeForHead(text: Uint8Array, from: number, to: number, isLast: boolean): KnownHead | undefined {
    const { bytes, start, end, tableRevision } = this.#at;
    const known = this.#known.place(bytes, start, end, isLast, text, from, to);
    if (known === undefined) return undefined;
    if (this.#decoder.keepEntered(this.#fields, known.entries)) known.tableRevision = ANY_TABLE;
    else if (tableRevision === this.#decoder.table.revision) {
      known.entries.clear();
      known.tableRevision = tableRevision;
    } else return undefined;
    return known;
  }

  #decodeNew(bytes: Uint8Array, start: number, end: number): void {
    if (this.#decoder.decode(bytes, start, end, this.#fields))
      this.onFields(this.#blockStream, this.#fields, this.#blockEnds);
    else if (this.#decoder.isBomb) this.fail(CODE.enhanceYourCalm, "hpack_bomb");
    else this.fail(CODE.compressionError, "compression");
  }

  #onRstStream({ stream: id, length }: Readonly<Frame>, bytes: Uint8Array, start: number): void {
    if (length !== 4) this.sizeError();
    else if (id === 0 || this.isIdle(id)) this.fail(CODE.protocolError, "idle_stream");
    else this.onReset(id, readWord(bytes, start));
  }

  #onSettings(frame: Readonly<Frame>, bytes: Uint8Array, start: number, end: number): void {
    const isAnswer = (frame.flags & FLAG.ack) !== 0;
    if (frame.stream !== 0) this.fail(CODE.protocolError, "settings");
    else if (isAnswer ? frame.length !== 0 : frame.length % 6 !== 0) this.sizeError();
    else if (this.spendIdle("settings_flood") && !isAnswer) {
      this.#hasSettings = true;
      this.onSettings(bytes, start, end);
    }
  }

  #onPing(frame: Readonly<Frame>, bytes: Uint8Array, start: number): void {
    if (frame.stream !== 0) this.fail(CODE.protocolError, "stream_zero");
    else if (frame.length !== 8) this.sizeError();
    else if (!this.spendIdle("ping_flood")) return;
    else if ((frame.flags & FLAG.ack) !== 0) this.onPong();
    else this.onPing(bytes, start);
  }

  #onGoaway(frame: Readonly<Frame>, bytes: Uint8Array, start: number): void {
    if (frame.stream !== 0) this.fail(CODE.protocolError, "stream_zero");
    else if (frame.length < 8) this.sizeError();
    else if (this.spendIdle("goaway_flood")) this.goneAway(readWord(bytes, start) & STREAM_ID_MAX);
  }

  #onWindowUpdate(frame: Readonly<Frame>, bytes: Uint8Array, start: number): void {
    const { stream: id } = frame;
    if (frame.length !== 4) this.sizeError();
    else if (id !== 0 && this.isIdle(id)) this.fail(CODE.protocolError, "idle_stream");
    else if (this.spendIdle("window_flood")) this.onWindow(id, readWord(bytes, start) & WINDOW_MAX);
  }
}

const NO_BYTES = new Uint8Array(0);
