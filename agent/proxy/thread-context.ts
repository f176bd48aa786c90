// What all connections of a thread share. One event is handled at a time, so the records that readers fill are shared too:
// they are valid only until the event that filled them ends.

import { Deadline } from "../base/timer-wheel.ts";
import { TRACE_DEFAULTS, TraceFields } from "../observe/trace.ts";
import { HEAD_LIMITS, RequestHead, ResponseHead } from "../protocol/http1/head.ts";
import { BufferPool } from "./buffer-pool.ts";
import type { DataPlaneConfig } from "./config.ts";
import type { DataPlaneDeps } from "./data-plane.ts";
import type { Exchange } from "./exchange.ts";
import { HeadSender } from "./head-sender.ts";

/** Fields that say who somebody is: whoever sends them, they are ours to set. */
const FORGEABLE = ["x-forwarded-client-cert"];

/** An open downstream connection, as far as the data plane cares. */
export interface OpenConnection {
  /** Where OpenConnections keeps it; -1: it does not. */
  openAt: number;
  /** Ends now when idle, otherwise with what is under way. */
  drain(): void;
  /** Ends now. */
  cut(): void;
  /** A snapshot replaced the one it began with: may it stay? */
  reconsider(): void;
}

/** An array in which each connection knows its place: a Set costs 100 bytes an entry. */
class OpenConnections {
  readonly #connections: OpenConnection[] = [];

  get size(): number {
    return this.#connections.length;
  }

  add(connection: OpenConnection): void {
    connection.openAt = this.#connections.length;
    this.#connections.push(connection);
  }

  /** False: it was not there. */
  delete(connection: OpenConnection): boolean {
    const at = connection.openAt;
    const last = this.#connections.at(-1);
    if (at < 0 || last === undefined) return false;
    this.#connections[at] = last;
    last.openAt = at;
    this.#connections.length--;
    connection.openAt = -1;
    return true;
  }

  /** As they are now: they may come and go meanwhile. */
  all(): readonly OpenConnection[] {
    return [...this.#connections];
  }
}

export class ThreadContext {
  readonly config: DataPlaneConfig;
  readonly deps: DataPlaneDeps;
  readonly buffers: BufferPool;
  readonly requestHead = new RequestHead(HEAD_LIMITS.headersMax, FORGEABLE);
  readonly responseHead = new ResponseHead(HEAD_LIMITS.headersMax);
  readonly sender: HeadSender;
  readonly open = new OpenConnections();
  /** Not in use. */
  readonly exchanges: Exchange[] = [];
  isDraining = false;
  #hasClaim = false;
  /** What nowMs() said last: good enough for what ends within the event that asked. */
  recentMs = 0;

  constructor(config: DataPlaneConfig, deps: DataPlaneDeps) {
    this.config = config;
    this.deps = deps;
    this.buffers = new BufferPool({ poisons: config.poisonsBuffers });
    const trace = new TraceFields(TRACE_DEFAULTS, deps);
    this.sender = new HeadSender({ network: deps.network, trace });
  }

  nowMs(): number {
    this.recentMs = this.deps.clock.nowMs();
    return this.recentMs;
  }

  /** A deadline, not set; a bug in what it runs is caught at this root. */
  deadline(run: () => void): Deadline {
    const onDue = (): void => {
      try {
        run();
      } catch (error) {
        this.deps.bug(error);
      }
    };
    return new Deadline(this.deps.wheel, { onDue });
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
