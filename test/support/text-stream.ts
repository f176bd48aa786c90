// The ends of a connection as a test sees them: text in, text out.
import type { CloseReason, Stream, StreamHandler } from "../../agent/base/net.ts";
import { latin1 } from "./naive-http1.ts";

const encoder = new TextEncoder();

/** Collects what arrives and sends all it is given, however little is taken at a time. */
export class TextEnd implements StreamHandler {
  stream: Stream | undefined;
  text = "";
  bytesReceived = 0;
  hasEnded = false;
  closed: CloseReason | undefined;
  /** Default true; false counts bytes only. */
  keepsText = true;
  onText: ((end: TextEnd) => void) | undefined;
  #unsent: Uint8Array[] = [];
  #endsAfter = false;

  attach(stream: Stream): this {
    this.stream = stream;
    stream.handler = this;
    return this;
  }

  send(content: string | Uint8Array): void {
    this.#unsent.push(typeof content === "string" ? encoder.encode(content) : content);
    this.#flush();
  }

  end(): void {
    this.#endsAfter = true;
    this.#flush();
  }

  get unsentBytes(): number {
    return this.#unsent.reduce((sum, piece) => sum + piece.length, 0);
  }

  take(): string {
    const { text } = this;
    this.text = "";
    return text;
  }

  onOpen(stream: Stream): void {
    this.stream = stream;
    this.#flush();
  }
  onData(_stream: Stream, bytes: Uint8Array, start: number, end: number): void {
    this.bytesReceived += end - start;
    // Not TextDecoder: its "latin1" is windows-1252, which turns 0x80 into a euro sign.
    if (this.keepsText) this.text += latin1(bytes.subarray(start, end));
    this.onText?.(this);
  }
  onWritable(): void {
    this.#flush();
  }
  onEnd(): void {
    this.hasEnded = true;
  }
  onClose(_stream: Stream, reason: CloseReason): void {
    this.closed = reason;
  }

  #flush(): void {
    const { stream } = this;
    if (stream === undefined) return;
    while (this.#unsent[0] !== undefined) {
      const first = this.#unsent[0];
      const taken = stream.write(first, 0, first.length);
      if (taken < first.length) {
        this.#unsent[0] = first.subarray(taken);
        return;
      }
      this.#unsent.shift();
    }
    if (this.#endsAfter) stream.endWrite();
  }
}
