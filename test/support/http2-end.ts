// One end of an HTTP/2 connection as a test sees it: it sends frames of any kind, valid or not, and tells what came in words.
import { bytesOf, concat, readLatin1 } from "../../agent/base/bytes.ts";
import type { Stream, StreamHandler } from "../../agent/base/net.ts";
import { LOWER } from "../../agent/protocol/http1/grammar.ts";
import { FieldList } from "../../agent/protocol/http2/field-list.ts";
import {
  FLAG,
  FRAME,
  type Frame,
  PREFACE,
  readWord,
  writeFrameHeader,
  writeWord,
} from "../../agent/protocol/http2/frame.ts";
import { FrameReader } from "../../agent/protocol/http2/frame-reader.ts";
import { HpackDecoder } from "../../agent/protocol/http2/hpack-decoder.ts";
import { writeField } from "../../agent/protocol/http2/hpack-encoder.ts";
import { TextEnd } from "./text-stream.ts";

export type Fields = readonly (readonly [name: string, value: string])[];

const NO_BYTES = new Uint8Array(0);

/** A frame as bytes. */
export function frameOf(
  kind: number,
  flags: number,
  stream: number,
  payload: Uint8Array = NO_BYTES,
): Uint8Array {
  const bytes = new Uint8Array(9 + payload.length);
  writeFrameHeader(bytes, 0, payload.length, kind, flags, stream);
  bytes.set(payload, 9);
  return bytes;
}

/** Name and value as they are, also those that no field may have. */
export function blockOf(fields: Fields): Uint8Array {
  return concat(
    fields.map(([name, value]) => {
      const text = Uint8Array.from(name + value, (letter) => letter.charCodeAt(0));
      const out = new Uint8Array(text.length + 16);
      const exact = LOWER.map((_, byte) => byte);
      return out.slice(
        0,
        writeField(out, 0, text, 0, name.length, name.length, text.length, exact),
      );
    }),
  );
}

export const GET_FIELDS: Fields = [
  [":method", "GET"],
  [":scheme", "http"],
  [":path", "/a?b=c"],
  [":authority", "server"],
];
export const POST_FIELDS: Fields = [[":method", "POST"], ...GET_FIELDS.slice(1)];

export class Http2End implements StreamHandler {
  /** `HEADERS 1 :status=200 ... END`, `DATA 1 hello END`, `RST 1 8`, `GOAWAY 1 0`, in order. */
  readonly seen: string[] = [];
  /** Credit that came, by stream. */
  readonly credit = new Map<number, number>();
  /** Answers settings and pings, and gives all credit back. Default true. */
  isPolite = true;
  readonly end = new TextEnd();
  readonly #reader: FrameReader;
  readonly #decoder = new HpackDecoder();
  readonly #list = new FieldList(200);
  #block: Uint8Array[] = [];
  #blockFlags = 0;
  #prefaceLeft: number;

