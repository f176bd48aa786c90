// One request and its response: what was decided of it is carried out, and recorded at its end. A downstream connection borrows one
// for each request, and while it reads a request's head in pieces.
//
//   over -> delayed? -> trying (tries.ts) -> responding -> over
import { assert } from "../base/assert.ts";
import { Deadline, type Due } from "../base/timer-wheel.ts";
import type { RequestView } from "../policy/request-view.ts";
import { BodyReader } from "../protocol/http1/body.ts";
import type { RequestHead } from "../protocol/http1/head.ts";
import { isIdempotent } from "../resilience/retry.ts";
import { type RequestEntry, requestEntry } from "./access-record.ts";
import { BodyPace } from "./body-pace.ts";
import { FAILURES, type Failure, withRetriesSpent } from "./failure.ts";
import { GrpcCall } from "./grpc-call.ts";
import { keptView } from "./head-view.ts";
import type { HttpConnection } from "./http-connection.ts";
import type { HttpUpstream } from "./http-upstream.ts";
import { ResponseWriter } from "./response-writer.ts";
import type { ThreadContext } from "./thread-context.ts";
import { answerOf, delayOf, type ForwardPlan, type LocalAnswer } from "./traffic-plan.ts";
import { Tries } from "./tries.ts";
import { isAgreed, isSayable } from "./tunnel.ts";
import type { Target } from "./upstream-cluster.ts";

const NEVER = Number.POSITIVE_INFINITY;

type State = "over" | "delayed" | "trying" | "responding";

export class Exchange implements Due {
  readonly #context: ThreadContext;
  /** Moved only when something is due sooner, and left where it is between requests: it finds out when it runs. */
  readonly #deadline: Deadline;
  #served: HttpConnection | undefined;
  readonly tries: Tries;
  readonly response: ResponseWriter;
  readonly requestBody = new BodyReader();
  readonly pace: BodyPace;
  readonly grpc = new GrpcCall();
  state: State = "over";
  plan: ForwardPlan | undefined;
  /** Kept for the access log, when it is on. */
  entry: RequestEntry | undefined;
  /** Kept if the request asks for a tunnel. */
  upgrade: RequestView | undefined;
  isHead = false;
  isIdempotent = false;
  startMs = 0;
  requestBytes = 0;
  responseBytes = 0;
  status = 0;
  flags = "-";
  details = "via_upstream";
  /** Of a refusal. */
  decision: string | undefined;
  #holdsRequest = false;
  /** When a head that came in pieces must be whole. */
  #headDueMs = NEVER;
  /** When the fault's delay is over; after it, when the route's timeout is. */
  #totalDueMs = NEVER;

  constructor(context: ThreadContext) {
    this.#context = context;
    this.#deadline = new Deadline(context.deps.wheel, this);
    this.tries = new Tries(this, context);
    this.pace = new BodyPace(context.config.bodyTimeoutMs);
    this.response = new ResponseWriter(this, context);
  }

  // ---- whose it is

  serve(connection: HttpConnection): void {
    this.#served = connection;
  }

  /** Nobody's any more. What it knew of a request would keep a snapshot alive. */
  leave(): void {
    this.#served = undefined;
    this.#headDueMs = NEVER;
    this.pace.end();
    this.plan = undefined;
    this.entry = undefined;
    this.upgrade = undefined;
    this.tries.target = undefined;
    this.response.clear();
  }

  /** Never to be used again. */
  discard(): void {
    this.#deadline.cancel();
  }

  get connection(): HttpConnection {
    const served = this.#served;
    assert(served !== undefined, "an exchange under way has a connection");
    return served;
  }

  get target(): Target | undefined {
    return this.tries.target;
  }

  // ---- the request

