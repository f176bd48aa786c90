// One downstream HTTP/1.1 connection: reads its requests one after the other, has each decided and carried, and lets the next begin
// when the answer before it is out. Bytes of the next request wait, unread, until then. What only a request under way needs lies in
// an Exchange that is borrowed for it: an idle connection is this object and its stream (112 bytes each), and has no deadline.
//
//   head -> body -> answering -> head ...      any -> closed, if need be by way of Lingering
import { type CloseReason, EDIT_ROOM, type Stream } from "../base/net.ts";
import type { RequestView } from "../policy/request-view.ts";
import { prefaceAt } from "../protocol/detect.ts";
import type { RequestHead } from "../protocol/http1/head.ts";
import { normalizeTarget } from "../protocol/http1/normalize.ts";
import { readRequestHead } from "../protocol/http1/read-request.ts";
import { NEED_MORE } from "../protocol/http1/refusal.ts";
import type { Exchange } from "./exchange.ts";
import { FAILURES, type Failure, nonsense } from "./failure.ts";
import { Guarded } from "./guarded.ts";
import { HeldBytes } from "./held-bytes.ts";
import type { HttpRole } from "./http-role.ts";
import type { HttpUpstream } from "./http-upstream.ts";
import { Http2Downstream } from "./http2-downstream.ts";
import { Lingering } from "./lingering.ts";
import type { OpenConnection } from "./open-connections.ts";
import type { ThreadContext } from "./thread-context.ts";
import { answerOf } from "./traffic-plan.ts";
import { openTunnel } from "./tunnel.ts";

type State = "head" | "body" | "answering" | "closed";

export class HttpConnection extends Guarded implements OpenConnection {
  openAt = -1;
  readonly #stream: Stream;
  readonly #role: HttpRole;
  #exchange: Exchange | undefined;
  #state: State = "head";
  /** Received and not yet used: an unfinished head, or requests that wait for their turn. */
  #held: HeldBytes | undefined;
  #isTaking = false;
  #isPaused = false;
  #hasEnded = false;
  #requests = 0;
  #activeMs: number;

  constructor(stream: Stream, role: HttpRole, context: ThreadContext) {
    super(context);
    this.#stream = stream;
    this.#role = role;
    this.#activeMs = context.nowMs();
    context.admit(this);
    stream.handler = this;
  }

