// A stream of ours as the runtime's TLS wants what it runs over: what was received is copied for it, what it sends is kept until the
// stream has taken it all.
import { Duplex } from "node:stream";
import type { CloseReason, Stream, StreamHandler } from "../base/net.ts";
import type { Loop } from "./loop.ts";

/** Received and not read yet: beyond this the stream is paused. */
const UNREAD_BYTES_MAX = 65_536;

/** Takes the stream over. Every event is followed by a turn of the runtime, in which its TLS goes on. */
export class StreamDuplex extends Duplex {
  readonly #loop: Loop;
  readonly #stream: Stream;
  #isWanted = true;
  #isHeld = false;
  #unsent: Uint8Array | undefined;
  #whenSent: (() => void) | undefined;
  /** Called each time when the stream took all there was. */
  onAllSent: () => void = () => {};

  constructor(loop: Loop, stream: Stream) {
    super({ allowHalfOpen: true, readableHighWaterMark: UNREAD_BYTES_MAX, emitClose: true });
    this.#loop = loop;
    this.#stream = stream;
    stream.handler = this.#handler();
  }

  #handler(): StreamHandler {
    return {
      onOpen: () => {},
      onData: (stream, bytes, start, end) => {
        this.#isWanted = this.push(Buffer.from(bytes.slice(start, end).buffer));
        if (!this.#isWanted) stream.pause();
        this.#loop.yieldSoon();
      },
      onWritable: () => this.#send(),
      onEnd: () => {
        this.push(null);
        this.#loop.yieldSoon();
      },
      onClose: (_stream, reason) => {
        this.destroy(failureOf(reason));
        this.#loop.yieldSoon();
      },
    };
  }

  override _read(): void {
    this.#isWanted = true;
    if (!this.#isHeld) this.#stream.resume();
  }

  /** Reads no more until release(), whatever its reader wants. */
  hold(): void {
    this.#isHeld = true;
    this.#stream.pause();
  }
  release(): void {
    this.#isHeld = false;
    if (this.#isWanted) this.#stream.resume();
  }

  override _write(chunk: Uint8Array, _encoding: unknown, done: () => void): void {
    this.#unsent = chunk;
    this.#whenSent = done;
    this.#send();
  }

  #send(): void {
    const unsent = this.#unsent;
    if (unsent === undefined) return;
    const taken = this.#stream.write(unsent, 0, unsent.length);
    this.#loop.yieldSoon();
    if (taken < unsent.length) {
      this.#unsent = unsent.subarray(taken);
      return;
    }
    this.#unsent = undefined;
    const done = this.#whenSent;
    this.#whenSent = undefined;
    done?.();
    if (this.writableLength === 0) this.onAllSent();
  }

  override _final(done: () => void): void {
    this.#stream.endWrite();
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (error === null) this.#stream.close();
    else this.#stream.reset();
    done(error);
  }
}

function failureOf(reason: CloseReason): Error | undefined {
  if (reason.is === "ended") return undefined;
  return Object.assign(new Error(`the connection failed: ${reason.code}`), { code: reason.code });
}
