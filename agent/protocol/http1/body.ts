// Follows a message's body to its end without copying it: RFC 9112 6 and 7. State is a few numbers, so a body may be cut at any byte.
import type { Head } from "./head.ts";
import { NEED_MORE } from "./refusal.ts";

export class BodyReader {
  /** The message ended; what follows belongs to the next one. */
  isDone = true;
  /** Bytes of this body scanned so far, chunk framing included. */
  bytesSeen = 0;

  /** Begins the body of a head that was read. */
  begin(_head: Head): void {
    this.bytesSeen = 0;
  }

  /** Takes bytes[start..end). Returns the offset where the message ends (isDone is set; the rest is the next message's), NEED_MORE when
   *  all belongs to it, or a refusal's code. */
  scan(_bytes: Uint8Array, _start: number, _end: number): number {
    return NEED_MORE;
  }

  /** The peer ended its direction. True when that is a proper end: the body ran until close or was done. False: cut short. */
  end(): boolean {
    return this.isDone;
  }
}
