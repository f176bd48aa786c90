// What the HTTP/2 connections of one thread share, made once.
import type { Timers } from "../../base/clock.ts";
import type { Scratch } from "../../base/net.ts";
import { HEAD_LIMITS, type HeadLimits, RequestHead, ResponseHead } from "../http1/head.ts";
import { FieldList } from "./field-list.ts";
import { MessageFacts } from "./field-rules.ts";
import { SaidHeads } from "./said-heads.ts";
import { WriteBuffers } from "./write-buffers.ts";

/** Both sides of the handshake that WebSocket has in HTTP/1.1 only, RFC 6455 4. */
export interface WebSocketKeys {
  /** A new Sec-WebSocket-Key, of 16 random bytes. */
  make(): string;
  /** The Sec-WebSocket-Accept that shows a key was read. */
  acceptOf(key: string): string;
}

/** One event is handled at a time, so that records are shared too. */
export interface Http2Deps {
  /** Runs it after the events at hand, before the thread sleeps. */
  soon(task: () => void): void;
  now(): number;
  /** Heads and trailers that came are added to it: one event may bring many. */
  readonly arrivals: { messages: number };
  readonly timers: Timers;
  /** At least 16 KiB and EDIT_ROOM. */
  readonly stage: Scratch;
  readonly writeBuffers: WriteBuffers;
  readonly fields: FieldList;
  readonly facts: MessageFacts;
  /** Of what the data path writes: it has added to what peers may send. */
  readonly headLimits: HeadLimits;
  readonly requestHead: RequestHead;
  readonly responseHead: ResponseHead;
  readonly saidHeads: SaidHeads;
  readonly webSocketKeys: WebSocketKeys;
  /** A bug of ours: its connection ends. */
  bug(error: unknown): void;
  /** Something of a peer's was refused; `reason` is one of a few words. */
  count(reason: string): void;
}

/** What agents and routes add on the way, twice over. */
const FIELDS_ADDED_MAX = 128;
const BYTES_ADDED_MAX = 32_768;

/** `headersMax`: fields of a head that a peer may send. */
export const sharedByThread = (
  headersMax: number,
  deps: Pick<
    Http2Deps,
    "soon" | "now" | "arrivals" | "timers" | "stage" | "webSocketKeys" | "bug" | "count"
  >,
): Http2Deps => ({
  ...deps,
  writeBuffers: new WriteBuffers(),
  fields: new FieldList(headersMax),
  headLimits: {
    ...HEAD_LIMITS,
    headBytesMax: HEAD_LIMITS.headBytesMax + BYTES_ADDED_MAX,
    headersMax: headersMax + FIELDS_ADDED_MAX,
  },
  facts: new MessageFacts(),
  requestHead: new RequestHead(headersMax + FIELDS_ADDED_MAX),
  responseHead: new ResponseHead(headersMax + FIELDS_ADDED_MAX),
  saidHeads: new SaidHeads(),
});
