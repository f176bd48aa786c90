// What a connection sends: frames are gathered and leave as one write at the end of the loop's turn, many streams' together. Data waits
// for room below OUT_BYTES; frames that carry none go on top, and a peer that makes us send those and reads nothing is cut at OUT_BYTES_MAX.
import type { Stream } from "../../base/net.ts";
import { copy } from "./copy.ts";
import {
  FLAG,
  FRAME,
  FRAME_BYTES_MAX,
  FRAME_HEADER_BYTES,
  writeFrameHeader,
  writeWord,
} from "./frame.ts";
import type { WriteBuffers } from "./write-buffers.ts";

const OUT_BYTES = 65_536;
const OUT_BYTES_MAX = 262_144;
/** So much leaves at once: the peer begins while we go on. */
const FLUSH_BYTES = 32_768;
/** Less than this, left by a peer that does not read, waits in an array of its own size. */
const WAITING_BYTES = 16_384;

export interface WriterDeps {
  readonly buffers: WriteBuffers;
  soon(task: () => void): void;
  /** It cannot go on: see OUT_BYTES_MAX. Never inside a call of a stream's owner. */
  onOverflow(): void;
}

export class FrameWriter {
  readonly #deps: WriterDeps;
  #stream: Stream | undefined;
  /** Frames are built in [0, #end). */
  bytes: Uint8Array = NO_BYTES;
  #start = 0;
  #end = 0;
  #isDue = false;
  #isBlocked = false;
  #isOver = false;
  /** Flags of the last DATA frame, while it has not left; -1: none. */
  #lastFlagsAt = -1;
  #lastStream = 0;
  readonly #flushTask = (): void => this.flush();
  readonly #overflowTask = (): void => this.#deps.onOverflow();

  constructor(deps: WriterDeps) {
    this.#deps = deps;
  }

