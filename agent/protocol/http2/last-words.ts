// A connection of ours that is over, while its last frames leave: closing at once could take them from a peer that has not read them yet, since
// bytes that still come in would turn the close into a reset. Bounded by LINGER_MS.
import type { Timer, Timers } from "../../base/clock.ts";
import type { Stream, StreamHandler } from "../../base/net.ts";

const LINGER_MS = 1_000;

export class LastWords implements StreamHandler {
  readonly #stream: Stream;
  readonly #deadline: Timer;
  #rest: Uint8Array;

  /** `rest`: what the stream did not take yet. */
  constructor(stream: Stream, rest: Uint8Array, timers: Timers) {
    this.#stream = stream;
    this.#rest = rest;
    this.#deadline = timers.after(LINGER_MS, () => stream.close());
    stream.handler = this;
    this.onWritable();
  }

  onWritable(): void {
    if (this.#rest.length > 0)
      this.#rest = this.#rest.subarray(this.#stream.write(this.#rest, 0, this.#rest.length));
    if (this.#rest.length === 0) this.#stream.endWrite();
  }
  onOpen(): void {}
  onData(): void {}
  onEnd(): void {
    this.#deadline.cancel();
    this.#stream.close();
  }
  onClose(): void {
    this.#deadline.cancel();
  }
}