  #borrow(): Exchange {
    this.#exchange ??= this.context.borrowExchange(this);
    return this.#exchange;
  }

  #giveExchangeBack(): void {
    const exchange = this.#exchange;
    this.#exchange = undefined;
    if (exchange !== undefined) this.context.giveBack(exchange);
  }

  // ---- reading requests

  protected override received(
    _stream: Stream,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): void {
    this.#activeMs = this.context.nowMs();
    const held = this.#held;
    if (held === undefined) this.#take(bytes, start, end, end + EDIT_ROOM);
    else if (this.#state === "answering") held.add(bytes, start, end);
    else if (held.addToHead(bytes, start, end)) this.#takeHeld(held);
  }

  #hold(bytes: Uint8Array, start: number, end: number): void {
    this.#held ??= new HeldBytes();
    this.#held.add(bytes, start, end);
  }

  #takeHeld(held: HeldBytes): void {
    this.#held = undefined;
    const bytes = held.take();
    this.#take(bytes, 0, bytes.length - EDIT_ROOM, bytes.length);
  }

  /** Uses as much of bytes[start..end) as the state allows and holds the rest. [end, limit) may be overwritten. */
  #take(bytes: Uint8Array, start: number, end: number, limit: number): void {
    this.#isTaking = true;
    let at = start;
    while (at < end) {
      if (this.#state === "head") at = this.#takeHead(bytes, at, end, limit);
      else if (this.#state === "body") at = this.#takeBody(bytes, at, end);
      else if (this.#state === "answering") {
        this.#hold(bytes, at, end);
        this.#pause();
        break;
      } else break;
    }
    this.#isTaking = false;
  }

  #takeHead(bytes: Uint8Array, start: number, end: number, limit: number): number {
    const preface = this.#requests === 0 ? prefaceAt(bytes, start, end) : "no";
    if (preface !== "no") return this.#takePreface(preface === "whole", bytes, start, end);
    const exchange = this.#borrow();
    const { context } = this;
    const head = context.requestHead;
    const headEnd = readRequestHead(head, bytes, start, end, context.headLimitsOf(this.#stream));
    if (headEnd === NEED_MORE) return this.#awaitHead(bytes, start, end);
    const refused = headEnd < 0 ? headEnd : normalizeTarget(head);
    this.#requests++;
    exchange.reset(this.#activeMs);
    if (refused < 0) {
      this.refuse(nonsense(refused));
      return end;
    }
    return this.#takeRequest(exchange, head, bytes, headEnd, end, limit);
  }

  #awaitHead(bytes: Uint8Array, start: number, end: number): number {
    this.#hold(bytes, start, end);
    this.#borrow().awaitHead(this.#activeMs);
    return end;
  }

  /** The client speaks HTTP/2, without having asked (RFC 9113 3.3). */
  #takePreface(isWhole: boolean, bytes: Uint8Array, start: number, end: number): number {
    if (!isWhole) return this.#awaitHead(bytes, start, end);
    const [stream, role] = [this.#stream, this.#role];
    const serve = (lane: Stream) => new HttpConnection(lane, role, this.context);
    this.#over();
    new Http2Downstream(stream, role, this.context, serve);
    stream.handler.onData(stream, bytes, start, end);
    return end;
  }

  #takeRequest(
    exchange: Exchange,
    head: RequestHead,
    bytes: Uint8Array,
    headEnd: number,
    end: number,
    limit: number,
  ): number {
    exchange.begin(head);
    const body = exchange.requestBody;
    let stop = headEnd;
    if (!body.isDone && headEnd < end) {
      stop = this.#scan(exchange, bytes, headEnd, end);
      if (stop < 0) return end;
    }
    this.#state = body.isDone ? "answering" : "body";
    const decision = this.#role.decide(head);
    if (decision.is === "answer") exchange.answer(decision);
    else if (decision.cluster === undefined) exchange.answer(answerOf(FAILURES.no_cluster));
    else {
      const { identityFields } = this.#role;
      exchange.forward(decision, head, identityFields, bytes, headEnd, stop, end, limit);
    }
    return stop;
  }

  #takeBody(bytes: Uint8Array, start: number, end: number): number {
    const exchange = this.#borrow();
    const stop = this.#scan(exchange, bytes, start, end);
    if (stop < 0) return end;
    if (exchange.requestBody.isDone) this.#state = "answering";
    exchange.pace.came(stop - start, this.#activeMs);
    if (exchange.state !== "over") exchange.sendRequest(bytes, start, stop);
    return stop;
  }

  /** How far the body goes; negative: it is nonsense and the connection is ending. */
  #scan(exchange: Exchange, bytes: Uint8Array, start: number, end: number): number {
    const scanned = exchange.requestBody.scan(bytes, start, end);
    if (scanned === NEED_MORE) return end;
    if (scanned >= 0) return scanned;
    // Answered in full already, and only not all of it taken: that answer is the last word.
    if (exchange.response.isComplete) this.#state = "answering";
    else if (exchange.state === "over") this.refuse(nonsense(scanned));
    else exchange.giveUp(nonsense(scanned));
    return scanned;
  }

  /** The client cannot be understood: one answer, and no more is read. */
  refuse(failure: Failure): void {
    const exchange = this.#borrow();
    exchange.response.keepsAlive = false;
    this.#state = "answering";
    exchange.answer(answerOf(failure));
  }

  // ---- what the exchange asks for

  /** The request at hand was received whole. */
  get isRequestDone(): boolean {
    return this.#state !== "body";
  }

  /** No request follows the one at hand, whatever it says itself. */
  get closesAfterThis(): boolean {
    const most = this.context.config.requestsPerConnectionMax;
    const isLast = this.#hasEnded || this.context.isDraining || this.#state === "body";
    return isLast || (most > 0 && this.#requests >= most);
  }

  /** Where it comes from. */
  get from(): Stream {
    return this.#stream;
  }

  sendResponse(bytes: Uint8Array, start: number, end: number): void {
    const exchange = this.#exchange;
    if (this.#state === "closed" || exchange === undefined) return;
    this.#activeMs = this.context.nowMs();
    if (!exchange.response.send(this.#stream, bytes, start, end)) exchange.pauseResponse();
  }

  /** Nothing more will be sent for this request. */
  responseDone(): void {
    const exchange = this.#exchange;
    if (this.#state === "closed" || exchange === undefined) return;
    exchange.response.isComplete = true;
    if (exchange.response.unsentBytes === 0) this.#next(exchange.response.keepsAlive);
  }

  #next(keepsAlive: boolean): void {
    // A request that waits was not for us any more if we said close; after the client's end it still is.
    const hasMore = keepsAlive && this.#held !== undefined && this.#state !== "body";
    const isLast = !keepsAlive || this.#state === "body" || this.#hasEnded;
    if (isLast && !hasMore) {
      this.#endInOrder();
      return;
    }
    this.#state = "head";
    this.#giveExchangeBack();
    if (this.context.endsIdle) this.drain(false);
    if (this.#state === "head" && !this.#isTaking) this.#goOn();
  }

  #goOn(): void {
    if (this.#held !== undefined) this.#takeHeld(this.#held);
    if (this.#state === "head" && this.#hasEnded) this.#endInOrder();
    else if (this.#state === "head" || this.#state === "body") this.#resume();
  }

  /** The upstream does not keep up with the request. */
  pauseRequest(): void {
    if (this.#state === "body") this.#pause();
  }

  resumeRequest(): void {
    if (this.#state === "body") this.#resume();
  }

  record(exchange: Exchange): void {
    this.#role.record(exchange, this.#stream);
  }

  recordMessages(exchange: Exchange): void {
    this.#role.recordMessages(exchange);
  }

  /** `up` answered 101 to `request` with the head in bytes[..headEnd). */
  becomeTunnel(
    request: RequestView,
    upstream: HttpUpstream,
    up: Stream,
    bytes: Uint8Array,
    headEnd: number,
    end: number,
  ): void {
    const role = this.#role;
    const ends = { down: this.#stream, up, upstream, mayStay: () => role.mayStay(request) };
    const said = { early: this.#held?.take(), hasEnded: this.#hasEnded };
    this.#over();
    if (openTunnel(ends, said, bytes, headEnd, end, this.context)) this.#resume();
  }

  // ---- flow

  #pause(): void {
    if (this.#isPaused) return;
    this.#isPaused = true;
    this.#stream.pause();
  }

  #resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#stream.resume();
  }

  protected override writable(): void {
    const exchange = this.#exchange;
    const response = exchange?.response;
    if (exchange === undefined || response === undefined || response.unsentBytes === 0) return;
    if (!response.flush(this.#stream)) return;
    this.#activeMs = this.context.nowMs();
    if (response.isComplete) this.#next(response.keepsAlive);
    else exchange.resumeResponse();
  }

  // ---- time

  /** With a request under way. Silence is measured here, the rest by the exchange. */
  #dueMs(exchange: Exchange): number {
    if (this.#state === "head") return exchange.dueMs;
    return Math.min(exchange.dueMs, this.#activeMs + this.context.config.streamIdleTimeoutMs);
  }

  /** The exchange's deadline ran. */
  requestDue(): void {
    this.guarded(() => {
      const nowMs = this.context.nowMs();
      const due = this.#exchange;
      if (due !== undefined && this.#dueMs(due) <= nowMs) this.#runDue(due, nowMs);
      const next = this.#exchange;
      if (next !== undefined) next.arm(Math.max(this.#dueMs(next), nowMs + 1));
    });
  }

  #runDue(exchange: Exchange, nowMs: number): void {
    if (this.#state === "head") {
      this.#held = undefined;
      exchange.reset(nowMs);
      this.refuse(FAILURES.header_timeout);
    } else if (exchange.dueMs <= nowMs) exchange.runDue(nowMs);
    else if (exchange.response.isComplete) this.cut();
    else exchange.giveUp(FAILURES.stream_idle);
  }

  endIdle(nowMs: number): number {
    const sinceMs = this.#exchange === undefined ? this.#activeMs : nowMs;
    const dueMs = sinceMs + this.context.config.idleTimeoutMs;
    if (dueMs > nowMs) return dueMs;
    this.guarded(() => this.#endInOrder());
    return Number.POSITIVE_INFINITY;
  }

  // ---- ends

  /** All is said. */
  #endInOrder(): void {
    this.#held = undefined;
    if (this.#hasEnded) {
      this.#stream.close();
      this.#over();
      return;
    }
    this.#state = "closed";
    this.#giveExchangeBack();
    this.#resume();
    new Lingering(this.#stream, this, this.context);
  }

  protected override ended(): void {
    this.#hasEnded = true;
    if (this.#state === "body")
      this.cut(); // its body will never be whole
    else if (this.#state === "head") this.#endInOrder();
  }

  protected override closed(_stream: Stream, _reason: CloseReason): void {
    this.#exchange?.abandon();
    this.#over();
  }

  drain(isLastCall: boolean): void {
    if (this.#state !== "head" || this.#held !== undefined) return;
    if (isLastCall || (this.#requests > 0 && this.#stream.isRetiring !== true)) this.#endInOrder();
  }

  /** Each request is decided by the snapshot of its moment. */
  reconsider(): void {
    this.#role.renew();
  }

  cut(): void {
    this.#exchange?.abandon();
    this.#stream.reset();
    this.#over();
  }

  protected override abandon(): void {
    this.#stream.reset();
    this.#exchange?.abandon();
    this.#over();
  }

  #over(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#held = undefined;
    this.#giveExchangeBack();
    this.context.dismiss(this);
  }
}
