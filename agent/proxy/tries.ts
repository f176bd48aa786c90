// How one request gets to an upstream: which endpoint, over a pooled connection or a new one, and what happens when a try fails before
// a response has begun. From there on the exchange has the word.
//
//   idle -> waiting? -> connecting? -> sent -> (response) idle
//             ^---- backing off <---------|
import type { Stream } from "../base/net.ts";
import type { RequestHead } from "../protocol/http1/head.ts";
import { verdictOf } from "../resilience/outlier.ts";
import {
  retriesFailure,
  retriesGrpcStatus,
  retriesStatus,
  type TryFailure,
} from "../resilience/retry.ts";
import type { Exchange } from "./exchange.ts";
import { FAILURES, type Failure } from "./failure.ts";
import type { HttpUpstream } from "./http-upstream.ts";
import { Outbox } from "./outbox.ts";
import { Retries } from "./retries.ts";
import type { ThreadContext } from "./thread-context.ts";
import type { ForwardPlan } from "./traffic-plan.ts";
import type { Target, UpstreamCluster, Waiter } from "./upstream-cluster.ts";

const NEVER = Number.POSITIVE_INFINITY;
/** How often a request that its upstream did not begin with is asked again at once, before the route's retries have the word: an app
 *  that is about to leave says so once for each connection, one that has no room says it every time. */
const REFUSALS_MAX = 2;

type State = "idle" | "waiting" | "connecting" | "sent" | "backing_off";

export class Tries implements Waiter {
  readonly #exchange: Exchange;
  readonly #context: ThreadContext;
  /** The request, as far as it is unsent or may have to be sent again. */
  readonly #outbox: Outbox;
  readonly #retries: Retries;
  #state: State = "idle";
  #upstream: HttpUpstream | undefined;
  /** Endpoint of the try under way, or of the last one. */
  target: Target | undefined;
  /** Why the last dial came to nothing: an errno, or what was wrong with the peer's certificate. */
  transportFailure: string | undefined;
  #position = -1;
  /** What the endpoint is chosen by, where hashes decide. */
  #hash: number | undefined;
  /** After a pooled connection died under a request: only a new one is sure to be alive. */
  #wantsNewConnection = false;
  #refusals = 0;
  #tryDueMs = NEVER;
  /** When the back-off, the dial or the wait for names is over. */
  #stepDueMs = NEVER;
  /** When names are waited for no longer. */
  #namesDueMs = NEVER;

  constructor(exchange: Exchange, context: ThreadContext) {
    this.#exchange = exchange;
    this.#context = context;
    this.#outbox = new Outbox(context.buffers);
    this.#retries = new Retries(context.deps.random);
  }

  /** A new request, of which nothing was sent yet. */
  reset(): void {
    this.target = undefined;
    this.transportFailure = undefined;
    this.#position = -1;
    this.#wantsNewConnection = false;
    this.#refusals = 0;
    this.#namesDueMs = NEVER;
    this.#retries.reset();
    this.#outbox.keep(this.#context.config.replayBytesMax);
  }

  /** Before the first try: `head` is another's afterwards. */
  steer({ cluster }: ForwardPlan, head: RequestHead, downstream: Stream): void {
    const key = cluster?.view.hashKey;
    this.#hash = key === undefined ? undefined : key.ofRequest(head, downstream);
  }

