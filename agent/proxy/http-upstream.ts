// One HTTP/1.1 connection towards an endpoint. It serves one exchange at a time and lies idle in its target's pool between:
//
//   connecting -> head <-> body -> (released) idle -> head ...        any -> closed
//                  head -> switched (101: a tunnel takes the stream)
import { type CloseReason, EDIT_ROOM, type Stream } from "../base/net.ts";
import { BodyReader } from "../protocol/http1/body.ts";
import { InterimAllowance } from "../protocol/http1/interim.ts";
import { readResponseHead } from "../protocol/http1/read-response.ts";
import { NEED_MORE } from "../protocol/http1/refusal.ts";
import type { Exchange } from "./exchange.ts";
import { isUnprocessed, unaskable } from "./failure.ts";
import { Guarded } from "./guarded.ts";
import { HeldBytes } from "./held-bytes.ts";
import type { ThreadContext } from "./thread-context.ts";
import type { Target, UpstreamCluster } from "./upstream-cluster.ts";

export class HttpUpstream extends Guarded {
  readonly cluster: UpstreamCluster;
  readonly stream: Stream;
  target: Target;
  exchange: Exchange | undefined;
  isConnected = false;
  /** Exchanges it has been given. */
  requests = 0;
  idleSinceMs = 0;
  /** See UpstreamCluster. */
  readonly generation: number;
  /** Given up because its host is down: whoever waits for an answer is served elsewhere, if its request may be sent twice. */
  isHostDown = false;
  readonly #body = new BodyReader(true);
  #isInBody = false;
  readonly #interim = new InterimAllowance();
  /** An interim response was passed on. */
  #hasInterim = false;
  /** An unfinished head. */
  readonly #held = new HeldBytes();
  #isCounted = true;
  #isPaused = false;
  #keepAlive = true;

  /** Dials. The caller has claimed the connection from the cluster. */
  constructor(cluster: UpstreamCluster, target: Target, context: ThreadContext) {
    super(context);
    this.cluster = cluster;
    this.target = target;
    this.generation = cluster.generation;
    target.open.add(this);
    this.stream = context.deps.network.dial(target.dialHttp, this);
  }

