// One request and its response, seen from the upstream side: which connection carries it, what happens when a try fails, and what is
// recorded at its end. A downstream connection borrows one for each request.
//
//   planned -> delayed? -> waiting? -> connecting -> sent -> responding -> over
//                 ^------------- backing off <---------|
import { assert } from "../base/assert.ts";
import { BodyReader } from "../protocol/http1/body.ts";
import type { ResponseHead } from "../protocol/http1/head.ts";
import { verdictOf } from "../resilience/outlier.ts";
import { retriesFailure, retriesStatus, type TryFailure } from "../resilience/retry.ts";
import type { RequestEntry } from "./access-record.ts";
import { FAILURES, type Failure, withRetriesSpent } from "./failure.ts";
import type { HttpConnection } from "./http-connection.ts";
import type { HttpUpstream } from "./http-upstream.ts";
import { Outbox } from "./outbox.ts";
import { Retries } from "./retries.ts";
import type { ThreadContext } from "./thread-context.ts";
import type { ForwardPlan } from "./traffic-plan.ts";
import type { Target, Waiter } from "./upstream-cluster.ts";

const NEVER = Number.POSITIVE_INFINITY;

type State = "over" | "delayed" | "waiting" | "connecting" | "sent" | "responding" | "backing_off";

export class Exchange implements Waiter {
  readonly #context: ThreadContext;
  #served: HttpConnection | undefined;
  readonly #outbox: Outbox;
  /** The connection's, which needs them only while it has an exchange. */
  readonly requestBody = new BodyReader();
  readonly response: Outbox;
  state: State = "over";
  plan: ForwardPlan | undefined;
  upstream: HttpUpstream | undefined;
  /** Kept for the access log, when it is on. */
  entry: RequestEntry | undefined;
  isHead = false;
  isIdempotent = false;
  isUpgrade = false;
  startMs = 0;
  requestBytes = 0;
  responseBytes = 0;
  status = 0;
  flags = "-";
  details = "via_upstream";
  /** Why the last dial came to nothing: an errno, or what was wrong with the peer's certificate. */
  transportFailure: string | undefined;
  /** Endpoint of the try under way, or of the last one. */
  target: Target | undefined;
  readonly #retries: Retries;
  #position = -1;
  /** After a pooled connection died under a request: only a new one is sure to be alive. */
  #wantsNewConnection = false;
  #holdsRequest = false;
  #totalDueMs = NEVER;
  #tryDueMs = NEVER;
  /** When the delay, the back-off or the dial is over. */
  #stepDueMs = NEVER;

  constructor(context: ThreadContext) {
    this.#context = context;
    this.#outbox = new Outbox(context.buffers);
    this.response = new Outbox(context.buffers);
    this.#retries = new Retries(context.deps.random);
  }

  /** Its next request is this connection's; undefined: it lies unused. */
  serve(connection: HttpConnection | undefined): void {
    this.#served = connection;
  }

