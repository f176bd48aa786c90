// Frames of HTTP/2, RFC 9113 4 and 6: their header, kinds, flags and error codes.

export const FRAME_HEADER_BYTES = 9;
/** What we take, and what a peer takes that never said otherwise (RFC 9113 6.5.2). */
export const FRAME_BYTES_MAX = 16_384;
/** Flow-control windows at the beginning, and the most that one can be (RFC 9113 6.9). */
export const WINDOW_AT_FIRST = 65_535;
export const WINDOW_MAX = 0x7fff_ffff;
export const STREAM_ID_MAX = 0x7fff_ffff;

const word = (text: string): Uint8Array => Uint8Array.from(text, (c) => c.charCodeAt(0));
/** What a client says first, RFC 9113 3.4. */
export const PREFACE = word("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

export const FRAME = {
  data: 0,
  headers: 1,
  priority: 2,
  rstStream: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goaway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

export const FLAG = { endStream: 1, ack: 1, endHeaders: 4, padded: 8, priority: 0x20 } as const;

/** RFC 9113 7. */
export const CODE = {
  noError: 0,
  protocolError: 1,
  internalError: 2,
  flowControlError: 3,
  settingsTimeout: 4,
  streamClosed: 5,
  frameSizeError: 6,
  refusedStream: 7,
  cancel: 8,
  compressionError: 9,
  enhanceYourCalm: 11,
  http11Required: 13,
} as const;

export const SETTING = {
  headerTableSize: 1,
  enablePush: 2,
  maxConcurrentStreams: 3,
  initialWindowSize: 4,
  maxFrameSize: 5,
  maxHeaderListSize: 6,
  /** RFC 8441 3. */
  enableConnectProtocol: 8,
} as const;

/** One at a time: readers fill it anew for each. */
export interface Frame {
  length: number;
  kind: number;
  flags: number;
  stream: number;
}

export function readFrameHeader(bytes: Uint8Array, at: number, frame: Frame): void {
  frame.length =
    ((bytes[at] as number) << 16) | ((bytes[at + 1] as number) << 8) | (bytes[at + 2] as number);
  frame.kind = bytes[at + 3] as number;
  frame.flags = bytes[at + 4] as number;
  frame.stream = readWord(bytes, at + 5) & STREAM_ID_MAX; // the reserved bit is ignored
}

export function writeFrameHeader(
  bytes: Uint8Array,
  at: number,
  length: number,
  kind: number,
  flags: number,
  stream: number,
): void {
  bytes[at] = length >>> 16;
  bytes[at + 1] = length >>> 8;
  bytes[at + 2] = length;
  bytes[at + 3] = kind;
  bytes[at + 4] = flags;
  writeWord(bytes, at + 5, stream);
}

/** 32 bits without sign. */
export const readWord = (bytes: Uint8Array, at: number): number =>
  (((bytes[at] as number) << 24) |
    ((bytes[at + 1] as number) << 16) |
    ((bytes[at + 2] as number) << 8) |
    (bytes[at + 3] as number)) >>>
  0;

export function writeWord(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}
