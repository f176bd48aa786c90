// Frames that end a connection whoever sends them, one line each: the section of RFC 9113 and what is wrong, the code, how it is said.
// Stream 1 is under way. `id`: of a stream that never was.
import { CODE, FLAG, FRAME, SETTING } from "../../../agent/protocol/http2/frame.ts";
import { blockOf, GET_FIELDS, type Http2End } from "../../support/http2-end.ts";

export type ConnectionError = readonly [rule: string, code: number, say: (end: Http2End) => void];

const PROTOCOL = CODE.protocolError;
const SIZE = CODE.frameSizeError;
const FLOW = CODE.flowControlError;
const block = blockOf(GET_FIELDS);
const zeros = (count: number): Uint8Array => new Uint8Array(count);
const bytes = (...values: number[]): Uint8Array => Uint8Array.from(values);
const NEVER = 101;

export const FRAMES: readonly ConnectionError[] = [
  ["4.2 DATA longer than we take", SIZE, (e) => e.frame(FRAME.data, 0, 1, zeros(16_385))],
  ["4.2 HEADERS longer than we take", SIZE, (e) => e.frame(FRAME.headers, 4, 3, zeros(16_385))],
  ["4.2 SETTINGS longer than we take", SIZE, (e) => e.frame(FRAME.settings, 0, 0, zeros(16_386))],
  ["4.2 an unknown kind longer than we take", SIZE, (e) => e.frame(77, 0, 1, zeros(20_000))],
  [
    "4.2 HEADERS too short for its priority",
    SIZE,
    (e) => e.frame(FRAME.headers, 0x24, 1, zeros(4)),
  ],
  ["4.2 HEADERS too short for its padding's length", SIZE, (e) => e.frame(FRAME.headers, 12, 1)],
  ["4.2 DATA too short for its padding's length", SIZE, (e) => e.frame(FRAME.data, FLAG.padded, 1)],
  [
    "4.3 a header block that cannot be decoded",
    CODE.compressionError,
    (e) => e.frame(FRAME.headers, FLAG.endHeaders, 1, bytes(0x80)),
  ],
  [
    "4.3 DATA within a header block",
    PROTOCOL,
    (e) => {
      e.frame(FRAME.headers, 0, 1, block);
      e.frame(FRAME.data, 0, 1, zeros(3));
    },
  ],
  [
    "4.3 PING within a header block",
    PROTOCOL,
    (e) => {
      e.frame(FRAME.headers, 0, 1, block);
      e.frame(FRAME.ping, 0, 0, zeros(8));
    },
  ],
  [
    "5.5 an unknown kind within a header block",
    PROTOCOL,
    (e) => {
      e.frame(FRAME.headers, 0, 1, block);
      e.frame(77, 0, 1, zeros(3));
    },
  ],
  [
    "6.2 HEADERS of another stream within a header block",
    PROTOCOL,
    (e) => {
      e.frame(FRAME.headers, 0, 1, block);
      e.frame(FRAME.headers, FLAG.endHeaders, 3, block);
    },
  ],
  [
    "6.2 HEADERS of the same stream within a header block",
    PROTOCOL,
    (e) => {
      e.frame(FRAME.headers, 0, 1, block);
      e.frame(FRAME.headers, FLAG.endHeaders, 1, block);
    },
  ],
  [
    "6.10 CONTINUATION of another stream",
    PROTOCOL,
    (e) => {
      e.frame(FRAME.headers, 0, 1, block);
      e.frame(FRAME.continuation, FLAG.endHeaders, 3, block);
    },
  ],
  [
    "6.10 CONTINUATION of stream 0",
    PROTOCOL,
    (e) => {
      e.frame(FRAME.headers, 0, 1, block);
      e.frame(FRAME.continuation, FLAG.endHeaders, 0, block);
    },
  ],
  [
    "6.10 CONTINUATION without HEADERS",
    PROTOCOL,
    (e) => e.frame(FRAME.continuation, FLAG.endHeaders, 1, block),
  ],
  [
    "6.10 CONTINUATION behind a block that is whole",
    PROTOCOL,
    (e) => {
      e.frame(FRAME.headers, FLAG.endHeaders | FLAG.endStream, 1);
      e.frame(FRAME.continuation, FLAG.endHeaders, 1);
    },
  ],
  [
    "6.10 CONTINUATION behind DATA",
    PROTOCOL,
    (e) => {
      e.frame(FRAME.data, FLAG.endStream, 1);
      e.frame(FRAME.continuation, FLAG.endHeaders, 1, block);
    },
  ],
];