  /** Part of a head has come. */
  awaitHead(nowMs: number): void {
    if (this.#headDueMs !== NEVER) return;
    this.#headDueMs = nowMs + this.#context.config.headerTimeoutMs;
    this.arm(this.#headDueMs);
  }

  /** A new request, of which nothing is known yet. */
  reset(nowMs: number): void {
    this.#headDueMs = NEVER;
    this.startMs = nowMs;
    this.requestBytes = 0;
    this.responseBytes = 0;
    this.status = 0;
    this.flags = "-";
    this.details = "via_upstream";
    this.decision = undefined;
    this.isHead = false;
    this.grpc.forget();
    this.tries.reset();
    this.response.reset();
  }

  begin(head: RequestHead): void {
    this.isHead = head.isHead;
    this.isIdempotent = isIdempotent(head.method);
    this.upgrade = head.isUpgrade ? keptView(head) : undefined;
    if (this.#context.deps.accessLog.mode !== "off") this.entry = requestEntry(head);
    this.response.begin(head);
    this.requestBody.begin(head);
    this.grpc.begin(head, this.requestBody);
    // A stream of messages may be silent for as long as its caller likes.
    if (!this.requestBody.isDone && !this.grpc.isGrpc) {
      this.pace.begin(head.bodyKind, this.startMs, head.expectsContinue);
    }
  }

  /** Answered here, without an upstream. */
  answer(answer: LocalAnswer): void {
    this.pace.end();
    this.flags = answer.flag;
    this.details = answer.details;
    this.decision = answer.decision;
    this.#say(answer);
    this.connection.record(this);
    this.connection.responseDone();
  }

  #say(answer: LocalAnswer): void {
    const said = this.grpc.said(answer);
    this.status = said.status;
    this.responseBytes += this.response.sendAnswer(said);
  }

  /** Sends the head in bytes[..headEnd) and the body in [headEnd, stop) on their way; `plan` has a cluster. Nothing of use lies in
   *  [end, limit). */
  forward(
    plan: ForwardPlan,
    head: RequestHead,
    identityFields: Uint8Array,
    bytes: Uint8Array,
    headEnd: number,
    stop: number,
    end: number,
    limit: number,
  ): void {
    const { sender } = this.#context;
    const room = headEnd === end ? limit : 0;
    const cut = sender.placeRequest(head, identityFields, plan, bytes, headEnd, stop, room);
    if (cut < 0) {
      this.connection.refuse(FAILURES.head_too_long);
      return;
    }
    this.plan = plan;
    this.tries.steer(plan, head, this.connection.from);
    const delayMs = delayOf(plan, this.#context.deps.random);
    if (delayMs > 0) {
      this.state = "delayed";
      this.flags = "DI";
      this.#totalDueMs = this.startMs + delayMs;
    } else this.#try(plan);
    // It may be over by now, and may even have been given back.
    if (this.plan !== plan || this.state === "over") return;
    this.sendRequest(sender.bytes, sender.start, sender.end);
    if (cut < stop) this.sendRequest(bytes, cut, stop);
    this.arm(Math.min(this.dueMs, this.startMs + this.#context.config.streamIdleTimeoutMs));
  }

  #try(plan: ForwardPlan): void {
    const dueMs = plan.timeoutMs === undefined ? NEVER : this.#context.nowMs() + plan.timeoutMs;
    this.#totalDueMs = Math.min(dueMs, this.startMs + this.grpc.timeoutMs);
    this.state = "trying";
    if (plan.cluster?.claimRequest() !== true) {
      this.fail(FAILURES.overflow);
      return;
    }
    this.#holdsRequest = true;
    this.tries.attempt();
  }

  /** Further bytes of the request. */
  sendRequest(bytes: Uint8Array, start: number, end: number): void {
    this.requestBytes += end - start;
    const isTaken = this.tries.send(bytes, start, end);
    this.#tellMessages();
    if (this.requestBody.isDone) this.pace.end();
    else if (!isTaken) this.pace.rest();
    else this.arm(this.pace.dueMs);
    if (!isTaken) this.connection.pauseRequest();
  }

  resumeRequest(): void {
    this.pace.resume(this.#context.nowMs());
    this.arm(this.pace.dueMs);
    this.connection.resumeRequest();
  }

  /** To the last byte. Before that the connection is nobody else's: its server would read another's request as the rest of this
   *  one's body. */
  get isRequestSent(): boolean {
    return this.connection.isRequestDone && this.tries.isSent;
  }

  // ---- the response

  /** A 1xx, whose head is the thread's response head. */
  forwardInterim(bytes: Uint8Array, headEnd: number): void {
    const head = this.#context.responseHead;
    if (head.status === 100) {
      this.pace.continued(this.#context.nowMs());
      this.arm(this.pace.dueMs);
    }
    if (!this.response.sendInterim(head, bytes, headEnd)) this.upstreamNonsense();
  }

  /** Sends the final head and what came with its body; `isReusable`: that is the whole response, and nothing came behind it.
   *  False: the response was not wanted, a retry is under way. */
  forwardResponse(
    bytes: Uint8Array,
    headEnd: number,
    stop: number,
    limit: number,
    isReusable: boolean,
  ): boolean {
    const head = this.#context.responseHead;
    this.grpc.answered(head);
    if (this.upgrade !== undefined && !isSayable(head.status, this.connection.from.awaitsAccept)) {
      this.upstreamNonsense();
      return false;
    }
    if (this.tries.again(head.status, isReusable)) return false;
    const plan = this.plan?.response;
    const sent = this.response.sendHead(head, plan, bytes, headEnd, stop, limit);
    if (sent < 0) {
      this.upstreamNonsense();
      return false;
    }
    this.tries.answered(head.status);
    this.state = "responding";
    this.pace.end();
    this.status = head.status;
    this.responseBytes += sent;
    this.#tellMessages();
    return true;
  }

  forwardBody(bytes: Uint8Array, start: number, end: number): void {
    this.responseBytes += end - start;
    this.#tellMessages();
    this.response.sendBody(bytes, start, end);
  }

  /** While the call lasts: a stream may last for days. */
  #tellMessages(): void {
    if (this.grpc.isGrpc && this.target !== undefined) this.#served?.recordMessages(this);
  }

  responseDone(isReusable: boolean): void {
    this.tries.drop(isReusable && this.isRequestSent, true);
    this.#finish();
    this.connection.responseDone();
  }

  upstreamNonsense(): void {
    this.tries.reportHealth(502);
    this.tries.drop();
    if (this.state === "responding") this.cut();
    else this.fail(FAILURES.upstream_nonsense);
  }

  /** The upstream agreed to another protocol: from here on bytes are only carried. */
  switchProtocols(upstream: HttpUpstream, bytes: Uint8Array, headEnd: number, end: number): void {
    const { upgrade } = this;
    const { awaitsAccept } = this.connection.from;
    const mayBe = upgrade && isAgreed(this.#context.responseHead, upgrade, awaitsAccept);
    // Before the request is whole its rest would be lost, or be read as the new protocol's beginning.
    if (upgrade === undefined || !mayBe || !this.isRequestSent) {
      this.upstreamNonsense();
      return;
    }
    this.status = 101;
    this.state = "responding";
    this.tries.handOver();
    const stream = upstream.detach();
    this.#finish();
    this.connection.becomeTunnel(upgrade, upstream, stream, bytes, headEnd, end);
  }

  pauseResponse(): void {
    this.tries.pauseResponse();
  }

  resumeResponse(): void {
    this.tries.resumeResponse();
  }

  // ---- time

  /** The next moment at which something is overdue; silence is the connection's matter. */
  get dueMs(): number {
    return Math.min(this.#headDueMs, this.#totalDueMs, this.tries.dueMs, this.pace.dueMs);
  }

  /** Something is due then; moves the deadline only if it is set for later. */
  arm(dueMs: number): void {
    if (dueMs < this.#deadline.atMs) this.#deadline.set(dueMs);
  }

  armNext(): void {
    if (this.state !== "over") this.arm(this.dueMs);
  }

  onDue(): void {
    this.#served?.requestDue();
  }

  /** Does what is due and leaves the rest. */
  runDue(nowMs: number): void {
    if (this.state === "over") return;
    if (nowMs >= this.pace.dueMs) this.giveUp(FAILURES.body_timeout);
    else if (nowMs < this.#totalDueMs) this.tries.runDue(nowMs);
    else if (this.state === "delayed" && this.plan !== undefined) {
      this.#try(this.plan);
      this.armNext();
    } else {
      this.tries.reportHealth(504);
      this.giveUp(FAILURES.request_timeout);
    }
  }

  /** Answered with `failure`, or cut under its flag when an answer has begun. */
  giveUp(failure: Failure): void {
    this.tries.drop();
    if (this.state === "responding") this.cut(failure.flag);
    else this.fail(failure);
  }

  // ---- ends

  fail(failure: Failure): void {
    const isSpent = this.tries.areSpent && failure.side !== "downstream";
    this.flags = isSpent ? withRetriesSpent(failure.flag) : failure.flag;
    this.details = failure.details;
    this.#say(answerOf(failure));
    this.#finish();
    this.connection.responseDone();
  }

  /** Part of the response is out: a cut connection is the only honest end. */
  cut(flag: string = FAILURES.upstream_cut.flag): void {
    this.flags = flag;
    this.details = FAILURES.upstream_cut.details;
    this.#finish();
    this.connection.cut();
  }

  /** The client is gone: nobody to answer. */
  abandon(): void {
    if (this.state === "over") return;
    this.tries.drop();
    this.flags = FAILURES.downstream_gone.flag;
    this.details = FAILURES.downstream_gone.details;
    this.#finish();
  }

  #finish(): void {
    this.state = "over";
    this.#totalDueMs = NEVER;
    this.pace.end();
    this.tries.end();
    if (this.#holdsRequest) this.plan?.cluster?.releaseRequest();
    this.#holdsRequest = false;
    this.#tellMessages();
    this.connection.record(this);
  }
}
