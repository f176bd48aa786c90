// The accepting side of an HTTP/2 connection: streams of a client come to lanes, which are given to the owner when they are new.
import type { CloseReason, Stream } from "../../base/net.ts";
import { Http2Connection } from "./connection.ts";
import { FIELD_BYTES_MAX } from "./field-list.ts";
import type { Mistake } from "./field-rules.ts";
import { CODE, PREFACE, SETTING, STREAM_ID_MAX } from "./frame.ts";
import { writeStatus } from "./from-http1.ts";
import type { KnownHead } from "./known-heads.ts";
import type { Lane } from "./lane.ts";
import { ServerLane } from "./server-lane.ts";
import type { Http2Deps } from "./shared-by-thread.ts";
import type { Windows } from "./windows.ts";

/** Of a client, open at once. */
export const STREAMS_MAX = 250;
const SETTINGS = [
  [SETTING.maxConcurrentStreams, STREAMS_MAX],
  [SETTING.maxHeaderListSize, FIELD_BYTES_MAX],
  [SETTING.enableConnectProtocol, 1],
] as const;
const FIELDS_TOO_LONG = 431;
const NOT_IMPLEMENTED = 501;

export interface LeftStream {
  readonly stream: Stream;
  readonly rest: Uint8Array;
}

export interface ServerEvents {
  /** A new lane: its handler must be set, or it is closed, and the stream is refused. */
  onLane(lane: Stream): boolean;
  /** Bytes came or went: not idle. */
  onActive(): void;
  /** `left`: all was said on that stream but for `rest`, which it has not taken, and who closes it should listen a while. Undefined: it is
   *  closed. */
  onOver(left: LeftStream | undefined): void;
}

export class ServerConnection extends Http2Connection {
  override readonly isServer = true;
  readonly #events: ServerEvents;
  readonly #idle: ServerLane[] = [];
  readonly #all = new Set<Lane>();
  #prefaceLeft = PREFACE.length;
  #left: LeftStream | undefined;
  /** `asked`: GOAWAY is out, and a ping is under way behind which no stream comes that the client could have begun before it read it. */
  #retirement: "none" | "asked" | "said" = "none";

  constructor(
    deps: Http2Deps,
    events: ServerEvents,
    stream: Stream,
    settings: readonly (readonly [number, number])[] = SETTINGS,
    windows?: Windows,
  ) {
    super(deps, windows);
    this.#events = events;
    stream.handler = this;
    this.start(stream, settings);
  }

  override onOpen(): void {}

