// The root of a connection: the one place where a bug of ours is caught. It costs that connection and no other.
import type { CloseReason, Stream, StreamHandler } from "../base/net.ts";
import type { ThreadContext } from "./thread-context.ts";

export abstract class Guarded implements StreamHandler {
  protected readonly context: ThreadContext;

  constructor(context: ThreadContext) {
    this.context = context;
  }

  /** Only what was dialled opens. */
  protected opened(_stream: Stream): void {}
  protected abstract received(stream: Stream, bytes: Uint8Array, start: number, end: number): void;
  protected abstract writable(stream: Stream): void;
  protected abstract ended(stream: Stream): void;
  protected abstract closed(stream: Stream, reason: CloseReason): void;
  /** Lets go of everything after a bug. */
  protected abstract abandon(): void;

  onOpen(stream: Stream): void {
    try {
      this.opened(stream);
    } catch (error) {
      this.fell(error);
    }
  }
  onData(stream: Stream, bytes: Uint8Array, start: number, end: number): void {
    try {
      this.received(stream, bytes, start, end);
    } catch (error) {
      this.fell(error);
    }
  }
  onWritable(stream: Stream): void {
    try {
      this.writable(stream);
    } catch (error) {
      this.fell(error);
    }
  }
  onEnd(stream: Stream): void {
    try {
      this.ended(stream);
    } catch (error) {
      this.fell(error);
    }
  }
  onClose(stream: Stream, reason: CloseReason): void {
    try {
      this.closed(stream, reason);
    } catch (error) {
      this.fell(error);
    }
  }

  /** For what is not an event of its stream. */
  protected guarded(run: () => void): void {
    try {
      run();
    } catch (error) {
      this.fell(error);
    }
  }

  protected fell(error: unknown): void {
    this.context.deps.bug(error);
    this.abandon();
  }
}
