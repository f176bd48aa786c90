// One HTTP/2 connection, RFC 9113, of either role: its streams, which are lanes (lane.ts), the windows, and how it ends. Sans-io but for the
// Stream it is given.
//
//   connecting -> open -> retiring (GOAWAY sent or received, streams under way go on) -> over
//
// Bounds: Windows.connection bytes that were received and not shown, over all streams; those of frame-receiver.ts (what comes),
// flood-guard.ts (what a peer makes us do for nothing) and frame-writer.ts (what it makes us send and does not read).
import { type CloseReason, EDIT_ROOM, type Stream, type StreamHandler } from "../../base/net.ts";
import type { FieldList } from "./field-list.ts";
import { codeOf } from "./field-rules.ts";
import { CODE, FLAG, FRAME, type Frame, WINDOW_AT_FIRST, WINDOW_MAX, writeWord } from "./frame.ts";
import { FrameReceiver } from "./frame-receiver.ts";
import { FrameWriter } from "./frame-writer.ts";
import { trailerBlockBytesMax, writeTrailerBlock } from "./from-http1.ts";
import { NO_TABLE } from "./hpack-encoder.ts";
import type { Lane } from "./lane.ts";
import { PeerSettings } from "./peer-settings.ts";
import type { Http2Deps } from "./shared-by-thread.ts";
import { StreamHistory } from "./stream-history.ts";
import { StreamTable } from "./stream-table.ts";
import { headBytesMax } from "./to-http1.ts";
import { WINDOWS, type Windows } from "./windows.ts";

/** Content that leaves in pieces no larger, because the peer's window has no room for more, earns the peer nothing: who gives it credit by
 *  the byte makes us send a frame for each. */
const DRIP_BYTES = 1_024;

export abstract class Http2Connection extends FrameReceiver implements StreamHandler {
  abstract readonly isServer: boolean;
  readonly deps: Http2Deps;
  readonly out: FrameWriter;
  protected readonly lanes = new StreamTable<Lane>();
  protected readonly peer = new PeerSettings();
  protected readonly history = new StreamHistory();
  protected stream: Stream | undefined;
  protected state: "connecting" | "open" | "over" = "connecting";
  isRetiring = false;
  sendWindow = WINDOW_AT_FIRST;
  readonly windows: Windows;
  #receiveWindow: number;
  #consumedBytes = 0;
  readonly #waiting: Lane[] = [];
  #isWakeDue = false;
  /** The next block says that our table is empty: the first, and each behind a change of what the peer allows (RFC 9113 4.3.1). */
  #saysTable = true;
  /** Made once: each stream that ends asks for them. */
  readonly #wakeTask = (): void => this.#wake();
  readonly #emptyTask = (): void => this.emptied();

  constructor(deps: Http2Deps, windows: Windows = WINDOWS) {
    super(deps);
    this.deps = deps;
    this.windows = windows;
    this.#receiveWindow = windows.connection;
    this.out = new FrameWriter({
      buffers: deps.writeBuffers,
      soon: (task) => deps.soon(task),
      onOverflow: () => this.fail(CODE.enhanceYourCalm, "slow_read"),
    });
  }

  get peerAddress(): string {
    return this.stream?.peerAddress ?? "";
  }
  get peerPort(): number {
    return this.stream?.peerPort ?? 0;
  }
  get streamCount(): number {
    return this.lanes.size;
  }
  // ---- what lanes ask for

  soon(task: () => void): void {
    this.deps.soon(task);
  }
  count(reason: string): void {
    this.deps.count(reason);
  }
  /** What a stream may send at first. */
  get peerWindow(): number {
    return this.peer.initialWindow;
  }
  get canSend(): boolean {
    return this.state === "open" && this.out.room > 0;
  }
  get pieceBytesMax(): number {
    return this.deps.stage.end - this.deps.stage.start - EDIT_ROOM;
  }
  /** May a stream of ours begin now; see ClientConnection. */
  get mayOpen(): boolean {
    return false;
  }
  open(_lane: Lane): number {
    return 0;
  }

  /** Where to write a head or trailers: the stage, or an array of its own when it is long. */
  roomFor(fields: FieldList): { readonly bytes: Uint8Array; readonly start: number } {
    const most = headBytesMax(fields);
    return most <= this.pieceBytesMax
      ? this.deps.stage
      : { bytes: new Uint8Array(most + EDIT_ROOM), start: 0 };
  }