  /** From now on things leave. */
  open(stream: Stream): void {
    this.#stream = stream;
    if (this.#end > 0) this.#flushSoon();
  }

  /** What the stream has not taken. */
  get unsent(): Uint8Array {
    return this.bytes.slice(this.#start, this.#end);
  }

  stop(): void {
    this.#isOver = true;
    this.#letGo();
  }

  /** How many bytes of content may be sent now. */
  get room(): number {
    return this.#isBlocked ? 0 : OUT_BYTES - this.#end - FRAME_HEADER_BYTES;
  }

  /** No room, and not because the peer reads nothing. */
  get isFull(): boolean {
    return !this.#isBlocked && this.room <= 0;
  }

  /** What comes before the first frame. */
  preface(bytes: Uint8Array): void {
    const at = this.#reserve(bytes.length);
    this.bytes.set(bytes, at);
    this.#end = at + bytes.length;
  }

  /** Begins a frame; returns where in `bytes` its payload goes. */
  frame(kind: number, flags: number, stream: number, length: number): number {
    const at = this.#reserve(FRAME_HEADER_BYTES + length);
    writeFrameHeader(this.bytes, at, length, kind, flags, stream);
    this.#end = at + FRAME_HEADER_BYTES + length;
    this.#flushSoon();
    return at + FRAME_HEADER_BYTES;
  }

  /** A frame whose payload is one word: RST_STREAM, WINDOW_UPDATE. */
  word(kind: number, stream: number, value: number): void {
    const at = this.frame(kind, 0, stream, 4);
    writeWord(this.bytes, at, value);
  }

  data(stream: number, bytes: Uint8Array, start: number, end: number, isLast: boolean): void {
    for (let at = start; at < end; ) {
      const until = Math.min(end, at + FRAME_BYTES_MAX);
      const flags = isLast && until === end ? FLAG.endStream : 0;
      const to = this.frame(FRAME.data, flags, stream, until - at);
      copy(bytes, at, until, this.bytes, to);
      this.#lastFlagsAt = to - FRAME_HEADER_BYTES + 4;
      this.#lastStream = stream;
      at = until;
    }
    if (this.#end >= FLUSH_BYTES) this.flush();
  }

  /** Ends the stream with what was sent of it last, or with a frame more. */
  end(stream: number): void {
    if (this.#lastFlagsAt >= 0 && this.#lastStream === stream) {
      this.bytes[this.#lastFlagsAt] = FLAG.endStream;
      this.#lastFlagsAt = -1;
    } else this.frame(FRAME.data, FLAG.endStream, stream, 0);
  }

  /** Where to build a header block of at most so many bytes; endBlock() follows at once. */
  beginBlock(bytesMax: number): number {
    return this.#reserve(FRAME_HEADER_BYTES + bytesMax) + FRAME_HEADER_BYTES;
  }

  /** The block lies where beginBlock() said, up to `end`: HEADERS, and CONTINUATION for what is too long. */
  endBlock(stream: number, end: number, isLast: boolean): void {
    const start = this.#end + FRAME_HEADER_BYTES;
    const ends = isLast ? FLAG.endStream : 0;
    const length = end - start;
    if (length <= FRAME_BYTES_MAX) {
      writeFrameHeader(
        this.bytes,
        this.#end,
        length,
        FRAME.headers,
        ends | FLAG.endHeaders,
        stream,
      );
      this.#end = end;
    } else this.#splitBlock(stream, start, end, ends);
    if (this.#end >= FLUSH_BYTES && !this.#isBlocked) this.flush();
    else this.#flushSoon();
  }

  #splitBlock(stream: number, start: number, end: number, ends: number): void {
    const block = this.bytes.slice(start, end);
    for (let at = 0; at < block.length; at += FRAME_BYTES_MAX) {
      const until = Math.min(block.length, at + FRAME_BYTES_MAX);
      const kind = at === 0 ? FRAME.headers : FRAME.continuation;
      const flags = (at === 0 ? ends : 0) | (until === block.length ? FLAG.endHeaders : 0);
      const to = this.frame(kind, flags, stream, until - at);
      copy(block, at, until, this.bytes, to);
    }
  }

  #reserve(length: number): number {
    const end = this.#end + length;
    if (this.#end > OUT_BYTES_MAX && !this.#isOver) {
      this.#isOver = true;
      this.#deps.soon(this.#overflowTask);
    }
    if (end > this.bytes.length) this.#grow(end);
    return this.#end;
  }

  #grow(bytes: number): void {
    const before = this.bytes;
    this.bytes = this.#deps.buffers.take(Math.max(bytes, 2 * before.length));
    if (this.#end > 0) this.bytes.set(before.subarray(0, this.#end));
    this.#deps.buffers.give(before);
  }

  #letGo(): void {
    this.#deps.buffers.give(this.bytes);
    this.bytes = NO_BYTES;
    this.#start = 0;
    this.#end = 0;
  }

  #flushSoon(): void {
    if (this.#isDue || this.#isBlocked || this.#stream === undefined) return;
    this.#isDue = true;
    this.#deps.soon(this.#flushTask);
  }

  /** What the stream takes; onWritable follows for the rest. */
  flush(): void {
    this.#isDue = false;
    if (this.#stream === undefined || this.#end === 0) return;
    this.#lastFlagsAt = -1;
    this.#start += this.#stream.write(this.bytes, this.#start, this.#end);
    this.#isBlocked = this.#start < this.#end;
    if (this.#isBlocked) {
      this.#compact();
      return;
    }
    this.#letGo();
  }

  #compact(): void {
    const { bytes } = this;
    const left = this.#end - this.#start;
    if (left <= WAITING_BYTES && bytes.length > WAITING_BYTES) {
      this.bytes = bytes.slice(this.#start, this.#end);
      this.#deps.buffers.give(bytes);
    } else if (this.#start < left) return;
    else bytes.copyWithin(0, this.#start, this.#end);
    this.#end = left;
    this.#start = 0;
  }
}

const NO_BYTES = new Uint8Array(0);