  /** When runDue() has something to do. */
  get dueMs(): number {
    return Math.min(this.#tryDueMs, this.#stepDueMs);
  }

  /** The request is on its way to the last byte. */
  get isSent(): boolean {
    return this.#outbox.unsentBytes === 0;
  }

  /** All that the route's policy allows were made. */
  get areSpent(): boolean {
    return this.#retries.areSpent(this.#exchange.plan);
  }

  /** Bytes of the request, in order. False: the upstream does not keep up. */
  send(bytes: Uint8Array, start: number, end: number): boolean {
    const upstream = this.#upstream;
    const stream = upstream?.isConnected === true ? upstream.stream : undefined;
    return this.#outbox.send(stream, bytes, start, end);
  }

  onTurn(): void {
    if (this.#state !== "waiting") return;
    this.attempt();
    this.#exchange.armNext();
  }

  /** The first try, or the next. */
  attempt(): void {
    const plan = this.#exchange.plan;
    const cluster = plan?.cluster;
    if (plan === undefined || cluster === undefined) return;
    this.#stepDueMs = NEVER;
    const position = plan.pinned === undefined ? cluster.pick(this.#retries.tried, this.#hash) : -1;
    const target = plan.pinned ?? cluster.target(position);
    if (target === undefined) {
      if (!this.#awaitsNames(cluster)) this.#exchange.fail(FAILURES.no_healthy_upstream);
      return;
    }
    this.#namesDueMs = NEVER;
    this.#position = position;
    this.target = target;
    const perTryMs = plan.retry?.perTryTimeoutMs;
    if (perTryMs !== undefined) this.#tryDueMs = this.#context.nowMs() + perTryMs;
    const idle = this.#wantsNewConnection ? undefined : cluster.takeIdle(target);
    if (idle !== undefined) {
      this.#use(idle);
      this.#state = "sent";
      if (this.#outbox.unsentBytes > 0) this.writable();
    } else if (cluster.claimConnection()) {
      this.#state = "connecting";
      this.#stepDueMs = this.#context.nowMs() + cluster.view.limits.connectTimeoutMs;
      this.#use(cluster.dial(target));
    } else if (cluster.wait(this)) this.#state = "waiting";
    else this.#exchange.fail(FAILURES.overflow);
  }

  /** Nothing is known of its endpoints' names yet: the answer is waited for as long as a dial would be. */
  #awaitsNames(cluster: UpstreamCluster): boolean {
    if (!cluster.isAwaitingNames) return false;
    const nowMs = this.#context.nowMs();
    if (this.#namesDueMs === NEVER) this.#namesDueMs = nowMs + cluster.view.limits.connectTimeoutMs;
    if (nowMs >= this.#namesDueMs) return false;
    if (cluster.wait(this)) {
      this.#state = "waiting";
      this.#stepDueMs = this.#namesDueMs;
    } else this.#exchange.fail(FAILURES.overflow);
    return true;
  }

  #use(upstream: HttpUpstream): void {
    this.#upstream = upstream;
    upstream.begin(this.#exchange);
    upstream.cluster.countActive(upstream.target, 1);
  }

  // ---- what the upstream says

  connected(): void {
    this.#state = "sent";
    this.#stepDueMs = NEVER;
    this.writable();
  }

  writable(): void {
    const upstream = this.#upstream;
    if (upstream === undefined || !upstream.isConnected) return;
    if (this.#outbox.flush(upstream.stream)) this.#exchange.resumeRequest();
  }

  connectFailed(code: string): void {
    this.transportFailure = code;
    this.#failed("connect_failure", FAILURES.connect_failure);
  }

  /** The connection ended before the response did. */
  lost(): void {
    if (this.#exchange.state === "responding") {
      this.reportHealth(503);
      this.drop();
      this.#exchange.cut();
      return;
    }
    const upstream = this.#upstream;
    // A pooled connection may be closed by its server while a request is on its way to it (RFC 9112 9.3.1): what may be sent
    // twice is, once, on a new connection, and nobody's health is blamed.
    const isSilent = upstream !== undefined && !upstream.hasAnswered;
    const wasReused = isSilent && (upstream.wasInUse || upstream.isHostDown);
    const isFirstTime = !this.#wantsNewConnection;
    if (wasReused && isFirstTime && this.#exchange.isIdempotent && this.#outbox.isReplayable) {
      this.#askAgain();
      return;
    }
    this.#failed("reset", FAILURES.upstream_reset);
  }

  /** The upstream has not begun with the request (RFC 9113 8.7), so any may be asked again, and nobody's health is blamed. */
  refused(): void {
    if (this.#refusals < REFUSALS_MAX && this.#outbox.isReplayable) {
      this.#refusals++;
      this.#askAgain();
    } else this.#failed("refused", FAILURES.upstream_refused);
  }

  /** At once, and not where it was. */
  #askAgain(): void {
    this.drop();
    this.#wantsNewConnection = true;
    this.#outbox.rewind();
    this.attempt();
    this.#exchange.armNext();
  }

  /** A response has begun: true if it is not wanted, since another try is to come. `isReusable`: it is whole. */
  again(status: number, isReusable: boolean): boolean {
    const { plan, grpc } = this.#exchange;
    const retry = plan?.retry;
    if (retry === undefined) return false;
    const isWanted = retriesStatus(retry, status) || retriesGrpcStatus(retry, grpc.status);
    if (!isWanted || !this.#mayRetry()) return false;
    this.reportHealth(status);
    this.drop(isReusable && this.#exchange.isRequestSent);
    this.#backOff();
    return true;
  }

  /** This try is the one that answers: its own timeout is met. */
  answered(status: number): void {
    this.reportHealth(status);
    this.#tryDueMs = NEVER;
  }

  // ---- failing, and trying again

  #failed(kind: TryFailure, failure: Failure): void {
    this.reportHealth(kind === "per_try_timeout" ? 504 : 503);
    this.drop();
    const retry = this.#exchange.plan?.retry;
    const wants = retry !== undefined && retriesFailure(retry, kind);
    if (wants && this.#mayRetry()) this.#backOff();
    else this.#exchange.fail(failure);
  }

  #mayRetry(): boolean {
    const { plan } = this.#exchange;
    return plan !== undefined && this.#outbox.isReplayable && this.#retries.may(plan);
  }

  #backOff(): void {
    const { plan } = this.#exchange;
    if (plan === undefined) return;
    const waitMs = this.#retries.next(plan, this.#position);
    this.#tryDueMs = NEVER;
    this.#outbox.rewind();
    this.#state = "backing_off";
    this.#stepDueMs = this.#context.nowMs() + waitMs;
    this.#exchange.armNext();
  }

  /** A timeout of the try, the end of a back-off. */
  runDue(nowMs: number): void {
    if (nowMs >= this.#tryDueMs) {
      this.#failed("per_try_timeout", FAILURES.per_try_timeout);
      return;
    }
    if (nowMs < this.#stepDueMs) return;
    this.#stepDueMs = NEVER;
    if (this.#state === "backing_off") this.attempt();
    else if (this.#state === "connecting") {
      this.#failed("connect_failure", FAILURES.connect_timeout);
    } else if (this.#state === "waiting") {
      this.#exchange.plan?.cluster?.leave(this);
      this.attempt(); // and that fails: it is due
    }
  }

  // ---- ends

  reportHealth(status: number): void {
    if (this.target !== undefined) {
      this.#exchange.plan?.cluster?.report(this.target, verdictOf(status));
    }
  }

  /** Lets go of the connection: back to its pool, closed in order, or, by default, reset in the middle. */
  drop(isReusable = false, isOver = false): void {
    if (this.#state === "waiting") this.#exchange.plan?.cluster?.leave(this);
    this.#state = "idle";
    const upstream = this.#upstream;
    if (upstream === undefined) return;
    this.#upstream = undefined;
    upstream.exchange = undefined;
    upstream.cluster.countActive(upstream.target, -1);
    if (isReusable) upstream.cluster.release(upstream);
    else if (isOver) upstream.close();
    else upstream.abort();
  }

  /** The connection is a tunnel's now; it is the tunnel that ends it. */
  handOver(): void {
    const upstream = this.#upstream;
    this.#upstream = undefined;
    this.#state = "idle";
    upstream?.cluster.countActive(upstream.target, -1);
  }

  /** The request is over. */
  end(): void {
    this.#state = "idle";
    this.#tryDueMs = NEVER;
    this.#stepDueMs = NEVER;
    this.#outbox.clear();
    this.#retries.release();
  }

  pauseResponse(): void {
    this.#upstream?.pause();
  }

  resumeResponse(): void {
    this.#upstream?.resume();
  }
}
