// One downstream HTTP/2 connection. Each of its lanes is served as an HTTP/1.1 connection is (http-connection.ts), so whatever holds for a
// request holds here: routes, policy, limits, retries, records. This keeps what belongs to the connection: deadlines, drain, and its place
// among the agent's.
import type { Stream } from "../base/net.ts";
import { Deadline, type Due } from "../base/timer-wheel.ts";
import { CODE } from "../protocol/http2/frame.ts";
import {
  type LeftStream,
  ServerConnection,
  type ServerEvents,
} from "../protocol/http2/server-connection.ts";
import type { HttpRole } from "./http-role.ts";
import { Lingering } from "./lingering.ts";
import type { OpenConnection } from "./open-connections.ts";
import type { ThreadContext } from "./thread-context.ts";

const NEVER = Number.POSITIVE_INFINITY;

export class Http2Downstream implements OpenConnection, ServerEvents, Due {
  openAt = -1;
  readonly #connection: ServerConnection;
  readonly #serve: (lane: Stream) => void;
  readonly #role: Pick<HttpRole, "renew">;
  readonly #context: ThreadContext;
  readonly #deadline: Deadline;
  #activeMs: number;
  /** Which head is awaited; see Http2Connection.pendingHead. */
  #awaited = -1;

  /** `role`: of every request on it. `serve` takes each lane over, `make` makes the connection of another kind. */
  constructor(
    stream: Stream,
    role: Pick<HttpRole, "renew">,
    context: ThreadContext,
    serve: (lane: Stream) => void,
    make = (events: ServerEvents) => new ServerConnection(context.deps.http2, events, stream),
  ) {
    this.#role = role;
    this.#serve = serve;
    this.#context = context;
    this.#deadline = new Deadline(context.deps.wheel, this);
    this.#activeMs = context.nowMs();
    context.admit(this);
    this.#connection = make(this);
    this.#await();
  }

  // ---- what the connection tells

  onLane(lane: Stream): boolean {
    if (!this.#context.claimRoom()) return false;
    this.#serve(lane);
    return true;
  }

  onActive(): void {
    this.#activeMs = this.#context.nowMs();
    this.#await();
    if (this.#context.isDraining) this.#connection.retire();
  }

  onOver(left: LeftStream | undefined): void {
    this.#deadline.cancel();
    if (left === undefined) this.#context.dismiss(this);
    else new Lingering(left.stream, this, this.#context, left.rest);
  }

  // ---- time

  /** A head, or the preface, has begun: it must be whole in time. */
  #await(): void {
    const pending = this.#connection.pendingHead;
    if (pending === this.#awaited) return;
    this.#awaited = pending;
    if (pending < 0) this.#deadline.cancel();
    else this.#deadline.set(this.#activeMs + this.#context.config.headerTimeoutMs);
  }

  onDue(): void {
    try {
      if (this.#connection.pendingHead === this.#awaited)
        this.#connection.fail(CODE.enhanceYourCalm, "slow_head");
    } catch (error) {
      this.#context.deps.bug(error);
      this.#connection.cut();
    }
  }

  endIdle(nowMs: number): number {
    const { idleTimeoutMs, headerTimeoutMs } = this.#context.config;
    if (this.#connection.streamCount > 0) return nowMs + idleTimeoutMs;
    const dueMs = this.#activeMs + idleTimeoutMs;
    if (dueMs > nowMs) return dueMs;
    if (dueMs + headerTimeoutMs > nowMs) {
      this.#connection.retire();
      return dueMs + headerTimeoutMs;
    }
    this.#connection.end(); // it did not answer
    return NEVER;
  }

  // ---- ends

  drain(isLastCall: boolean): void {
    if (isLastCall || this.#connection.hasAsked) this.#connection.retire();
  }

  cut(): void {
    this.#connection.cut();
  }

  reconsider(): void {
    this.#role.renew();
  }
}