  get #connection(): HttpConnection {
    const served = this.#served;
    assert(served !== undefined, "an exchange under way has a connection");
    return served;
  }

  /** A new request; `plan` is decided next. */
  reset(nowMs: number): void {
    this.plan = undefined;
    this.entry = undefined;
    this.transportFailure = undefined;
    this.startMs = nowMs;
    this.requestBytes = 0;
    this.responseBytes = 0;
    this.status = 0;
    this.flags = "-";
    this.details = "via_upstream";
    this.target = undefined;
    this.#position = -1;
    this.#retries.reset();
    this.#wantsNewConnection = false;
    this.#totalDueMs = NEVER;
    this.#tryDueMs = NEVER;
    this.#stepDueMs = NEVER;
  }

  /** What an errors-only access log writes down. */
  get isError(): boolean {
    return this.status >= 400 || this.status === 0 || this.flags !== "-";
  }

  /** The next moment at which something is overdue. */
  get dueMs(): number {
    return Math.min(this.#totalDueMs, this.#tryDueMs, this.#stepDueMs);
  }

  /** Sends the request's first bytes on their way. The plan has a cluster. */
  start(plan: ForwardPlan, delayMs: number, bytes: Uint8Array, start: number, end: number): void {
    this.plan = plan;
    this.#outbox.keep(this.#context.config.replayBytesMax);
    if (delayMs > 0) {
      this.state = "delayed";
      this.flags = "DI";
      this.#stepDueMs = this.startMs + delayMs;
    } else {
      this.#begin(plan);
      if (this.state === "over") return;
    }
    this.sendRequest(bytes, start, end);
  }

  #begin(plan: ForwardPlan): void {
    if (plan.timeoutMs !== undefined) this.#totalDueMs = this.#context.nowMs() + plan.timeoutMs;
    if (plan.cluster?.claimRequest() !== true) {
      this.#fail(FAILURES.overflow);
      return;
    }
    this.#holdsRequest = true;
    this.#attempt();
    this.#served?.arm(this.dueMs); // unless it failed at once and is over
  }

  /** Further bytes of the request. */
  sendRequest(bytes: Uint8Array, start: number, end: number): void {
    this.requestBytes += end - start;
    const { upstream } = this;
    const stream = upstream?.isConnected === true ? upstream.stream : undefined;
    if (!this.#outbox.send(stream, bytes, start, end)) this.#connection.pauseRequest();
  }

  onTurn(): void {
    if (this.state !== "waiting") return;
    this.#attempt();
    this.#served?.arm(this.dueMs); // unless it failed at once and is over
  }

  #attempt(): void {
    const plan = this.plan;
    const cluster = plan?.cluster;
    if (plan === undefined || cluster === undefined) return;
    this.#stepDueMs = NEVER;
    const position = plan.pinned === undefined ? cluster.pick(this.#retries.tried) : -1;
    const target = plan.pinned ?? cluster.target(position);
    if (target === undefined) {
      this.#fail(FAILURES.no_healthy_upstream);
      return;
    }
    this.#position = position;
    this.target = target;
    const perTryMs = plan.retry?.perTryTimeoutMs;
    if (perTryMs !== undefined) this.#tryDueMs = this.#context.nowMs() + perTryMs;
    const idle = this.#wantsNewConnection ? undefined : cluster.takeIdle(target);
    if (idle !== undefined) {
      this.#use(idle);
      this.state = "sent";
      if (this.#outbox.unsentBytes > 0) this.upstreamWritable();
    } else if (cluster.claimConnection()) {
      this.state = "connecting";
      this.#stepDueMs = this.#context.nowMs() + cluster.view.limits.connectTimeoutMs;
      this.#use(cluster.dial(target));
    } else if (cluster.wait(this)) this.state = "waiting";
    else this.#fail(FAILURES.overflow);
  }

  #use(upstream: HttpUpstream): void {
    this.upstream = upstream;
    upstream.begin(this);
    upstream.cluster.countActive(upstream.target, 1);
  }

  upstreamConnected(): void {
    this.state = "sent";
    this.#stepDueMs = NEVER;
    this.upstreamWritable();
  }

  upstreamWritable(): void {
    const { upstream } = this;
    if (upstream === undefined || !upstream.isConnected) return;
    if (this.#outbox.flush(upstream.stream)) this.#connection.resumeRequest();
  }

  connectFailed(code: string): void {
    this.transportFailure = code;
    this.#tryFailed("connect_failure", FAILURES.connect_failure);
  }

  /** The connection ended before the response did. */
  upstreamLost(): void {
    const { upstream } = this;
    if (this.state === "responding") {
      this.#reportHealth(503);
      this.#dropUpstream();
      this.#cut();
      return;
    }
    // A pooled connection may be closed by its server while a request is on its way to it (RFC 9112 9.3.1): what may be sent
    // twice is, once, on a new connection, and nobody's health is blamed.
    const wasReused = upstream !== undefined && upstream.requests > 1 && !upstream.hasAnswered;
    const isFirstTime = !this.#wantsNewConnection;
    if (wasReused && isFirstTime && this.isIdempotent && this.#outbox.isReplayable) {
      this.#dropUpstream();
      this.#wantsNewConnection = true;
      this.#outbox.rewind();
      this.#attempt();
      return;
    }
    this.#tryFailed("reset", FAILURES.upstream_reset);
  }

  upstreamNonsense(_code: number): void {
    this.#reportHealth(502);
    this.#dropUpstream();
    if (this.state === "responding") this.#cut();
    else this.#fail(FAILURES.upstream_nonsense);
  }

  /** A 1xx: passed on as it is. */
  forwardInterim(bytes: Uint8Array, start: number, end: number): void {
    this.#connection.sendInterim(bytes, start, end);
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
    const head: ResponseHead = this.#context.responseHead;
    const retry = this.plan?.retry;
    if (retry !== undefined && retriesStatus(retry, head.status) && this.#mayRetry()) {
      this.#reportHealth(head.status);
      this.#dropUpstream(isReusable && this.#isRequestSent);
      this.#scheduleRetry();
      return false;
    }
    this.#reportHealth(head.status);
    this.state = "responding";
    this.status = head.status;
    this.#tryDueMs = NEVER;
    const responsePlan = this.plan?.response;
    this.responseBytes += this.#connection.sendResponseHead(
      head,
      responsePlan,
      bytes,
      headEnd,
      stop,
      limit,
    );
    return this.state === "responding";
  }

  forwardBody(bytes: Uint8Array, start: number, end: number): void {
    this.responseBytes += end - start;
    this.#connection.sendResponseBody(bytes, start, end);
  }

  responseDone(isReusable: boolean): void {
    this.#dropUpstream(isReusable && this.#isRequestSent, true);
    this.#finish();
    this.#connection.responseDone();
  }

  /** To the last byte. Before that the connection is nobody else's: its server would read another's request as the rest of this
   *  one's body. */
  get #isRequestSent(): boolean {
    return this.#connection.isRequestDone && this.#outbox.unsentBytes === 0;
  }

  /** The upstream agreed to another protocol: from here on bytes are only carried. */
  switchProtocols(upstream: HttpUpstream, bytes: Uint8Array, headEnd: number, end: number): void {
    if (!this.isUpgrade) {
      this.upstreamNonsense(0);
      return;
    }
    this.status = 101;
    this.state = "responding";
    upstream.cluster.countActive(upstream.target, -1);
    this.upstream = undefined;
    const stream = upstream.detach();
    this.#finish();
    this.#connection.becomeTunnel(upstream, stream, bytes, headEnd, end);
  }

  /** The deadline ran: does what is due and leaves the rest. */
  runDue(nowMs: number): void {
    if (this.state === "over") return;
    if (nowMs >= this.#totalDueMs) {
      this.#timeOut(FAILURES.request_timeout);
    } else if (nowMs >= this.#tryDueMs) {
      this.#tryFailed("per_try_timeout", FAILURES.per_try_timeout);
    } else if (nowMs >= this.#stepDueMs) this.#takeStep();
  }

  #takeStep(): void {
    this.#stepDueMs = NEVER;
    const { plan } = this;
    if (plan === undefined) return;
    if (this.state === "delayed") this.#begin(plan);
    else if (this.state === "backing_off") this.#attempt();
    else if (this.state === "connecting") {
      this.#tryFailed("connect_failure", FAILURES.connect_timeout);
    }
  }

  #timeOut(failure: Failure): void {
    this.#reportHealth(504);
    this.#dropUpstream();
    if (this.state === "responding") this.#cut("UT");
    else this.#fail(failure);
  }

  /** Nothing moved for too long. */
  idledOut(): void {
    this.#dropUpstream();
    if (this.state === "responding") this.#cut("SI");
    else this.#fail(FAILURES.stream_idle);
  }

  /** The client is gone: nobody to answer. */
  abandon(): void {
    if (this.state === "over") return;
    this.#dropUpstream();
    this.flags = FAILURES.downstream_gone.flag;
    this.details = FAILURES.downstream_gone.details;
    this.#finish();
  }

  pauseResponse(): void {
    this.upstream?.pause();
  }

  resumeResponse(): void {
    this.upstream?.resume();
  }

  #tryFailed(kind: TryFailure, failure: Failure): void {
    this.#reportHealth(kind === "per_try_timeout" ? 504 : 503);
    this.#dropUpstream();
    if (this.state === "responding") {
      this.#cut();
      return;
    }
    const retry = this.plan?.retry;
    const wants = retry !== undefined && retriesFailure(retry, kind);
    if (wants && this.#mayRetry()) this.#scheduleRetry();
    else this.#fail(failure);
  }

  #mayRetry(): boolean {
    return this.plan !== undefined && this.#outbox.isReplayable && this.#retries.may(this.plan);
  }

  #scheduleRetry(): void {
    if (this.plan === undefined) return;
    const waitMs = this.#retries.next(this.plan, this.#position);
    this.#tryDueMs = NEVER;
    this.#outbox.rewind();
    this.state = "backing_off";
    this.#stepDueMs = this.#context.nowMs() + waitMs;
    this.#connection.arm(this.#stepDueMs);
  }

  #reportHealth(status: number): void {
    if (this.target !== undefined) this.plan?.cluster?.report(this.target, verdictOf(status));
  }

  #dropUpstream(isReusable = false, isOver = false): void {
    this.plan?.cluster?.leave(this);
    const { upstream } = this;
    if (upstream === undefined) return;
    this.upstream = undefined;
    upstream.exchange = undefined;
    upstream.cluster.countActive(upstream.target, -1);
    if (isReusable) upstream.cluster.release(upstream);
    else if (isOver) upstream.close();
    else upstream.abort();
  }

  #fail(failure: Failure): void {
    this.status = failure.status;
    const isSpent = this.#retries.areSpent(this.plan);
    this.flags = isSpent ? withRetriesSpent(failure.flag) : failure.flag;
    this.details = failure.details;
    this.#connection.answerFailure(failure);
    this.#finish();
    this.#connection.responseDone();
  }

  /** Part of the response is out: a cut connection is the only honest end. */
  #cut(flag: string = FAILURES.upstream_cut.flag): void {
    this.flags = flag;
    this.details = FAILURES.upstream_cut.details;
    this.#finish();
    this.#connection.cut();
  }

  #finish(): void {
    this.state = "over";
    this.#outbox.clear();
    const cluster = this.plan?.cluster;
    if (this.#holdsRequest) cluster?.releaseRequest();
    this.#retries.release();
    this.#holdsRequest = false;
    this.#connection.record(this);
  }
}
