// Carries bytes between two streams without looking at them: opaque TCP, and what an Upgrade became. Each direction holds at most
// what one event brought; its source is paused until that is gone. The end of one direction is passed on, and the other stays open.
import type { CloseReason, DialTarget, Stream } from "../base/net.ts";
import type { Deadline } from "../base/timer-wheel.ts";
import { Guarded } from "./guarded.ts";
import type { OpenConnection } from "./open-connections.ts";
import { Outbox } from "./outbox.ts";
import type { FirstWord } from "./server-first.ts";
import type { ThreadContext } from "./thread-context.ts";

export interface RelayHooks {
  /** Last call. */
  ended(relay: Relay): void;
  /** The dial came to nothing: where to try next, or undefined. */
  connectFailed?(code: string): DialTarget | undefined;
  connected?(): void;
  /** Bytes taken from downstream, and bytes meant for it: as they come, so that a long life shows in the metrics. */
  moved?(receivedBytes: number, sentBytes: number): void;
  /** Once: whose the first byte was. */
  spoke?: FirstWord | undefined;
  /** The dial under way goes to a host that is down. */
  isHopeless?(): boolean;
  /** A snapshot replaced the one it began with; false: it must go. */
  mayStay?(): boolean;
}

/** One of the two streams, and what waits to be sent on it. */
class RelaySide extends Guarded {
  readonly outbox: Outbox;
  readonly relay: Relay;
  stream: Stream | undefined;
  isConnected = false;
  /** Its peer has ended. */
  hasEnded = false;
  /** We ended our direction. */
  isEnding = false;
  sentBytes = 0;
  isPaused = false;

  constructor(relay: Relay, context: ThreadContext) {
    super(context);
    this.relay = relay;
    this.outbox = new Outbox(context.buffers);
  }

  take(stream: Stream): void {
    this.stream = stream;
    this.isConnected = true;
    stream.handler = this;
  }

  pause(): void {
    this.isPaused = true;
    this.stream?.pause();
  }

  resume(): void {
    if (!this.isPaused) return;
    this.isPaused = false;
    this.stream?.resume();
  }

  protected override opened(stream: Stream): void {
    this.stream = stream;
    this.isConnected = true;
    this.relay.upstreamOpened(this);
  }
  protected override received(_s: Stream, bytes: Uint8Array, start: number, end: number): void {
    this.relay.carry(this, bytes, start, end);
  }
  protected override writable(): void {
    this.relay.flush(this);
  }
  protected override ended(): void {
    this.hasEnded = true;
    this.relay.passEnd(this);
  }
  protected override closed(_stream: Stream, reason: CloseReason): void {
    this.relay.sideClosed(this, reason);
  }
  protected override abandon(): void {
    this.relay.cut();
  }
}

export class Relay implements OpenConnection {
  openAt = -1;
  readonly #context: ThreadContext;
  readonly #hooks: RelayHooks;
  readonly #down: RelaySide;
  readonly #up: RelaySide;
  readonly #deadline: Deadline;
  #activeMs: number;
  #connectDueMs = Number.POSITIVE_INFINITY;
  #connectTimeoutMs = 0;
  #isOver = false;
  #hasSpoken = false;
  /** How it ended, as an Envoy response flag. */
  flags = "-";
  /** Why the last dial came to nothing. */
  transportFailure: string | undefined;

  constructor(downstream: Stream, context: ThreadContext, hooks: RelayHooks) {
    this.#context = context;
    this.#hooks = hooks;
    this.#down = new RelaySide(this, context);
    this.#up = new RelaySide(this, context);
    this.#activeMs = context.nowMs();
    this.#deadline = context.deadline(() => this.#runDeadline());
    this.#deadline.set(this.#activeMs + context.config.tcpIdleTimeoutMs);
    context.admit(this);
    this.#down.take(downstream);
  }

  /** Bytes from downstream, and bytes to it. */
  get receivedBytes(): number {
    return this.#up.sentBytes;
  }
  get sentBytes(): number {
    return this.#down.sentBytes;
  }

