// Reads a request head strictly: RFC 9112 2, 3 and 5, RFC 9110 5 and 7.
import type { HeadLimits, RequestHead } from "./head.ts";
import { NEED_MORE } from "./refusal.ts";

/** Reads the head that begins at `start` into `head`. Returns the offset past it, NEED_MORE, or a refusal's code (see
 *  refusalOf), after which the connection answers and closes. `head` is only valid after an offset. */
export function readRequestHead(
  _head: RequestHead,
  _bytes: Uint8Array,
  _start: number,
  _end: number,
  _limits: HeadLimits,
): number {
  return NEED_MORE;
}
