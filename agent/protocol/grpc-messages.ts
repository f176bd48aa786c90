// Counts the messages of a gRPC call in one direction. Each is prefixed by a byte of flags and its length in four more
// (https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md, "Length-Prefixed-Message"); where a peer cuts its content into frames says nothing about
// them, so a prefix may come in pieces. A message counts once it is whole. Nothing is copied, and what a message holds is not looked at.
import type { ContentWatcher } from "./http1/body.ts";

const PREFIX_BYTES = 5;

export class MessageCounter implements ContentWatcher {
  #untold = 0;
  /** Of the message at hand: bytes of its prefix that came, its length so far, and its bytes that are to come. */
  #prefixBytes = 0;
  #length = 0;
  #left = 0;

  /** A direction of another call begins; what was counted and not told is forgotten. */
  begin(): void {
    this.#untold = 0;
    this.#prefixBytes = 0;
    this.#length = 0;
    this.#left = 0;
  }

  /** Messages that became whole since it was last asked. */
  takeNew(): number {
    const count = this.#untold;
    this.#untold = 0;
    return count;
  }

  see(bytes: Uint8Array, start: number, end: number): void {
    let at = start;
    while (at < end) {
      if (this.#left > 0) {
        const taken = Math.min(this.#left, end - at);
        at += taken;
        this.#left -= taken;
        if (this.#left === 0) this.#untold++;
      } else this.#takePrefix(bytes[at++] as number);
    }
  }

  #takePrefix(byte: number): void {
    // Not shifted: it may be all of 32 bits.
    this.#length = this.#prefixBytes === 0 ? 0 : this.#length * 256 + byte;
    if (++this.#prefixBytes < PREFIX_BYTES) return;
    this.#prefixBytes = 0;
    this.#left = this.#length;
    if (this.#left === 0) this.#untold++;
  }
}