  override onData(stream: Stream, bytes: Uint8Array, start: number, end: number): void {
    let at = start;
    for (; at < end && this.#prefaceLeft > 0; at++, this.#prefaceLeft--) {
      if (bytes[at] === PREFACE[PREFACE.length - this.#prefaceLeft]) continue;
      this.fail(CODE.protocolError, "preface");
      return;
    }
    if (at < end) super.onData(stream, bytes, at, end);
    this.#events.onActive();
  }

  /** A request came, whatever became of it. */
  get hasAsked(): boolean {
    return this.history.last > 0;
  }

  protected override isIdle(id: number): boolean {
    return id % 2 === 0 || (id > this.history.last && this.#retirement !== "said");
  }

  /** RFC 9113 6.8: of streams that the client was told nothing is done with, whatever comes is nobody's. */
  protected override late(id: number): void {
    if (id > this.history.last) this.spendIdle("late_frames");
    else super.late(id);
  }

  /** A request, of which everything else is looked at as ever. */
  protected override takeKnown(id: number, isLast: boolean): boolean {
    const known = this.lanes.has(id) ? undefined : this.findKnown(isLast);
    if (known === undefined) return false;
    this.enterKnown(known);
    this.onNewFields(id, isLast, known);
    return true;
  }

  protected override onNewFields(id: number, isLast: boolean, known?: KnownHead): void {
    if (id % 2 === 0) this.fail(CODE.protocolError, "stream_id");
    else if (this.history.wasSkipped(id)) this.fail(CODE.protocolError, "stream_id");
    else if (id <= this.history.last || this.#retirement === "said") this.late(id);
    else {
      this.history.began(id);
      this.guard.moved();
      if (this.lanes.size >= STREAMS_MAX) this.refuseStream(id, CODE.refusedStream, "streams_max");
      else if (known === undefined && this.deps.fields.isTooLong)
        this.answer(id, FIELDS_TOO_LONG, "fields_too_long");
      else this.serveStream(id, isLast, known);
    }
  }

  /** A stream begins, whose head is in `deps.fields`, or known. */
  protected serveStream(id: number, isLast: boolean, known?: KnownHead): void {
    const lane = this.#takeLane();
    if (lane === undefined) {
      this.refuseStream(id, CODE.refusedStream, "connections_max");
      return;
    }
    this.lanes.set(id, lane);
    const malformed =
      known === undefined ? lane.open(id, this.deps.fields, isLast) : lane.openKnown(id, known);
    if (malformed === undefined) return;
    this.lanes.delete(id);
    this.#idle.push(lane); // it was shown nothing
    if (malformed === "protocol_unsupported") this.answer(id, NOT_IMPLEMENTED, malformed);
    else this.refuseStream(id, CODE.protocolError, malformed);
  }

  #takeLane(): ServerLane | undefined {
    for (let idle = this.#idle.pop(); idle !== undefined; idle = this.#idle.pop()) {
      if (idle.isReusable) return idle;
    }
    const lane = new ServerLane(this, IGNORE);
    if (!this.#events.onLane(lane)) return undefined;
    this.#all.add(lane);
    return lane;
  }

  /** A lane of the stream's own. */
  protected adopt(id: number, lane: Lane): void {
    this.#all.add(lane);
    this.lanes.set(id, lane);
  }

  /** Without a body, and whatever the rest of the request is. */
  protected answer(id: number, status: number, reason: Mistake): void {
    this.count(reason);
    const at = this.beginBlock(16);
    this.out.endBlock(id, writeStatus(this.out.bytes, at, status), true);
    this.resetStream(id, CODE.noError);
    if (!this.guard.allowsReset()) this.fail(CODE.enhanceYourCalm, "made_you_reset");
  }

  override idleAgain(lane: Lane): void {
    if (lane instanceof ServerLane && lane.isReusable) this.#idle.push(lane);
  }

  override left(lane: Lane): void {
    this.#all.delete(lane);
    const at = this.#idle.indexOf(lane as ServerLane);
    if (at >= 0) this.#idle.splice(at, 1);
  }

  /** No more streams: RFC 9113 6.8, in two steps, so that none is lost that is on its way. Closes with the last. */
  retire(): void {
    if (this.#retirement !== "none" || this.state !== "open") return;
    this.#retirement = "asked";
    this.sendGoaway(STREAM_ID_MAX, CODE.noError);
    this.sendPing();
  }

  protected override onPong(): void {
    if (this.#retirement !== "asked") return;
    this.#retirement = "said";
    this.isRetiring = true;
    this.sendGoaway(this.history.last, CODE.noError);
    this.emptied();
  }

  /** The client is about to leave. What it asks all the same is answered. */
  protected override goneAway(): void {
    this.isRetiring = true;
    this.emptied();
  }

  protected override leave(stream: Stream, rest: Uint8Array): void {
    this.#left = { stream, rest };
  }

  protected override ended(reason: CloseReason): void {
    this.#idle.length = 0;
    const lanes = [...this.#all].filter((lane) => lane.streamId === 0);
    for (const lane of lanes) lane.died(reason);
    this.#events.onOver(this.#left);
  }
}

const IGNORE = { onOpen() {}, onData() {}, onWritable() {}, onEnd() {}, onClose() {} };
