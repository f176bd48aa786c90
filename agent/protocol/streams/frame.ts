// Frames of the mesh wire's streams (docs/decisions/0013-mesh-streams.md): many byte streams over one TLS connection between two
// agents. Eight bytes of header, then the payload:
//
//   length (24 bits) | kind (8) | stream (32), big-endian
//
// open      a new stream; only the end that dialled opens any, and each has a higher id than those before
// data      1 to PAYLOAD_BYTES_MAX bytes of a stream
// end       no more data from here; the other direction stays open
// reset     neither direction any more
// credit    4 bytes: so much more may be sent on the stream
// retire    open no more streams on this connection (stream 0); answered by `retired`: none was opened after this

export const FRAME = {
  open: 1,
  data: 2,
  end: 3,
  reset: 4,
  credit: 5,
  retire: 6,
  retired: 7,
} as const;
export type FrameKind = (typeof FRAME)[keyof typeof FRAME];
export const FRAME_HEADER_BYTES = 8;
export const PAYLOAD_BYTES_MAX = 16_384;
export const CREDIT_BYTES = 4;
/** What one end may send on a stream before it is given more: what a stream that is not read holds at most. */
export const WINDOW_BYTES = 262_144;

export interface Frame {
  length: number;
  kind: FrameKind;
  stream: number;
}

export function writeFrameHeader(
  bytes: Uint8Array,
  at: number,
  { length, kind, stream }: Readonly<Frame>,
): void {
  bytes[at] = length >>> 16;
  bytes[at + 1] = length >>> 8;
  bytes[at + 2] = length;
  bytes[at + 3] = kind;
  writeWord(bytes, at + 4, stream);
}

/** Fills `frame` from eight bytes; false: no frame of this wire, and the connection cannot be trusted any more. */
export function readFrameHeader(bytes: Uint8Array, at: number, frame: Frame): boolean {
  const first = readWord(bytes, at);
  frame.length = first >>> 8;
  frame.kind = (first & 255) as FrameKind;
  frame.stream = readWord(bytes, at + 4);
  switch (frame.kind) {
    case FRAME.data:
      return frame.length > 0 && frame.length <= PAYLOAD_BYTES_MAX && frame.stream > 0;
    case FRAME.open:
    case FRAME.end:
    case FRAME.reset:
      return frame.length === 0 && frame.stream > 0;
    case FRAME.credit:
      return frame.length === CREDIT_BYTES && frame.stream > 0;
    case FRAME.retire:
    case FRAME.retired:
      return frame.length === 0 && frame.stream === 0;
    default:
      return false;
  }
}

export function writeWord(bytes: Uint8Array, at: number, word: number): void {
  bytes[at] = word >>> 24;
  bytes[at + 1] = word >>> 16;
  bytes[at + 2] = word >>> 8;
  bytes[at + 3] = word;
}

export const readWord = (bytes: Uint8Array, at: number): number =>
  (((bytes[at] as number) << 24) |
    ((bytes[at + 1] as number) << 16) |
    ((bytes[at + 2] as number) << 8) |
    (bytes[at + 3] as number)) >>>
  0;