  dial(target: DialTarget, connectTimeoutMs: number): void {
    this.#connectTimeoutMs = connectTimeoutMs;
    this.#connectDueMs = this.#context.nowMs() + connectTimeoutMs;
    if (this.#connectDueMs < this.#deadline.atMs) this.#deadline.set(this.#connectDueMs);
    this.#up.stream = this.#context.deps.network.dial(target, this.#up);
  }

  /** An upstream that is connected already. */
  adopt(upstream: Stream): void {
    this.#up.take(upstream);
  }

  sendUp(bytes: Uint8Array, start: number, end: number): void {
    if (end > start) this.carry(this.#down, bytes, start, end);
  }

  sendDown(bytes: Uint8Array, start: number, end: number): void {
    if (end > start) this.carry(this.#up, bytes, start, end);
  }

  downstreamEnded(): void {
    this.#down.hasEnded = true;
    this.passEnd(this.#down);
  }

  upstreamOpened(side: RelaySide): void {
    if (this.#isOver) return;
    this.#connectDueMs = Number.POSITIVE_INFINITY;
    this.#hooks.connected?.();
    this.flush(side);
  }

  carry(from: RelaySide, bytes: Uint8Array, start: number, end: number): void {
    if (this.#isOver) return;
    this.#activeMs = this.#context.nowMs();
    const to = from === this.#down ? this.#up : this.#down;
    if (!this.#hasSpoken) this.#hooks.spoke?.(from === this.#down ? "client" : "server");
    this.#hasSpoken = true;
    to.sentBytes += end - start;
    if (to === this.#up) this.#hooks.moved?.(end - start, 0);
    else this.#hooks.moved?.(0, end - start);
    const stream = to.isConnected ? to.stream : undefined;
    if (!to.outbox.send(stream, bytes, start, end)) from.pause();
  }

  flush(side: RelaySide): void {
    if (this.#isOver || side.stream === undefined || !side.isConnected) return;
    if (side.outbox.unsentBytes > 0) this.#activeMs = this.#context.nowMs();
    if (!side.outbox.flush(side.stream)) return;
    const from = side === this.#down ? this.#up : this.#down;
    if (from.hasEnded) this.passEnd(from);
    else from.resume();
  }

  passEnd(from: RelaySide): void {
    const to = from === this.#down ? this.#up : this.#down;
    if (this.#isOver || to.isEnding || !to.isConnected || to.outbox.unsentBytes > 0) return;
    to.isEnding = true;
    to.stream?.endWrite();
    if (from.isEnding && to.hasEnded) this.#closeBoth();
  }

  sideClosed(side: RelaySide, reason: CloseReason): void {
    if (this.#isOver) return;
    if (reason.is === "connect_failed") this.#connectFailed(reason.code);
    else if (reason.is === "ended") {
      const other = side === this.#down ? this.#up : this.#down;
      side.hasEnded = true;
      side.isConnected = false;
      if (other.outbox.unsentBytes > 0 || !other.isEnding) this.passEnd(side);
      if (other.outbox.unsentBytes === 0) this.#closeBoth();
    } else this.cut();
  }

  #connectFailed(code: string): void {
    this.transportFailure = code;
    this.#context.countConnectFailure(code);
    this.#connectDueMs = Number.POSITIVE_INFINITY;
    const next = this.#hooks.connectFailed?.(code);
    if (next === undefined) {
      this.flags = "UF";
      this.cut();
    } else this.dial(next, this.#connectTimeoutMs);
  }

  #runDeadline(): void {
    const nowMs = this.#context.nowMs();
    if (this.#connectDueMs <= nowMs) {
      this.#up.stream?.close();
      this.#connectFailed("ETIMEDOUT");
    } else if (this.#activeMs + this.#context.config.tcpIdleTimeoutMs <= nowMs) {
      this.flags = "SI";
      this.cut();
    }
    if (this.#isOver) return;
    const idleDueMs = this.#activeMs + this.#context.config.tcpIdleTimeoutMs;
    this.#deadline.set(Math.min(this.#connectDueMs, idleDueMs));
  }

  #closeBoth(): void {
    this.#down.stream?.close();
    this.#up.stream?.close();
    this.#over();
  }

  /** A dial to a host that is down need not wait for its timeout. */
  hostsChanged(): void {
    const isDialling = this.#connectDueMs < Number.POSITIVE_INFINITY && !this.#up.isConnected;
    if (this.#isOver || !isDialling || this.#hooks.isHopeless?.() !== true) return;
    this.#up.stream?.close();
    this.#connectFailed("host_down");
  }

  drain(): void {} // an opaque connection has no end we know of; the drain's deadline cuts it

  reconsider(): void {
    if (this.#hooks.mayStay?.() === false) this.cut();
  }

  endIdle(): number {
    return Number.POSITIVE_INFINITY;
  }

  cut(): void {
    if (this.#isOver) return;
    this.#down.stream?.reset();
    this.#up.stream?.reset();
    this.#over();
  }

  #over(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#down.outbox.clear();
    this.#up.outbox.clear();
    this.#deadline.cancel();
    this.#context.dismiss(this);
    this.#hooks.ended(this);
  }
}
