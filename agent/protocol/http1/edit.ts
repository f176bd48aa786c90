// Makes a head that was read fit for the next hop: leaves out dropped fields, replaces target or authority, appends fields, and says
// HTTP/1.1 (RFC 9112 2.3). No builder of strings: bytes are moved once.
import type { RequestHead, ResponseHead } from "./head.ts";

type AnyHead = RequestHead | ResponseHead;

const bytesOf = (text: string): Uint8Array => Uint8Array.from(text, (c) => c.charCodeAt(0));

/** Upgrade and TE go on only with the Connection option that names them for the next hop (RFC 9110 7.8, 10.1.4). */
const CONNECTION_UPGRADE = bytesOf("connection: upgrade\r\n");
const CONNECTION_TE = bytesOf("connection: te\r\n");
const NOTHING = new Uint8Array(0);
const HOST = bytesOf("host: ");

/** Edits [head.start, head.headEnd) where it lies, appending tail[tailStart..tailEnd) (whole fields, each with CRLF) and the empty line.
 *  For a head that ends the received data: what lies behind it up to EDIT_ROOM is overwritten. Returns the new end (the head still
 *  begins at head.start), or -1 when it would pass `limit`, and then nothing was changed. After it `head` is used up. */
export function editInPlace(
  head: AnyHead,
  tail: Uint8Array,
  tailStart: number,
  tailEnd: number,
  limit: number,
): number {
  const bytes = head.bytes;
  const option = optionOf(head);
  // The bound is taken before anything moves, as if nothing were dropped.
  if (head.headEnd + option.length + (tailEnd - tailStart) > limit) return -1;
  bytes[versionEndOf(head)] = 49;
  let end = head.headEnd - 2;
  if (head.droppedCount > 0) end = compact(head);
  end = put(bytes, end, option, 0, option.length);
  end = put(bytes, end, tail, tailStart, tailEnd);
  bytes[end] = 13;
  bytes[end + 1] = 10;
  return end + 2;
}

/** Same, written to out[at..limit), leaving head and its bytes as they are. Returns the end in `out`, or -1 when it does not fit. */
export function editInto(
  head: AnyHead,
  tail: Uint8Array,
  tailStart: number,
  tailEnd: number,
  out: Uint8Array,
  at: number,
  limit: number,
): number {
  const option = optionOf(head);
  const lengthMax = head.headEnd - head.start + option.length + (tailEnd - tailStart);
  if (at + lengthMax > limit) return -1;
  const fieldsAt = head.fieldCount > 0 ? (head.fields[0] as number) : head.headEnd - 2;
  let end = put(out, at, head.bytes, head.start, fieldsAt);
  out[at + versionEndOf(head) - head.start] = 49;
  end = putFields(head, out, end);
  return finish(out, end, option, tail, tailStart, tailEnd);
}

/** What replaces a request's target (path and query) or authority; undefined leaves it. Both must be valid as such. */
export interface RequestRewrite {
  readonly target: Uint8Array | undefined;
  readonly authority: Uint8Array | undefined;
}

/** As editInto, for a request whose target or authority changes. */
export function rewriteInto(
  head: RequestHead,
  rewrite: RequestRewrite,
  tail: Uint8Array,
  tailStart: number,
  tailEnd: number,
  out: Uint8Array,
  at: number,
  limit: number,
): number {
  const option = optionOf(head);
  const { target, authority } = rewrite;
  const added = (target?.length ?? 0) + (authority === undefined ? 0 : authority.length + 8);
  const lengthMax = head.headEnd - head.start + option.length + (tailEnd - tailStart) + added;
  if (at + lengthMax > limit) return -1;
  let end = put(out, at, head.bytes, head.start, head.targetStart);
  end =
    target === undefined
      ? put(out, end, head.bytes, head.targetStart, head.targetEnd)
      : put(out, end, target, 0, target.length);
  end = put(out, end, VERSION_LINE, 0, VERSION_LINE.length);
  if (authority !== undefined) {
    // Host comes first, as RFC 9110 7.2 advises.
    end = put(out, end, HOST, 0, HOST.length);
    end = put(out, end, authority, 0, authority.length);
    end = put(out, end, CRLF, 0, 2);
    head.dropField(head.hostField);
  }
  end = putFields(head, out, end);
  return finish(out, end, option, tail, tailStart, tailEnd);
}

const VERSION_LINE = bytesOf(" HTTP/1.1\r\n");
const CRLF = bytesOf("\r\n");

const optionOf = (head: AnyHead): Uint8Array =>
  head.isUpgrade ? CONNECTION_UPGRADE : head.acceptsTrailers ? CONNECTION_TE : NOTHING;

/** Offset of the minor version's digit. */
const versionEndOf = (head: AnyHead): number =>
  "status" in head ? head.start + 7 : head.targetEnd + 8;

function finish(
  out: Uint8Array,
  at: number,
  option: Uint8Array,
  tail: Uint8Array,
  tailStart: number,
  tailEnd: number,
): number {
  let end = put(out, at, option, 0, option.length);
  end = put(out, end, tail, tailStart, tailEnd);
  return put(out, end, CRLF, 0, 2);
}

/** Where field i's line begins; for i = fieldCount, where the last one ends. */
const lineStart = (head: AnyHead, i: number): number =>
  i < head.fieldCount ? (head.fields[i * 4] as number) : head.headEnd - 2;

/** Moves the runs of fields that stay together; returns where they end. */
function compact(head: AnyHead): number {
  const bytes = head.bytes;
  const count = head.fieldCount;
  let i = 0;
  while (i < count && head.dropped[i] === 0) i++;
  let end = lineStart(head, i);
  while (i < count) {
    while (i < count && head.dropped[i] === 1) i++;
    const from = lineStart(head, i);
    while (i < count && head.dropped[i] === 0) i++;
    const to = lineStart(head, i);
    if (to > from) bytes.copyWithin(end, from, to);
    end += to - from;
  }
  return end;
}

function putFields(head: AnyHead, out: Uint8Array, at: number): number {
  const count = head.fieldCount;
  let end = at;
  let i = 0;
  while (i < count) {
    while (i < count && head.dropped[i] === 1) i++;
    const from = lineStart(head, i);
    while (i < count && head.dropped[i] === 0) i++;
    end = put(out, end, head.bytes, from, lineStart(head, i));
  }
  return end;
}

/** Within one array copyWithin is cheapest; between two, a loop is for short runs: `subarray` allocates. Reading `.buffer` would cost
 *  more than either. */
function put(out: Uint8Array, at: number, bytes: Uint8Array, start: number, end: number): number {
  const length = end - start;
  if (out === bytes) {
    out.copyWithin(at, start, end);
  } else if (length > LOOP_BYTES_MAX) {
    out.set(bytes.subarray(start, end), at);
  } else {
    for (let i = 0; i < length; i++) out[at + i] = bytes[start + i] as number;
  }
  return at + length;
}

const LOOP_BYTES_MAX = 192;
