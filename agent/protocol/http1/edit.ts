// Makes a head that was read fit for the next hop: leaves out dropped fields, replaces target or authority, appends fields, and says
// HTTP/1.1 (RFC 9112 2.3). No builder of strings: bytes are moved once.
import type { RequestHead, ResponseHead } from "./head.ts";

/** Edits [head.start, head.headEnd) where it lies, appending tail[tailStart..tailEnd) (whole fields, each with CRLF) and the empty line.
 *  For a head that ends the received data: what lies behind it up to EDIT_ROOM is overwritten. Returns the new end (the head still
 *  begins at head.start), or -1 when it would pass `limit`, and then nothing was changed. After it `head` is used up. */
export function editInPlace(
  _head: RequestHead | ResponseHead,
  _tail: Uint8Array,
  _tailStart: number,
  _tailEnd: number,
  _limit: number,
): number {
  return -1;
}

/** Same, written to out[at..limit), leaving head and its bytes as they are. Returns the end in `out`, or -1 when it does not fit. */
export function editInto(
  _head: RequestHead | ResponseHead,
  _tail: Uint8Array,
  _tailStart: number,
  _tailEnd: number,
  _out: Uint8Array,
  _at: number,
  _limit: number,
): number {
  return -1;
}

/** As editInto, for a request whose target (path and query) or authority changes. */
export interface RequestRewrite {
  readonly target: Uint8Array | undefined;
  readonly authority: Uint8Array | undefined;
}
export function rewriteInto(
  _head: RequestHead,
  _rewrite: RequestRewrite,
  _tail: Uint8Array,
  _tailStart: number,
  _tailEnd: number,
  _out: Uint8Array,
  _at: number,
  _limit: number,
): number {
  return -1;
}