  /** A client says the preface and its settings; a server waits for them. `isSilent`: says nothing of itself. */
  constructor(role: "client" | "server", isSilent = false) {
    this.#prefaceLeft = role === "server" ? PREFACE.length : 0;
    this.#reader = new FrameReader({
      onFrame: (frame, bytes, start, end) => this.#on(frame, bytes.slice(start, end)),
      onTooLong: ({ length }) => this.seen.push(`TOO LONG ${length}`),
    });
    this.end.keepsText = false;
    if (isSilent) return;
    if (role === "client") this.end.send(PREFACE);
    this.frame(FRAME.settings, 0, 0);
  }

  attach(stream: Stream): this {
    this.end.attach(stream);
    stream.handler = this;
    this.end.onWritable();
    return this;
  }

  get isClosed(): boolean {
    return this.end.closed !== undefined || this.end.hasEnded;
  }

  /** What came since. */
  take(): string[] {
    return this.seen.splice(0);
  }

  // ---- sending

  frame(kind: number, flags: number, stream: number, payload: Uint8Array = NO_BYTES): void {
    this.end.send(frameOf(kind, flags, stream, payload));
  }

  headers(stream: number, fields: Fields, isLast = true): void {
    const flags = FLAG.endHeaders | (isLast ? FLAG.endStream : 0);
    this.frame(FRAME.headers, flags, stream, blockOf(fields));
  }

  data(stream: number, text: string, isLast = false): void {
    this.frame(FRAME.data, isLast ? FLAG.endStream : 0, stream, bytesOf(text));
  }

  word(kind: number, stream: number, value: number): void {
    const payload = new Uint8Array(4);
    writeWord(payload, 0, value);
    this.frame(kind, 0, stream, payload);
  }

  setting(name: number, value: number): void {
    const payload = new Uint8Array(6);
    payload[1] = name;
    writeWord(payload, 2, value);
    this.frame(FRAME.settings, 0, 0, payload);
  }

  // ---- receiving

  onOpen(): void {}
  onData(_stream: Stream, bytes: Uint8Array, start: number, end: number): void {
    const skipped = Math.min(this.#prefaceLeft, end - start);
    this.#prefaceLeft -= skipped;
    this.#reader.read(bytes, start + skipped, end);
  }
  onWritable(): void {
    this.end.onWritable();
  }
  onEnd(): void {
    this.end.onEnd();
  }
  onClose(stream: Stream, reason: Parameters<StreamHandler["onClose"]>[1]): void {
    this.end.onClose(stream, reason);
  }

  #on({ kind, flags, stream }: Readonly<Frame>, payload: Uint8Array): void {
    switch (kind) {
      case FRAME.headers:
      case FRAME.continuation:
        this.#onBlock(flags, stream, payload);
        return;
      case FRAME.data:
        this.#onContent((flags & FLAG.endStream) !== 0, stream, payload);
        return;
      case FRAME.rstStream:
        this.seen.push(`RST ${stream} ${readWord(payload, 0)}`);
        return;
      case FRAME.goaway:
        this.seen.push(`GOAWAY ${readWord(payload, 0)} ${readWord(payload, 4)}`);
        return;
      case FRAME.windowUpdate:
        this.credit.set(stream, (this.credit.get(stream) ?? 0) + readWord(payload, 0));
        return;
      default:
        this.#onQuestion(kind, (flags & FLAG.ack) !== 0, payload);
    }
  }

  #onContent(isLast: boolean, stream: number, payload: Uint8Array): void {
    const text = readLatin1(payload, 0, payload.length);
    this.seen.push(`DATA ${stream} ${text}${isLast ? " END" : ""}`);
    if (!this.isPolite || payload.length === 0) return;
    this.word(FRAME.windowUpdate, 0, payload.length);
    if (!isLast) this.word(FRAME.windowUpdate, stream, payload.length);
  }

  #onQuestion(kind: number, isAnswer: boolean, payload: Uint8Array): void {
    if (isAnswer) this.seen.push(kind === FRAME.ping ? "PONG" : "SETTINGS ACK");
    else if (this.isPolite)
      this.frame(kind, FLAG.ack, 0, kind === FRAME.ping ? payload : undefined);
  }

  #onBlock(flags: number, stream: number, payload: Uint8Array): void {
    if (this.#block.length === 0) this.#blockFlags = flags;
    this.#block.push(payload);
    if ((flags & FLAG.endHeaders) === 0) return;
    const block = concat(this.#block);
    this.#block = [];
    const list = this.#list;
    if (!this.#decoder.decode(block, 0, block.length, list)) throw new Error("not a header block");
    let line = `HEADERS ${stream}`;
    for (let i = 0; i < list.count; i++)
      line += ` ${readLatin1(list.bytes, list.nameStart(i), list.nameEnd(i))}=${readLatin1(list.bytes, list.valueStart(i), list.valueEnd(i))}`;
    this.seen.push(line + ((this.#blockFlags & FLAG.endStream) !== 0 ? " END" : ""));
  }
}
