// Reads a response head strictly: RFC 9112 2, 4 and 5, RFC 9110 15. What an app or upstream sends is held to the same
// grammar as what clients send; refused, it becomes a 502.
import { FIELD_VALUE } from "./grammar.ts";
import type { BodyKind, HeadLimits, ResponseHead } from "./head.ts";
import { applyConnection, readFields, readLineEnd, readVersion } from "./read-fields.ts";
import {
  NEED_MORE,
  REFUSED_FRAMING,
  REFUSED_HEAD_TOO_LONG,
  REFUSED_STATUS_LINE,
  REFUSED_UPGRADE,
} from "./refusal.ts";

const SP = 32;

/** As readRequestHead. `isHeadRequest` and `isConnectRequest` say what was asked, because the response's framing depends on it
 *  (RFC 9112 6.3). A 1xx other than 101 (head.isInterim) is followed by another head. */
export function readResponseHead(
  head: ResponseHead,
  bytes: Uint8Array,
  start: number,
  end: number,
  limits: HeadLimits,
  isHeadRequest: boolean,
  isConnectRequest: boolean,
): number {
  const stop = Math.min(end, start + limits.headBytesMax);
  const isFull = end - start >= limits.headBytesMax;
  head.forget(bytes, start);
  const line = readStatusLine(head, bytes, start, stop);
  const headEnd = line < 0 ? line : readFields(head, bytes, line, stop, limits);
  if (headEnd < 0) return headEnd === NEED_MORE && isFull ? REFUSED_HEAD_TOO_LONG : headEnd;
  head.headEnd = headEnd;
  const refused = settle(head, isHeadRequest, isConnectRequest);
  return refused < 0 ? refused : headEnd;
}

/** HTTP-version SP 3DIGIT SP [ reason-phrase ] CRLF; the second space is part of the grammar even without a reason. */
function readStatusLine(
  head: ResponseHead,
  bytes: Uint8Array,
  start: number,
  stop: number,
): number {
  const minor = readVersion(bytes, start, stop);
  if (minor < 0) return minor;
  head.minorVersion = minor;
  const status = readStatus(bytes, start + 8, stop);
  if (status < 0) return status;
  head.status = status;
  let p = start + 13;
  head.reasonStart = p;
  while (p < stop && FIELD_VALUE[bytes[p] as number] === 1) p++;
  head.reasonEnd = p;
  return readLineEnd(bytes, p, stop, REFUSED_STATUS_LINE);
}

function readStatus(bytes: Uint8Array, at: number, stop: number): number {
  let status = 0;
  for (let i = 0; i < 5; i++) {
    if (at + i >= stop) return NEED_MORE;
    const byte = bytes[at + i] as number;
    if (i === 0 || i === 4) {
      if (byte !== SP) return REFUSED_STATUS_LINE;
    } else if (byte < 48 || byte > 57) return REFUSED_STATUS_LINE;
    else status = status * 10 + byte - 48;
  }
  return status < 100 || status > 599 ? REFUSED_STATUS_LINE : status;
}

function settle(head: ResponseHead, isHeadRequest: boolean, isConnectRequest: boolean): number {
  const refused = applyConnection(head);
  if (refused < 0) return refused;
  return settleFraming(head, isHeadRequest, isConnectRequest);
}

function settleFraming(
  head: ResponseHead,
  isHeadRequest: boolean,
  isConnectRequest: boolean,
): number {
  const status = head.status;
  const isBodiless = status < 200 || status === 204;
  // RFC 9112 6.1 and RFC 9110 8.6: these have no body; one that is announced could be read as one, or as the next response.
  if (isBodiless && (head.isChunked || head.contentLength > 0)) return REFUSED_FRAMING;
  const isTunnel = isConnectRequest && status >= 200 && status < 300;
  head.bodyKind =
    isHeadRequest || isBodiless || isTunnel || status === 304 ? "none" : bodyKindOf(head);
  if (isTunnel && (head.isChunked || head.contentLength >= 0)) return REFUSED_FRAMING;
  if (head.bodyKind === "until_close") head.keepAlive = false;
  return settleHop(head);
}

function bodyKindOf(head: ResponseHead): BodyKind {
  if (head.isChunked) return "chunked";
  if (head.contentLength < 0) return "until_close";
  return head.contentLength > 0 ? "length" : "none";
}

/** Only a 101 switches protocols, and it must name which (RFC 9110 7.8). What others say in Upgrade is for this hop, and ends here. */
function settleHop(head: ResponseHead): number {
  if (head.acceptsTrailers) head.acceptsTrailers = head.drop("te") === 0;
  if (head.status !== 101) {
    head.isUpgrade = false;
    return 0;
  }
  if (!head.isUpgrade) return REFUSED_UPGRADE;
  head.undropField(head.upgradeField);
  return 0;
}