  /** The exchange's request begins here. */
  begin(exchange: Exchange): void {
    this.exchange = exchange;
    this.requests++;
    this.#isInBody = false;
    if (this.#hasInterim) this.#interim.begin();
    this.#hasInterim = false;
  }

  /** A byte of the response has arrived. */
  get hasAnswered(): boolean {
    return this.#isInBody || this.#hasInterim || !this.#held.isEmpty;
  }

  /** What it is on was there before this request, or is open to us before the agent at its other end has seen our certificate
   *  (RFC 8446 2): a pooled connection, one that carries many streams. */
  get wasInUse(): boolean {
    return this.requests > 1 || this.stream.isCarrierGone === true;
  }

  pause(): void {
    this.#isPaused = true;
    this.stream.pause();
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.stream.resume();
  }

  /** Its host is down and others are up: an idle connection ends, a dial is given up, and a request of which no answer came yet goes
   *  elsewhere if it may be sent twice. What has begun to be answered goes on: the host may only be out of our sight. */
  hostDown(): void {
    const { exchange } = this;
    if (exchange === undefined) {
      this.cluster.forget(this);
      this.close();
    } else if (!this.isConnected) exchange.tries.connectFailed("host_down");
    else if (exchange.state !== "responding" && exchange.isIdempotent && !this.hasAnswered) {
      this.isHostDown = true;
      exchange.tries.lost();
    }
  }

  close(): void {
    this.exchange = undefined;
    this.#held.clear();
    this.stream.close();
    this.#uncount();
  }

  /** Ends it in the middle of an exchange: a reset, so that the other side does not take it for a client that only has no more to
   *  say, and stops working for nobody. */
  abort(): void {
    this.exchange = undefined;
    this.#held.clear();
    this.stream.reset();
    this.#uncount();
  }

  /** A tunnel takes the stream over; what it counted stays counted until it says so. */
  detach(): Stream {
    this.exchange = undefined;
    this.#leave(this.target);
    return this.stream;
  }

  /** For who detached it: the stream is closed. */
  detachedClosed(): void {
    this.#uncount();
  }

  protected override opened(): void {
    this.isConnected = true;
    this.exchange?.tries.connected();
  }

  protected override received(
    _stream: Stream,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): void {
    if (this.exchange === undefined) {
      // Nobody asked: a late 408, or nonsense. Such a connection cannot be trusted with a request.
      this.cluster.forget(this);
      this.close();
      return;
    }
    if (this.#isInBody) {
      this.#receiveBody(this.exchange, bytes, start, end);
      return;
    }
    if (this.#held.isEmpty) {
      this.#receiveHead(this.exchange, bytes, start, end, end + EDIT_ROOM);
      return;
    }
    if (!this.#held.addToHead(bytes, start, end)) return;
    const joined = this.#held.take();
    this.#receiveHead(this.exchange, joined, 0, joined.length - EDIT_ROOM, joined.length);
  }

  #receiveHead(
    exchange: Exchange,
    bytes: Uint8Array,
    start: number,
    end: number,
    limit: number,
  ): void {
    const head = this.context.responseHead;
    const limits = this.context.headLimitsOf(this.stream);
    let at = start;
    for (;;) {
      const headEnd = readResponseHead(head, bytes, at, end, limits, exchange.isHead, false);
      if (headEnd === NEED_MORE) {
        this.#held.add(bytes, at, end);
        return;
      }
      if (headEnd < 0) {
        exchange.upstreamNonsense();
        return;
      }
      if (!head.isInterim) {
        this.#receiveFinalHead(exchange, bytes, headEnd, end, limit);
        return;
      }
      this.#hasInterim = true;
      if (!this.#interim.spend(headEnd - at)) {
        exchange.upstreamNonsense();
        return;
      }
      exchange.forwardInterim(bytes, headEnd);
      if (this.exchange !== exchange || headEnd === end) return;
      at = headEnd;
    }
  }

  #receiveFinalHead(
    exchange: Exchange,
    bytes: Uint8Array,
    headEnd: number,
    end: number,
    limit: number,
  ): void {
    const head = this.context.responseHead;
    if (head.status === 101) {
      exchange.switchProtocols(this, bytes, headEnd, end);
      return;
    }
    this.#body.begin(head);
    exchange.grpc.watch(head, this.#body);
    this.#isInBody = true;
    let stop = headEnd;
    if (!this.#body.isDone && headEnd < end) {
      const scanned = this.#body.scan(bytes, headEnd, end);
      if (scanned < NEED_MORE) {
        exchange.upstreamNonsense();
        return;
      }
      stop = scanned === NEED_MORE ? end : scanned;
    }
    const isDone = this.#body.isDone;
    const isReusable = isDone && head.keepAlive && this.#endsAt(stop, end);
    if (!exchange.forwardResponse(bytes, headEnd, stop, limit, isReusable)) return;
    if (isDone) this.#done(exchange, isReusable);
    else this.#keepAlive = head.keepAlive;
  }

  #receiveBody(exchange: Exchange, bytes: Uint8Array, start: number, end: number): void {
    const scanned = this.#body.scan(bytes, start, end);
    if (scanned < NEED_MORE) {
      exchange.upstreamNonsense();
      return;
    }
    const stop = scanned === NEED_MORE ? end : scanned;
    exchange.forwardBody(bytes, start, stop);
    if (this.exchange === exchange && this.#body.isDone) {
      this.#done(exchange, this.#keepAlive && this.#endsAt(stop, end));
    }
  }

  #done(exchange: Exchange, isReusable: boolean): void {
    exchange.grpc.ended(this.#body);
    exchange.responseDone(isReusable);
  }

  /** Nothing came behind the response, nor has arrived unseen, which the next request would take for its own (RFC 9112 6.3). */
  #endsAt(stop: number, end: number): boolean {
    return stop === end && this.stream.hasUnread !== true;
  }

  protected override writable(): void {
    this.exchange?.tries.writable();
  }

  protected override ended(): void {
    const { exchange } = this;
    if (exchange === undefined) {
      this.cluster.forget(this);
      this.close();
    } else if (this.#isInBody && this.#body.end()) exchange.responseDone(false);
    else exchange.tries.lost();
  }

  protected override closed(_stream: Stream, reason: CloseReason): void {
    const { exchange } = this;
    this.#uncount();
    if (reason.is === "connect_failed") this.context.countConnectFailure(reason.code);
    if (exchange === undefined) this.cluster.forget(this);
    else if (reason.is === "connect_failed") exchange.tries.connectFailed(reason.code);
    else if (reason.is === "ended" && this.#isInBody && this.#body.end()) {
      exchange.responseDone(false);
    } else if (isUnprocessed(reason) && !this.hasAnswered) exchange.tries.refused();
    else if (reason.is === "failed" && reason.code === "EPROTO") exchange.upstreamNonsense();
    else {
      const failure = unaskable(reason);
      if (failure === undefined) exchange.tries.lost();
      else exchange.giveUp(failure);
    }
  }

  protected override abandon(): void {
    const { exchange } = this;
    if (exchange !== undefined) exchange.tries.lost();
    this.close();
  }

  #uncount(): void {
    if (!this.#isCounted) return;
    this.#isCounted = false;
    this.#leave(this.target);
    this.cluster.releaseConnection();
  }

  /** It may have moved on with a snapshot while its target had successors. */
  #leave(target: Target): void {
    for (let at: Target | undefined = target; at !== undefined; at = at.successor) {
      at.open.delete(this);
    }
  }
}