  /** Where in `out` a block of at most so many bytes may be built. */
  beginBlock(bytesMax: number): number {
    this.guard.moved();
    const at = this.out.beginBlock(bytesMax + 1);
    if (!this.#saysTable) return at;
    this.#saysTable = false;
    this.out.bytes[at] = NO_TABLE;
    return at + 1;
  }

  sendTrailers(id: number, lines: Uint8Array, length: number): void {
    const at = this.beginBlock(trailerBlockBytesMax(length));
    this.out.endBlock(id, writeTrailerBlock(lines, length, this.out.bytes, at), true);
  }

  /** Content left, `most` of it could have. */
  sentContent(bytes: number, most: number): void {
    if (bytes < most || bytes >= DRIP_BYTES) this.guard.moved();
  }

  /** Calls its writable() once there may be room. */
  wait(lane: Lane): void {
    if (lane.isWaiting) return;
    lane.isWaiting = true;
    if (lane.isBlocked) return; // its own window's credit wakes it
    this.#waiting.push(lane);
    if (this.out.isFull) this.wakeSoon(); // behind the flush that is due
  }

  wakeSoon(): void {
    if (this.#isWakeDue || this.#waiting.length === 0) return;
    this.#isWakeDue = true;
    this.soon(this.#wakeTask);
  }

  #wake(): void {
    this.#isWakeDue = false;
    for (let turns = this.#waiting.length; turns > 0 && this.canSend; turns--)
      this.#waiting.shift()?.writable();
  }

  /** The lane's stream is over; `lane`: it is free for the next. */
  forget(id: number, lane: Lane | undefined): void {
    this.lanes.delete(id);
    this.wakeSoon();
    if (lane !== undefined) this.idleAgain(lane);
    this.#settleEmpty();
  }

  /** For the server: a lane that the next stream may take. */
  idleAgain(_lane: Lane): void {}
  /** Its owner has left it, or it died. */
  left(_lane: Lane): void {}
  /** No stream is under way. */
  protected emptied(): void {
    if (this.isRetiring && this.lanes.size === 0) this.end();
  }

  resetStream(id: number, code: number): void {
    if (this.state !== "open") return;
    this.out.word(FRAME.rstStream, id, code);
    this.history.wasReset(id);
  }

  /** So much of what was received is with its reader, or nobody's. */
  consumed(bytes: number): void {
    this.#consumedBytes += bytes;
    if (this.#consumedBytes < this.windows.connection / 2) return;
    this.sendCredit(0, this.#consumedBytes);
    this.#receiveWindow += this.#consumedBytes;
    this.#consumedBytes = 0;
  }

  sendCredit(id: number, bytes: number): void {
    if (this.state === "open") this.out.word(FRAME.windowUpdate, id, bytes);
  }

  // ---- beginning and end

  /** The connection stands: ours is said first. */
  protected start(stream: Stream, settings: readonly (readonly [number, number])[]): void {
    this.stream = stream;
    this.state = "open";
    const at = this.out.frame(FRAME.settings, 0, 0, settings.length * 6);
    settings.forEach(([name, value], i) => {
      this.out.bytes[at + 6 * i] = 0;
      this.out.bytes[at + 6 * i + 1] = name;
      writeWord(this.out.bytes, at + 6 * i + 2, value);
    });
    this.out.word(FRAME.windowUpdate, 0, this.windows.connection - WINDOW_AT_FIRST);
    this.out.open(stream);
  }

  protected sendGoaway(last: number, code: number): void {
    const at = this.out.frame(FRAME.goaway, 0, 0, 8);
    writeWord(this.out.bytes, at, last);
    writeWord(this.out.bytes, at + 4, code);
  }

  override fail(code: number, reason: string): void {
    if (this.state === "over") return;
    this.count(reason);
    if (this.state === "open") this.sendGoaway(this.isServer ? this.history.last : 0, code);
    this.end();
  }

  /** Says what there is to say, and closes. */
  end(): void {
    if (this.state === "over") return;
    this.out.flush();
    if (this.stream !== undefined) this.leave(this.stream, this.out.unsent);
    this.over({ is: "failed", code: "ECONNRESET" });
  }

  /** All is said on it, but for `rest`, which it has not taken. */
  protected abstract leave(stream: Stream, rest: Uint8Array): void;

  cut(): void {
    if (this.state === "over") return;
    this.stream?.reset();
    this.over({ is: "failed", code: "ECONNRESET" });
  }

  protected over(reason: CloseReason): void {
    if (this.state === "over") return;
    this.state = "over";
    this.isRetiring = true;
    this.stopReading();
    this.out.stop();
    const lanes = this.lanes.values();
    this.lanes.clear();
    this.ended(reason);
    for (const lane of lanes) lane.died(reason);
  }

  /** It is over: its idle lanes are the subclass's. */
  protected abstract ended(reason: CloseReason): void;

  // ---- the connection's events

  abstract onOpen(stream: Stream): void;

  onData(_stream: Stream, bytes: Uint8Array, start: number, end: number): void {
    if (this.state !== "open") return;
    try {
      this.reader.read(bytes, start, end);
    } catch (error) {
      this.deps.bug(error);
      this.cut();
    }
  }
  onWritable(): void {
    this.out.flush();
    this.#wake();
  }
  onEnd(): void {
    this.out.flush();
    this.stream?.close();
    this.over({ is: "failed", code: "ECONNRESET" });
  }
  onClose(_stream: Stream, reason: CloseReason): void {
    this.over(reason);
  }

  // ---- frames

  protected override onFields(id: number, fields: FieldList, isLast: boolean): void {
    const lane = this.lanes.get(id);
    if (lane === undefined) {
      this.onNewFields(id, isLast);
      return;
    }
    const wrong = fields.isTooLong ? "fields_too_long" : lane.receiveFields(fields, isLast);
    if (wrong !== undefined) this.refuseStream(id, codeOf(wrong), wrong);
  }

  /** `deps.fields` were decoded for a stream that is not under way. */
  protected abstract onNewFields(id: number, isLast: boolean): void;

  /** Of a stream that is over: not a mistake if we reset it, and the peer could not know. */
  protected late(id: number): void {
    if (this.history.mayHearLate(id)) this.spendIdle("late_frames");
    else this.fail(CODE.streamClosed, "stream_closed");
  }

  protected override onContent(
    { stream: id, length, flags }: Readonly<Frame>,
    bytes: Uint8Array,
    start: number,
    end: number,
    isEditable: boolean,
  ): void {
    this.#receiveWindow -= length;
    if (this.#receiveWindow < 0) {
      this.fail(CODE.flowControlError, "flow_control");
      return;
    }
    const lane = this.lanes.get(id);
    if (lane === undefined) {
      this.consumed(length);
      this.late(id);
      return;
    }
    if (start < end) this.guard.moved();
    const isEnd = (flags & FLAG.endStream) !== 0;
    const wrong = lane.receiveData(bytes, start, end, length, isEnd, isEditable);
    if (wrong === undefined) return;
    this.consumed(length);
    this.refuseStream(id, codeOf(wrong), wrong);
  }

  /** A mistake that ends the stream, RFC 9113 5.4.2. */
  protected refuseStream(id: number, code: number, reason: string): void {
    this.count(reason);
    if (!this.guard.allowsReset()) {
      this.fail(CODE.enhanceYourCalm, "made_you_reset");
      return;
    }
    const lane = this.lanes.get(id);
    this.lanes.delete(id);
    this.resetStream(id, code);
    lane?.died({ is: "failed", code: "EPROTO" });
    this.#settleEmpty();
  }

  protected override onReset(id: number, code: number): void {
    const lane = this.lanes.get(id);
    if (lane === undefined) {
      this.spendIdle("late_frames");
      return;
    }
    if (this.isServer && !this.guard.allowsReset()) {
      this.fail(CODE.enhanceYourCalm, "rapid_reset");
      return;
    }
    this.lanes.delete(id);
    lane.peerReset(code);
    this.wakeSoon();
    this.#settleEmpty();
  }

  protected override onPriority(id: number, isWellFormed: boolean): void {
    if (isWellFormed) return;
    if (this.lanes.has(id)) this.refuseStream(id, CODE.frameSizeError, "frame_size");
    else this.sizeError();
  }

  protected override onSettings(bytes: Uint8Array, start: number, end: number): void {
    const before = this.peer.initialWindow;
    const refused = this.peer.read(bytes, start, end, this.isServer);
    if (this.peer.hasResizedTable) this.#saysTable = true;
    const change = this.peer.initialWindow - before;
    if (refused !== undefined) this.fail(refused, "settings");
    else if (change !== 0 && this.lanes.values().some((lane) => !lane.credited(change)))
      this.fail(CODE.flowControlError, "flow_control");
    else {
      this.out.frame(FRAME.settings, FLAG.ack, 0, 0);
      this.wakeSoon(); // more streams may be allowed
    }
  }

  protected override onPing(bytes: Uint8Array, start: number): void {
    const at = this.out.frame(FRAME.ping, FLAG.ack, 0, 8);
    for (let i = 0; i < 8; i++) this.out.bytes[at + i] = bytes[start + i] as number;
  }

  protected sendPing(): void {
    const at = this.out.frame(FRAME.ping, 0, 0, 8);
    this.out.bytes.fill(0, at, at + 8);
  }

  protected override onWindow(id: number, bytes: number): void {
    if (id === 0) {
      this.sendWindow += bytes;
      if (bytes === 0) this.fail(CODE.protocolError, "window_update");
      else if (this.sendWindow > WINDOW_MAX) this.fail(CODE.flowControlError, "flow_control");
      else this.wakeSoon();
    } else if (bytes === 0) {
      if (this.lanes.has(id)) this.refuseStream(id, CODE.protocolError, "window_update");
    } else if (this.lanes.get(id)?.credited(bytes) === false)
      this.refuseStream(id, CODE.flowControlError, "flow_control");
  }

  #settleEmpty(): void {
    if (this.lanes.size === 0) this.soon(this.#emptyTask);
  }
}
