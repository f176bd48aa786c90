// Makes a request target what policy matches and what is forwarded, in one step: Istio's pathNormalization BASE
// (istio.io, "Authorization Policy Normalization"): percent-encoded unreserved characters are decoded once, a backslash becomes a slash, dot
// segments are resolved (RFC 3986 5.2.4). %2F and %5C stay as they are, slashes are not merged, hexadecimal digits keep their case.
// %00 and a percent sign without two digits are refused. The query is not touched.
import { isTriplet } from "./authority.ts";
import {
  HEX,
  isName,
  TARGET_BACKSLASH,
  TARGET_DOT,
  TARGET_PERCENT,
  UNRESERVED,
} from "./grammar.ts";
import type { RequestHead } from "./head.ts";
import { REFUSED_TARGET } from "./refusal.ts";

const SLASH = 47;
const DOT = 46;
const OPTIONS = Uint8Array.from("options", (c) => c.charCodeAt(0));

/** Rewrites the request line in place: absolute-form becomes origin-form, the path is normalised. The line may get shorter, then
 *  head.start moves forward. Call once after reading, before matching. Returns 0, or a refusal's code. */
export function normalizeTarget(head: RequestHead): number {
  if (head.targetForm === "absolute") leaveOrigin(head);
  if (head.targetForm !== "origin") return 0;
  if ((head.pathMarks & (TARGET_PERCENT | TARGET_BACKSLASH)) !== 0) {
    const end = decode(head.bytes, head.pathStart, head.pathEnd);
    if (end < 0) return end;
    closeGap(head, end);
    return resolveDots(head);
  }
  return (head.pathMarks & TARGET_DOT) !== 0 ? resolveDots(head) : 0;
}

/** RFC 9112 3.2.1: what goes to an origin server is path and query. The authority stands in Host, equal byte for byte but for case. */
function leaveOrigin(head: RequestHead): void {
  const bytes = head.bytes;
  head.targetForm = "origin";
  if (head.pathStart === head.pathEnd) {
    head.pathStart--;
    bytes[head.pathStart] = SLASH;
    // RFC 9112 3.2.4: OPTIONS for an authority without path is OPTIONS *.
    if (
      head.queryEnd === head.pathEnd &&
      isName(bytes, head.methodStart, head.methodEnd, OPTIONS)
    ) {
      bytes[head.pathStart] = 42;
      head.targetForm = "asterisk";
    }
  }
  moveStart(head, head.pathStart - head.targetStart);
  head.targetStart = head.pathStart;
}

/** Moves the method up to the target by `by` bytes. */
function moveStart(head: RequestHead, by: number): void {
  if (by === 0) return;
  head.bytes.copyWithin(head.start + by, head.start, head.targetStart);
  head.start += by;
  head.methodStart += by;
  head.methodEnd += by;
}

/** The path now ends at `newEnd`: moves all before its old end up to that end. */
function closeGap(head: RequestHead, newEnd: number): void {
  const by = head.pathEnd - newEnd;
  if (by === 0) return;
  head.bytes.copyWithin(head.start + by, head.start, newEnd);
  head.start += by;
  head.methodStart += by;
  head.methodEnd += by;
  head.targetStart += by;
  head.pathStart += by;
}

/** Decodes and turns backslashes in place; returns the new end, or a refusal. */
function decode(bytes: Uint8Array, start: number, end: number): number {
  let to = start;
  for (let at = start; at < end; at++) {
    let byte = bytes[at] as number;
    if (byte === 92) byte = SLASH;
    else if (byte === 37) {
      if (!isTriplet(bytes, at, end)) return REFUSED_TARGET;
      const meant = ((HEX[bytes[at + 1] as number] as number) << 4) | digitAt(bytes, at + 2);
      if (meant === 0) return REFUSED_TARGET;
      if (UNRESERVED[meant] === 1) {
        byte = meant;
        at += 2;
      }
    }
    bytes[to++] = byte;
  }
  return to;
}

const digitAt = (bytes: Uint8Array, at: number): number => HEX[bytes[at] as number] as number;

function resolveDots(head: RequestHead): number {
  const bytes = head.bytes;
  const first = firstDotSegment(bytes, head.pathStart, head.pathEnd);
  if (first < 0) return 0;
  let to = first;
  let at = first;
  // Every turn begins at a slash and takes one segment.
  while (at < head.pathEnd) {
    let end = at + 1;
    while (end < head.pathEnd && bytes[end] !== SLASH) end++;
    const dots = dotsOf(bytes, at + 1, end);
    if (dots === 2) to = parentOf(bytes, head.pathStart, to);
    if (dots > 0) {
      // A last `.` or `..` leaves the slash of the directory it names.
      if (end === head.pathEnd) bytes[to++] = SLASH;
    } else {
      bytes.copyWithin(to, at, end);
      to += end - at;
    }
    at = end;
  }
  closeGap(head, to);
  return 0;
}

/** Offset of the slash before the first segment that is `.` or `..`; -1: none. */
function firstDotSegment(bytes: Uint8Array, start: number, end: number): number {
  for (let at = start; at < end; at++) {
    if (bytes[at] !== SLASH || bytes[at + 1] !== DOT || at + 1 >= end) continue;
    let next = at + 2;
    if (next < end && bytes[next] === DOT) next++;
    if (next === end || bytes[next] === SLASH) return at;
  }
  return -1;
}

/** 1 for `.`, 2 for `..`, else 0. */
function dotsOf(bytes: Uint8Array, start: number, end: number): number {
  const length = end - start;
  if (length === 0 || length > 2 || bytes[start] !== DOT) return 0;
  return length === 1 || bytes[start + 1] === DOT ? length : 0;
}

/** Where the last segment before `to` begins, with its slash; the root has no parent. */
function parentOf(bytes: Uint8Array, start: number, to: number): number {
  let at = to;
  while (at > start) {
    at--;
    if (bytes[at] === SLASH) return at;
  }
  return start;
}