export const STREAMS: readonly ConnectionError[] = [
  ["5.1 idle: DATA", PROTOCOL, (e) => e.frame(FRAME.data, 0, NEVER, zeros(3))],
  ["5.1 idle: RST_STREAM", PROTOCOL, (e) => e.word(FRAME.rstStream, NEVER, CODE.cancel)],
  ["5.1 idle: WINDOW_UPDATE", PROTOCOL, (e) => e.word(FRAME.windowUpdate, NEVER, 1)],
  ["5.1 idle: CONTINUATION", PROTOCOL, (e) => e.frame(FRAME.continuation, 4, NEVER, block)],
  ["5.1 idle, of the server's: DATA", PROTOCOL, (e) => e.frame(FRAME.data, 0, 2, zeros(3))],
  ["5.1 idle, of the server's: RST_STREAM", PROTOCOL, (e) => e.word(FRAME.rstStream, 2, 0)],
  ["5.1 idle, of the server's: WINDOW_UPDATE", PROTOCOL, (e) => e.word(FRAME.windowUpdate, 2, 1)],
  ["5.1.1 HEADERS of the server's streams", PROTOCOL, (e) => e.headers(2, GET_FIELDS)],
  ["6.1 DATA of stream 0", PROTOCOL, (e) => e.frame(FRAME.data, 0, 0, zeros(3))],
  ["6.1 padding as long as its frame", PROTOCOL, (e) => e.frame(FRAME.data, 8, 1, bytes(3, 0, 0))],
  ["6.1 padding longer than its frame", PROTOCOL, (e) => e.frame(FRAME.data, 8, 1, bytes(255, 0))],
  ["6.2 HEADERS of stream 0", PROTOCOL, (e) => e.headers(0, GET_FIELDS)],
  ["6.2 padding as long as its frame", PROTOCOL, (e) => e.frame(FRAME.headers, 12, 1, bytes(2, 0))],
  [
    "6.2 padding that reaches into the priority",
    PROTOCOL,
    (e) =>
      e.frame(
        FRAME.headers,
        FLAG.endHeaders | FLAG.padded | FLAG.priority,
        1,
        bytes(3, 0, 0, 0, 0, 0, 0, 0),
      ),
  ],
  ["6.3 PRIORITY of stream 0", PROTOCOL, (e) => e.frame(FRAME.priority, 0, 0, zeros(5))],
  ["6.4 RST_STREAM of stream 0", PROTOCOL, (e) => e.word(FRAME.rstStream, 0, CODE.cancel)],
  ["6.4 RST_STREAM of 3 octets", SIZE, (e) => e.frame(FRAME.rstStream, 0, 1, zeros(3))],
  ["6.4 RST_STREAM of 5 octets", SIZE, (e) => e.frame(FRAME.rstStream, 0, 1, zeros(5))],
];

const setting = (name: number, value: number) => (e: Http2End) => e.setting(name, value);

export const CONTROL: readonly ConnectionError[] = [
  ["6.5 SETTINGS of a stream", PROTOCOL, (e) => e.frame(FRAME.settings, 0, 1)],
  ["6.5 an acknowledgement with content", SIZE, (e) => e.frame(FRAME.settings, 1, 0, zeros(6))],
  ["6.5 SETTINGS of 5 octets", SIZE, (e) => e.frame(FRAME.settings, 0, 0, zeros(5))],
  ["6.5 SETTINGS of 7 octets", SIZE, (e) => e.frame(FRAME.settings, 0, 0, zeros(7))],
  ["6.5.2 ENABLE_PUSH of 2", PROTOCOL, setting(SETTING.enablePush, 2)],
  ["6.5.2 INITIAL_WINDOW_SIZE of 2^31", FLOW, setting(SETTING.initialWindowSize, 2 ** 31)],
  ["6.5.2 INITIAL_WINDOW_SIZE of 2^32-1", FLOW, setting(SETTING.initialWindowSize, 2 ** 32 - 1)],
  ["6.5.2 MAX_FRAME_SIZE of 16383", PROTOCOL, setting(SETTING.maxFrameSize, 16_383)],
  ["6.5.2 MAX_FRAME_SIZE of 2^24", PROTOCOL, setting(SETTING.maxFrameSize, 2 ** 24)],
  [
    "6.6 PUSH_PROMISE, which the server may not hear and the client did not allow",
    PROTOCOL,
    (e) => e.frame(FRAME.pushPromise, FLAG.endHeaders, 1, bytes(0, 0, 0, 2, 0x82)),
  ],
  ["6.7 PING of a stream", PROTOCOL, (e) => e.frame(FRAME.ping, 0, 1, zeros(8))],
  ["6.7 PING of 7 octets", SIZE, (e) => e.frame(FRAME.ping, 0, 0, zeros(7))],
  ["6.7 PING of 9 octets", SIZE, (e) => e.frame(FRAME.ping, 0, 0, zeros(9))],
  ["6.7 an answer to PING of 4 octets", SIZE, (e) => e.frame(FRAME.ping, 1, 0, zeros(4))],
  ["6.8 GOAWAY of a stream", PROTOCOL, (e) => e.frame(FRAME.goaway, 0, 1, zeros(8))],
  ["6.8 GOAWAY of 7 octets", SIZE, (e) => e.frame(FRAME.goaway, 0, 0, zeros(7))],
  ["6.9 WINDOW_UPDATE of the connection by 0", PROTOCOL, (e) => e.word(FRAME.windowUpdate, 0, 0)],
  ["6.9 WINDOW_UPDATE of 3 octets", SIZE, (e) => e.frame(FRAME.windowUpdate, 0, 1, zeros(3))],
  ["6.9 WINDOW_UPDATE of 5 octets", SIZE, (e) => e.frame(FRAME.windowUpdate, 0, 0, zeros(5))],
  [
    "6.9.1 a window of the connection beyond 2^31-1",
    FLOW,
    (e) => e.word(FRAME.windowUpdate, 0, 2 ** 31 - 1),
  ],
  [
    "6.9.2 settings that take a stream's window beyond 2^31-1",
    FLOW,
    (e) => {
      e.word(FRAME.windowUpdate, 1, 2 ** 31 - 1 - 65_535);
      e.setting(SETTING.initialWindowSize, 65_536);
    },
  ],
];
