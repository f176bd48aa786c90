// One downstream HTTP/1.1 connection: reads its requests one after the other, has each decided and carried, and sends the answers in
// order. Bytes of the next request wait, unread, until the answer before them is out.
//
//   head -> body -> answering -> head ...      any -> lingering (our last bytes are out, the client may still talk) -> closed
import { type CloseReason, EDIT_ROOM, type Stream } from "../base/net.ts";
import { Deadline, type Due } from "../base/timer-wheel.ts";
import type { RequestView } from "../policy/snapshot.ts";
import { answerBytes } from "../protocol/http1/answer.ts";
import { HEAD_LIMITS, type RequestHead, type ResponseHead } from "../protocol/http1/head.ts";
import { normalizeTarget } from "../protocol/http1/normalize.ts";
import { readRequestHead } from "../protocol/http1/read-request.ts";
import { NEED_MORE, refusalOf } from "../protocol/http1/refusal.ts";
import { isIdempotent } from "../resilience/retry.ts";
import { requestEntry } from "./access-record.ts";
import { Dechunker } from "./dechunker.ts";
import { Exchange } from "./exchange.ts";
import { FAILURES, type Failure } from "./failure.ts";
import { Guarded } from "./guarded.ts";
import { keptView } from "./head-view.ts";
import { HeldBytes } from "./held-bytes.ts";
import type { HttpUpstream } from "./http-upstream.ts";
import { Relay } from "./relay.ts";
import type { OpenConnection, ThreadContext } from "./thread-context.ts";
import { answerOf, type FieldPlan, type ForwardPlan, type LocalAnswer } from "./traffic-plan.ts";

/** What outbound and inbound do differently. */
export interface HttpRole {
  /** Who the caller is, as fields for the next hop. */
  readonly identityFields: Uint8Array;
  /** Whether the request may pass, and where to. */
  decide(head: RequestHead): ForwardPlan | LocalAnswer;
  /** Whether a request that passed, and became a tunnel, would still pass. */
  mayStay(request: RequestView): boolean;
  /** The exchange is over. */
  record(exchange: Exchange): void;
}

/** Per thread; as many requests are under way at once before more are made and let go. */
const EXCHANGES_KEPT_MAX = 256;

type State = "head" | "body" | "answering" | "lingering" | "closed";

export class HttpConnection extends Guarded implements OpenConnection, Due {
  openAt = -1;
  readonly #context: ThreadContext;
  readonly #stream: Stream;
  readonly #role: HttpRole;
  /** Only while a request is under way: an idle connection should cost little. */
  #borrowed: Exchange | undefined;
  readonly #deadline: Deadline;
  #state: State = "head";
  /** Received and not yet used: an unfinished head, or requests that wait for their turn. */
  readonly #held = new HeldBytes();
  #isTaking = false;
  #isPaused = false;
  #hasEnded = false;
  /** The answer to the request at hand is complete, though perhaps not all sent. */
  #isAnswered = false;
  #keepsAlive = true;
  /** HTTP/1.0: no interim responses, no chunks, one request. */
  #speaksOld = false;
  #dechunker: Dechunker | undefined;
  /** The request at hand, if it asks for a tunnel. */
  #upgrade: RequestView | undefined;
  #requests = 0;
  #activeMs: number;
  #headStartMs = 0;
  #lingerDueMs = 0;

  constructor(stream: Stream, role: HttpRole, context: ThreadContext) {
    super(context.deps.bug);
    this.#stream = stream;
    this.#role = role;
    this.#context = context;
    this.#activeMs = context.nowMs();
    this.#deadline = new Deadline(context.deps.wheel, this);
    this.arm(this.#activeMs + context.config.idleTimeoutMs);
    context.admit(this);
    stream.handler = this;
  }

  get #exchange(): Exchange {
    if (this.#borrowed === undefined) {
      this.#borrowed = this.#context.exchanges.pop() ?? new Exchange(this.#context);
      this.#borrowed.serve(this);
    }
    return this.#borrowed;
  }

