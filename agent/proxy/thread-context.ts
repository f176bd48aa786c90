// What all connections of a thread share. One event is handled at a time, so the records that readers fill are shared too:
// they are valid only until the event that filled them ends.

import type { Stream } from "../base/net.ts";
import { Deadline, type Due } from "../base/timer-wheel.ts";
import { TRACE_DEFAULTS, TraceFields } from "../observe/trace.ts";
import { HEAD_LIMITS, type HeadLimits, RequestHead, ResponseHead } from "../protocol/http1/head.ts";
import { BufferPool } from "./buffer-pool.ts";
import type { DataPlaneConfig } from "./config.ts";
import type { DataPlaneDeps } from "./data-plane.ts";
import { Exchange } from "./exchange.ts";
import { TAIL_BYTES_MAX } from "./field-tail.ts";
import { HeadSender } from "./head-sender.ts";
import { HostNames } from "./host-names.ts";
import type { HttpConnection } from "./http-connection.ts";
import { type OpenConnection, OpenConnections } from "./open-connections.ts";

/** Fields that say who somebody is: whoever sends them, they are ours to set. */
const FORGEABLE = ["x-forwarded-client-cert"];

/** Fields that one agent may add to a head: identity, ids, and those of a route. */
const TAIL_FIELDS_MAX = 64;

/** As many requests are under way at once before more exchanges are made and let go. */
const EXCHANGES_KEPT_MAX = 1024;

/** An object and no closure: each connection has one for as long as it lives. */
class GuardedTask implements Due {
  readonly #deps: Pick<DataPlaneDeps, "bug">;
  readonly #run: () => void;

  constructor(deps: Pick<DataPlaneDeps, "bug">, run: () => void) {
    this.#deps = deps;
    this.#run = run;
  }

  onDue(): void {
    try {
      this.#run();
    } catch (error) {
      this.#deps.bug(error);
    }
  }
}

export class ThreadContext {
  readonly config: DataPlaneConfig;
  readonly deps: DataPlaneDeps;
  readonly buffers: BufferPool;
  /** For who is no agent. */
  readonly #headLimits: HeadLimits;
  /** What an agent let pass its peer reads too, with the fields that were added on the way. */
  readonly #peerHeadLimits: HeadLimits;
  readonly requestHead: RequestHead;
  readonly responseHead: ResponseHead;
  readonly sender: HeadSender;
  readonly open: OpenConnections;
  readonly names: HostNames;
  /** Not in use. */
  readonly #exchanges: Exchange[] = [];
  /** Answers say `connection: close`, nothing is pooled any more. */
  isDraining = false;
  /** While draining: an idle connection is ended, though its client may be about to ask. */
  endsIdle = false;
  #hasClaim = false;
  /** What nowMs() said last: good enough for what ends within the event that asked. */
  recentMs = 0;

  constructor(config: DataPlaneConfig, deps: DataPlaneDeps) {
    this.config = config;
    this.deps = deps;
    const { headersMax } = config;
    const { headBytesMax } = HEAD_LIMITS;
    this.#headLimits = { ...HEAD_LIMITS, headersMax };
    this.#peerHeadLimits = {
      ...HEAD_LIMITS,
      headBytesMax: headBytesMax + TAIL_BYTES_MAX,
      headersMax: headersMax + TAIL_FIELDS_MAX,
    };
    this.requestHead = new RequestHead(headersMax + TAIL_FIELDS_MAX, FORGEABLE);
    this.responseHead = new ResponseHead(headersMax + TAIL_FIELDS_MAX);
    this.buffers = new BufferPool({ poisons: config.poisonsBuffers });
    this.names = new HostNames((name) => deps.useName(name));
    const trace = new TraceFields(TRACE_DEFAULTS, deps);
    this.sender = new HeadSender({ network: deps.network, trace });
    this.open = new OpenConnections(config, {
      now: () => this.nowMs(),
      deadline: (run) => this.deadline(run),
    });
  }

  headLimitsOf(stream: Stream): HeadLimits {
    return stream.mesh === undefined ? this.#headLimits : this.#peerHeadLimits;
  }

  nowMs(): number {
    this.recentMs = this.deps.clock.nowMs();
    return this.recentMs;
  }

  /** A deadline, not set; a bug in what it runs is caught at this root. */
  deadline(run: () => void): Deadline {
    return new Deadline(this.deps.wheel, new GuardedTask(this.deps, run));
  }

  /** For one request. */
  borrowExchange(connection: HttpConnection): Exchange {
    const exchange = this.#exchanges.pop() ?? new Exchange(this);
    exchange.serve(connection);
    return exchange;
  }

  giveBack(exchange: Exchange): void {
    exchange.leave();
    if (exchange.state === "over" && this.#exchanges.length < EXCHANGES_KEPT_MAX) {
      this.#exchanges.push(exchange);
    } else exchange.discard();
  }

  /** `code` is an errno or a MeshRefusal word: a bounded set. */
  countConnectFailure(code: string): void {
    this.deps.metrics.counter("ironmesh_upstream_connect_failures_total", { code }).add();
  }

  /** Claims one connection more of those the agent may have, for the next admit(). Counted before it is looked at: of two threads
   *  that look at once only one gets the last. */
  claimRoom(): boolean {
    const { connectionsSlot, connectionsMax } = this.config;
    this.dropClaim(); // one that a bug left behind
    this.#hasClaim = this.deps.slots.hold(connectionsSlot, 1) <= connectionsMax;
    if (!this.#hasClaim) this.deps.slots.hold(connectionsSlot, -1);
    return this.#hasClaim;
  }

  /** A claim that nobody used: its connection was refused after all. */
  dropClaim(): void {
    if (this.#hasClaim) this.deps.slots.hold(this.config.connectionsSlot, -1);
    this.#hasClaim = false;
  }

  admit(connection: OpenConnection): void {
    this.open.add(connection);
    if (this.#hasClaim) this.#hasClaim = false;
    else this.deps.slots.hold(this.config.connectionsSlot, 1);
  }

  dismiss(connection: OpenConnection): void {
    if (this.open.delete(connection)) this.deps.slots.hold(this.config.connectionsSlot, -1);
  }
}
