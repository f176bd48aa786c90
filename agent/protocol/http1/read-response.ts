// Reads a response head strictly: RFC 9112 2, 4 and 5, RFC 9110 15. What an app or upstream sends is held to the same
// grammar as what clients send; refused, it becomes a 502.
import type { HeadLimits, ResponseHead } from "./head.ts";
import { NEED_MORE } from "./refusal.ts";

/** As readRequestHead. `isHeadRequest` and `isConnectRequest` say what was asked, because the response's framing depends on it
 *  (RFC 9112 6.3). A 1xx other than 101 (head.isInterim) is followed by another head. */
export function readResponseHead(
  _head: ResponseHead,
  _bytes: Uint8Array,
  _start: number,
  _end: number,
  _limits: HeadLimits,
  _isHeadRequest: boolean,
  _isConnectRequest: boolean,
): number {
  return NEED_MORE;
}