  #giveExchangeBack(): void {
    const exchange = this.#borrowed;
    this.#borrowed = undefined;
    const { exchanges } = this.#context;
    exchange?.serve(undefined);
    if (exchange?.state === "over" && exchanges.length < EXCHANGES_KEPT_MAX)
      exchanges.push(exchange);
  }

  get #unsentBytes(): number {
    return this.#borrowed?.response.unsentBytes ?? 0;
  }

  /** The request at hand was received whole. */
  get isRequestDone(): boolean {
    return this.#state !== "body";
  }

  protected override opened(): void {}

  protected override received(
    _stream: Stream,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): void {
    this.#activeMs = this.#context.nowMs();
    if (this.#held.isEmpty) this.#take(bytes, start, end, end + EDIT_ROOM);
    else if (this.#state === "answering") this.#held.add(bytes, start, end);
    else if (this.#held.addToHead(bytes, start, end)) {
      const joined = this.#held.take();
      this.#take(joined, 0, joined.length - EDIT_ROOM, joined.length);
    }
  }

  /** Uses as much of bytes[start..end) as the state allows and holds the rest. [end, limit) may be overwritten. */
  #take(bytes: Uint8Array, start: number, end: number, limit: number): void {
    this.#isTaking = true;
    let at = start;
    while (at < end) {
      if (this.#state === "head") at = this.#takeHead(bytes, at, end, limit);
      else if (this.#state === "body") at = this.#takeBody(bytes, at, end);
      else if (this.#state === "answering") {
        this.#held.add(bytes, at, end);
        this.#pause();
        break;
      } else break;
    }
    this.#isTaking = false;
  }

  #takeHead(bytes: Uint8Array, start: number, end: number, limit: number): number {
    const head = this.#context.requestHead;
    const headEnd = readRequestHead(head, bytes, start, end, HEAD_LIMITS);
    if (headEnd === NEED_MORE) {
      this.#held.add(bytes, start, end);
      if (this.#headStartMs === 0) {
        this.#headStartMs = this.#activeMs;
        this.arm(this.#activeMs + this.#context.config.headerTimeoutMs);
      }
      return end;
    }
    const refused = headEnd < 0 ? headEnd : normalizeTarget(head);
    this.#headStartMs = 0;
    this.#requests++;
    this.#isAnswered = false;
    this.#exchange.reset(this.#activeMs);
    if (refused < 0) {
      const { status, reason } = refusalOf(refused);
      this.#refuse({ ...FAILURES.downstream_nonsense, status, body: `${reason}\n` });
      return end;
    }
    return this.#takeRequest(head, bytes, headEnd, end, limit);
  }

  #takeRequest(
    head: RequestHead,
    bytes: Uint8Array,
    headEnd: number,
    end: number,
    limit: number,
  ): number {
    const exchange = this.#exchange;
    exchange.isHead = head.isHead;
    exchange.isUpgrade = head.isUpgrade;
    this.#upgrade = head.isUpgrade ? keptView(head) : undefined;
    exchange.isIdempotent = isIdempotent(head.method);
    this.#speaksOld = head.minorVersion === 0;
    this.#keepsAlive = head.keepAlive && !this.#speaksOld;
    if (this.#context.deps.accessLog.mode !== "off") exchange.entry = requestEntry(head);
    const body = exchange.requestBody;
    body.begin(head);
    let stop = headEnd;
    if (!body.isDone && headEnd < end) {
      stop = this.#scan(bytes, headEnd, end);
      if (stop < 0) return end;
    }
    this.#state = body.isDone ? "answering" : "body";
    const decision = this.#role.decide(head);
    if (decision.is === "answer") this.#answer(decision);
    else if (decision.cluster === undefined) this.#answer(answerOf(FAILURES.no_cluster));
    else this.#forward(decision, head, bytes, headEnd, stop, end, limit);
    return stop;
  }

  #forward(
    plan: ForwardPlan,
    head: RequestHead,
    bytes: Uint8Array,
    headEnd: number,
    stop: number,
    end: number,
    limit: number,
  ): void {
    const exchange = this.#exchange;
    const { sender } = this.#context;
    const cut = sender.placeRequest(
      head,
      this.#role.identityFields,
      plan,
      bytes,
      headEnd,
      stop,
      headEnd === end ? limit : 0,
    );
    if (cut < 0) {
      this.#refuse(FAILURES.head_too_long);
      return;
    }
    exchange.start(plan, this.#delayOf(plan), sender.bytes, sender.start, sender.end);
    if (cut < stop && exchange.state !== "over") exchange.sendRequest(bytes, cut, stop);
    this.arm(Math.min(exchange.dueMs, this.#activeMs + this.#context.config.streamIdleTimeoutMs));
  }

  #delayOf(plan: ForwardPlan): number {
    const delay = plan.fault?.delay;
    if (delay === undefined) return 0;
    return this.#context.deps.random.unit() * 100 < delay.percent ? delay.ms : 0;
  }

  #takeBody(bytes: Uint8Array, start: number, end: number): number {
    const stop = this.#scan(bytes, start, end);
    if (stop < 0) return end;
    if (this.#exchange.requestBody.isDone) this.#state = "answering";
    if (this.#exchange.state !== "over") this.#exchange.sendRequest(bytes, start, stop);
    return stop;
  }

  /** How far the body goes; negative: it is nonsense and the connection is ending. */
  #scan(bytes: Uint8Array, start: number, end: number): number {
    const scanned = this.#exchange.requestBody.scan(bytes, start, end);
    if (scanned === NEED_MORE) return end;
    if (scanned >= 0) return scanned;
    this.#borrowed?.abandon();
    const { status, reason } = refusalOf(scanned);
    this.#refuse({ ...FAILURES.downstream_nonsense, status, body: `${reason}\n` });
    return scanned;
  }

  // ---- answers

  /** The client cannot be understood: one answer, and no more is read. */
  #refuse(failure: Failure): void {
    this.#keepsAlive = false;
    this.#state = "answering";
    this.#answer(answerOf(failure));
  }

  #answer(answer: LocalAnswer): void {
    const exchange = this.#exchange;
    exchange.status = answer.status;
    exchange.flags = answer.flag;
    exchange.details = answer.details;
    this.#sendAnswer(answer);
    this.#role.record(exchange);
    this.responseDone();
  }

  answerFailure(failure: Failure): void {
    this.#sendAnswer(answerOf(failure));
  }

  #sendAnswer(answer: LocalAnswer): void {
    if (this.#closesAfterThis) this.#keepsAlive = false;
    const bytes = answerBytes({
      status: answer.status,
      body: answer.body,
      fields: answer.fields,
      isLast: !this.#keepsAlive,
      isHead: this.#exchange.isHead,
    });
    this.#exchange.responseBytes += bytes.length;
    this.sendResponse(bytes, 0, bytes.length);
  }

  /** The head as the client is to see it, with what came of the body. Returns how many bytes that were. */
  sendResponseHead(
    head: ResponseHead,
    plan: FieldPlan | undefined,
    bytes: Uint8Array,
    headEnd: number,
    stop: number,
    limit: number,
  ): number {
    if (head.bodyKind === "until_close" || this.#closesAfterThis) this.#keepsAlive = false;
    const { sender } = this.#context;
    const strips = this.#speaksOld && head.isChunked;
    if (strips) head.drop("transfer-encoding");
    const until = strips ? headEnd : stop;
    const room = until === stop ? limit : 0; // chunks that follow must not be overwritten
    const cut = sender.placeResponse(head, plan, !this.#keepsAlive, bytes, headEnd, until, room);
    if (cut < 0) {
      this.#exchange.upstreamNonsense(0);
      return 0;
    }
    this.sendResponse(sender.bytes, sender.start, sender.end);
    if (strips) this.#dechunker = new Dechunker();
    if (cut < stop) this.sendResponseBody(bytes, cut, stop);
    return sender.end - sender.start + stop - cut;
  }

  get #closesAfterThis(): boolean {
    const { requestsPerConnectionMax } = this.#context.config;
    return (
      this.#hasEnded ||
      this.#context.isDraining ||
      this.#state === "body" ||
      (requestsPerConnectionMax > 0 && this.#requests >= requestsPerConnectionMax)
    );
  }

  sendInterim(bytes: Uint8Array, start: number, end: number): void {
    if (!this.#speaksOld) this.sendResponse(bytes, start, end);
  }

  sendResponseBody(bytes: Uint8Array, start: number, end: number): void {
    if (this.#dechunker === undefined) this.sendResponse(bytes, start, end);
    else this.#dechunker.scan(bytes, start, end, (b, s, e) => this.sendResponse(b, s, e));
  }

  sendResponse(bytes: Uint8Array, start: number, end: number): void {
    if (this.#state === "closed" || this.#state === "lingering") return;
    this.#activeMs = this.#context.nowMs();
    const exchange = this.#exchange;
    if (!exchange.response.send(this.#stream, bytes, start, end)) exchange.pauseResponse();
  }

  /** Nothing more will be sent for this request. */
  responseDone(): void {
    if (this.#state === "closed" || this.#state === "lingering") return;
    this.#isAnswered = true;
    if (this.#unsentBytes === 0) this.#next();
  }

  #next(): void {
    this.#isAnswered = false;
    if (!this.#keepsAlive || this.#state === "body" || this.#hasEnded) {
      // A request that waits was not for us any more if we said close; after the client's end it still is.
      if (!(this.#keepsAlive && !this.#held.isEmpty && this.#state !== "body")) {
        this.#endInOrder();
        return;
      }
    }
    this.#state = "head";
    this.#giveExchangeBack();
    if (this.#context.isDraining && this.#held.isEmpty) this.#endInOrder();
    else if (!this.#isTaking) this.#takeHeld();
  }

  #takeHeld(): void {
    if (!this.#held.isEmpty) {
      const bytes = this.#held.take();
      this.#take(bytes, 0, bytes.length - EDIT_ROOM, bytes.length);
    }
    if (this.#state === "head" && this.#hasEnded) this.#endInOrder();
    else if (this.#state === "head" || this.#state === "body") this.#resume();
  }

  /** All is said: ends our direction, and listens a while so that the last bytes are not lost to a reset. */
  #endInOrder(): void {
    this.#held.clear();
    if (this.#hasEnded && this.#unsentBytes === 0) {
      this.#stream.close();
      this.#over();
      return;
    }
    this.#state = "lingering";
    this.#stream.endWrite();
    this.#resume();
    this.#lingerDueMs = this.#context.nowMs() + this.#context.config.lingerMs;
    this.arm(this.#lingerDueMs);
  }

  becomeTunnel(
    upstream: HttpUpstream,
    stream: Stream,
    bytes: Uint8Array,
    headEnd: number,
    end: number,
  ): void {
    const head = this.#context.responseHead;
    const { sender } = this.#context;
    const request = this.#upgrade;
    const mayStay = (): boolean => request !== undefined && this.#role.mayStay(request);
    if (!mayStay() || sender.placeSwitch(head, bytes, headEnd) < 0) {
      stream.reset();
      upstream.detachedClosed();
      this.cut();
      return;
    }
    this.#deadline.cancel();
    this.#state = "closed";
    this.#context.dismiss(this);
    const relay = new Relay(this.#stream, this.#context, {
      ended: () => upstream.detachedClosed(),
      mayStay,
    });
    relay.adopt(stream);
    relay.sendDown(sender.bytes, sender.start, sender.end);
    relay.sendDown(bytes, headEnd, end);
    const held = this.#held.take();
    relay.sendUp(held, 0, held.length - EDIT_ROOM);
    if (this.#hasEnded) relay.downstreamEnded();
    this.#resume();
  }

  record(exchange: Exchange): void {
    this.#role.record(exchange);
  }

  // ---- flow

  /** The upstream does not keep up with the request. */
  pauseRequest(): void {
    if (this.#state === "body") this.#pause();
  }

  resumeRequest(): void {
    if (this.#state === "body") this.#resume();
  }

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
    const exchange = this.#borrowed;
    if (exchange === undefined || exchange.response.unsentBytes === 0) return;
    if (!exchange.response.flush(this.#stream)) return;
    this.#activeMs = this.#context.nowMs();
    if (this.#isAnswered) this.#next();
    else exchange.resumeResponse();
  }

  protected override ended(): void {
    this.#hasEnded = true;
    if (this.#state === "body") {
      this.#borrowed?.abandon(); // its body will never be whole
      this.cut();
    } else if (this.#state === "head") this.#endInOrder();
    else if (this.#state === "lingering") {
      this.#stream.close();
      this.#over();
    }
  }

  protected override closed(_stream: Stream, _reason: CloseReason): void {
    this.#borrowed?.abandon();
    this.#over();
  }

  // ---- time

  /** Something is due then; moves the deadline only if it is set for later. */
  arm(dueMs: number): void {
    if (dueMs < this.#deadline.atMs) this.#deadline.set(dueMs);
  }

  get #dueMs(): number {
    const { config } = this.#context;
    if (this.#state === "lingering") return this.#lingerDueMs;
    if (this.#state === "head") {
      const headDueMs = this.#headStartMs + config.headerTimeoutMs;
      return this.#headStartMs > 0 ? headDueMs : this.#activeMs + config.idleTimeoutMs;
    }
    return Math.min(this.#exchange.dueMs, this.#activeMs + config.streamIdleTimeoutMs);
  }

  onDue(): void {
    try {
      const nowMs = this.#context.nowMs();
      if (this.#state !== "closed" && this.#dueMs <= nowMs) this.#runDue(nowMs);
      if (this.#state !== "closed") this.arm(Math.max(this.#dueMs, nowMs + 1));
    } catch (error) {
      this.fell(error);
    }
  }

  #runDue(nowMs: number): void {
    if (this.#state === "head" && this.#headStartMs > 0) {
      this.#headStartMs = 0;
      this.#held.clear();
      this.#exchange.reset(nowMs);
      this.#refuse(FAILURES.header_timeout);
    } else if (this.#state === "head") this.#endInOrder();
    else if (this.#state === "lingering") {
      this.#stream.close();
      this.#over();
    } else if (this.#exchange.dueMs <= nowMs) this.#exchange.runDue(nowMs);
    else if (this.#isAnswered) this.cut();
    else this.#exchange.idledOut();
  }

  // ---- ends

  drain(): void {
    if (this.#state === "head" && this.#held.isEmpty) this.#endInOrder();
  }

  reconsider(): void {} // each request is decided by the snapshot of its moment

  cut(): void {
    this.#borrowed?.abandon();
    this.#stream.reset();
    this.#over();
  }

  protected override abandon(): void {
    this.#stream.reset();
    this.#borrowed?.abandon();
    this.#over();
  }

  #over(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#held.clear();
    this.#borrowed?.response.clear();
    this.#giveExchangeBack();
    this.#deadline.cancel();
    this.#context.dismiss(this);
  }
}
