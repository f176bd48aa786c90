// One cluster as one source identity sees it: balancer, outlier counts, limits, and a pool of idle connections an endpoint.
// It outlives snapshots: a swap hands it the new view and it keeps its connections.
import type { DialTarget } from "../base/net.ts";
import type { Deadline } from "../base/timer-wheel.ts";
import type { FlowFamily } from "../observe/flow-metrics.ts";
import type { ConnectionFamily, RequestFamily, Traffic } from "../observe/request-metrics.ts";
import type { Cluster, ClusterLimits, ClusterSlots, Endpoint } from "../policy/snapshot.ts";
import { Balancer } from "../resilience/balancer.ts";
import { isDown, vouchFor } from "../resilience/host-health.ts";
import { OutlierDetector, type Verdict } from "../resilience/outlier.ts";
import { retriesMax } from "../resilience/retry.ts";
import type { HashKey } from "./hash-key.ts";
import { HttpUpstream } from "./http-upstream.ts";
import type { ThreadContext } from "./thread-context.ts";

/** One endpoint: how it is dialled, and what of it is idle, newest last. */
export class Target {
  readonly endpoint: Endpoint;
  readonly dialHttp: DialTarget;
  readonly dialOpaque: DialTarget;
  /** Same key, same place with the same identity: its idle connections survive a swap. */
  readonly key: string;
  readonly idle: HttpUpstream[] = [];
  /** Dialled and not closed yet, idle ones too. */
  readonly open = new Set<HttpUpstream>();
  /** Made when first asked for. */
  family: RequestFamily | undefined;
  connectionFamily: ConnectionFamily | undefined;
  flowFamily: FlowFamily | undefined;
  /** After a swap: the same endpoint in the new view, or nobody. */
  successor: Target | undefined;
  isGone = false;

  /** `id`: the endpoint's own, unless it stays who it is at another address. */
  constructor(
    endpoint: Endpoint,
    dialHttp: DialTarget,
    dialOpaque: DialTarget,
    id: string = endpoint.id,
  ) {
    this.endpoint = endpoint;
    this.dialHttp = dialHttp;
    this.dialOpaque = dialOpaque;
    const { mesh } = endpoint;
    const speaks = dialHttp.is === "plain" ? dialHttp.speaks : undefined;
    this.key = `${id} ${mesh?.port} ${mesh?.serverName} ${mesh?.identity} ${speaks}`;
  }
}

export interface ClusterView {
  /** As logs and metrics call it. */
  readonly name: string;
  /** What metrics say is called there; undefined: nobody the mesh knows. */
  readonly service: Traffic["service"] | undefined;
  readonly balancer: Cluster["balancer"];
  /** Undefined: endpoints are not chosen by hash. */
  readonly hashKey?: HashKey | undefined;
  readonly outlier: Cluster["outlier"];
  readonly limits: ClusterLimits;
  /** Undefined for a local app: nothing is counted. */
  readonly slots: ClusterSlots | undefined;
  readonly targets: readonly Target[];
  /** Host names that targets are the addresses of, and the view anew, as these are known by then. Absent: there are none. */
  readonly lookups?: { readonly names: readonly string[]; renew(): ClusterView } | undefined;
}

/** Who waits for a connection to become free. */
export interface Waiter {
  /** A connection may be had now. */
  onTurn(): void;
}

export const UNLIMITED = 2 ** 31 - 1;
/** Another thread's connection may have closed: who waits looks again this often. */
const RECHECK_MS = 16;
/** Under maxConnections, how soon an idle connection is given up when another thread waits for one. */
const YIELD_MS = 50;

export class UpstreamCluster {
  view: ClusterView;
  isStale = false;
  /** Connections of an earlier one end with their request: they were made with a certificate that has been replaced. */
  generation = 0;
  readonly #context: ThreadContext;
  readonly #waiters: Waiter[] = [];
  readonly #sweep: Deadline;
  readonly #recheck: Deadline;
  #balancer: Balancer;
  #detector: OutlierDetector | undefined;

  constructor(view: ClusterView, context: ThreadContext) {
    this.view = view;
    this.#context = context;
    this.#balancer = this.#newBalancer(view);
    this.#detector = this.#newDetector(view);
    this.#sweep = context.deadline(() => this.#closeIdle());
    this.#recheck = context.deadline(() => this.#wakeWaiters());
  }

  /** Takes the view of a new snapshot. `view.targets` begin without idle connections. */
  update(view: ClusterView): void {
    const after = new Map(view.targets.map((target) => [target.key, target]));
    for (const old of this.view.targets) {
      const successor = after.get(old.key);
      old.successor = successor;
      old.isGone = successor === undefined;
      if (successor === undefined) {
        closeAll(old.idle);
        continue;
      }
      for (const upstream of old.idle) upstream.target = successor;
      successor.idle.push(...old.idle.splice(0));
      for (const upstream of old.open) successor.open.add(upstream);
    }
    this.view = view;
    this.#balancer = this.#newBalancer(view);
    this.#detector = this.#newDetector(view);
    if (view.lookups !== undefined && this.#waiters.length > 0) this.#wakeWaiters();
  }

  /** No target yet, but there may be some soon: a host name of it was not looked up before. */
  get isAwaitingNames(): boolean {
    const { lookups, targets } = this.view;
    if (lookups === undefined || targets.length > 0) return false;
    return lookups.names.some((name) => this.#context.names.find(name) === undefined);
  }

  /** No snapshot names it any more: connections in use end with their request. */
  retire(): void {
    this.isStale = true;
    for (const target of this.view.targets) closeAll(target.idle);
    this.#sweep.cancel();
  }

  /** Position of a target, or -1 when all are ejected or there is none. `hash`: by `view.hashKey`. */
  pick(tried: readonly number[], hash?: number): number {
    const nowMs = this.#context.nowMs();
    const { lookups } = this.view;
    if (lookups !== undefined)
      for (const name of lookups.names) this.#context.names.use(name, nowMs);
    return this.#balancer.pick(nowMs, tried, hash);
  }

  /** Undefined when a snapshot took it away meanwhile, and for -1. */
  target(position: number): Target | undefined {
    return this.view.targets[position];
  }

  report(target: Target, verdict: Verdict): void {
    if (verdict === "success") vouchFor(this.#context.deps.slots, target.endpoint);
    this.#detector?.report(target.endpoint, verdict, this.#context.nowMs());
  }

  /** An idle connection, the one that was used last. */
  takeIdle(target: Target): HttpUpstream | undefined {
    return target.idle.pop();
  }

  /** Counts a connection, if one more is allowed. */
  claimConnection(): boolean {
    const slots = this.view.slots;
    if (slots === undefined) return true;
    if (this.#context.deps.slots.hold(slots.connections, 1) <= this.view.limits.maxConnections) {
      return true;
    }
    this.#context.deps.slots.hold(slots.connections, -1);
    return this.#evictIdle() && this.claimConnection();
  }

  releaseConnection(): void {
    const slots = this.view.slots;
    if (slots !== undefined) this.#context.deps.slots.hold(slots.connections, -1);
    this.#wakeWaiters();
  }

  dial(target: Target): HttpUpstream {
    return new HttpUpstream(this, target, this.#context);
  }

  /** Takes a connection back that finished its exchange in order. */
  release(upstream: HttpUpstream): void {
    const { maxRequestsPerConnection } = this.view.limits;
    const isSpent = maxRequestsPerConnection > 0 && upstream.requests >= maxRequestsPerConnection;
    while (upstream.target.successor !== undefined) upstream.target = upstream.target.successor;
    const isOld = upstream.generation !== this.generation || upstream.stream.isRetiring === true;
    if (this.isStale || isSpent || isOld || upstream.target.isGone || this.#context.isDraining) {
      upstream.close();
      return;
    }
    upstream.resume();
    upstream.idleSinceMs = this.#context.recentMs;
    upstream.target.idle.push(upstream);
    if (this.#sweep.slot < 0) this.#sweep.set(upstream.idleSinceMs + this.#sweepMs);
    if (this.#waiters.length > 0) this.#wakeWaiters();
  }

  /** An idle connection ended by itself. */
  forget(upstream: HttpUpstream): void {
    const at = upstream.target.idle.indexOf(upstream);
    if (at >= 0) upstream.target.idle.splice(at, 1);
  }

  /** Queues for a connection. False: the queue is full. */
  wait(waiter: Waiter): boolean {
    const { slots, limits } = this.view;
    if (slots !== undefined) {
      if (this.#context.deps.slots.hold(slots.pending, 1) > limits.maxPendingRequests) {
        this.#context.deps.slots.hold(slots.pending, -1);
        return false;
      }
    }
    this.#waiters.push(waiter);
    if (this.#recheck.slot < 0) this.#recheck.set(this.#context.nowMs() + RECHECK_MS);
    return true;
  }

  leave(waiter: Waiter): void {
    const at = this.#waiters.indexOf(waiter);
    if (at < 0) return;
    this.#waiters.splice(at, 1);
    this.#countWaiter(-1);
  }

  /** Requests under way, all threads; false: over the limit. */
  claimRequest(): boolean {
    const { slots, limits } = this.view;
    if (slots === undefined) return true;
    if (this.#context.deps.slots.hold(slots.requests, 1) <= limits.maxRequests) return true;
    this.#context.deps.slots.hold(slots.requests, -1);
    return false;
  }

  releaseRequest(): void {
    const slots = this.view.slots;
    if (slots !== undefined) this.#context.deps.slots.hold(slots.requests, -1);
  }

  /** A retry more, all threads together; false: the budget has no room. */
  claimRetry(): boolean {
    const { slots, limits } = this.view;
    if (slots === undefined) return true;
    const shared = this.#context.deps.slots;
    const most = retriesMax(limits, shared.read(slots.requests));
    if (shared.hold(slots.retries, 1) <= most) return true;
    shared.hold(slots.retries, -1);
    const { metrics } = this.#context.deps;
    metrics.counter("ironmesh_retries_refused_total", { cluster: this.view.name }).add();
    return false;
  }

  releaseRetry(): void {
    const slots = this.view.slots;
    if (slots !== undefined) this.#context.deps.slots.hold(slots.retries, -1);
  }

  /** Requests under way at an endpoint, for least request. */
  countActive(target: Target, delta: number): void {
    if (this.view.slots !== undefined) {
      this.#context.deps.slots.hold(target.endpoint.slots.active, delta);
    }
  }

  /** The source identity has a new certificate: what follows is dialled anew, what is under way is not touched. */
  renew(): void {
    this.generation++;
    this.closeIdleNow();
  }

  /** Its host is down, and another endpoint's is not. */
  isHopeless(target: Target): boolean {
    return isDown(this.#context.deps.slots, target.endpoint) && this.#hasOtherUp(target);
  }

  /** Some host went down or came back. What waits for one that is down need not wait for its timeout. */
  hostsChanged(): void {
    for (const target of this.view.targets) {
      if (target.open.size === 0 || !this.isHopeless(target)) continue;
      for (const upstream of [...target.open]) upstream.hostDown();
    }
  }

  /** Otherwise giving up a connection would only cost it. */
  #hasOtherUp(target: Target): boolean {
    const { slots } = this.#context.deps;
    return this.view.targets.some((one) => one !== target && !isDown(slots, one.endpoint));
  }

  closeRetiring(): void {
    for (const { idle } of this.view.targets) {
      const retiring = idle.filter(({ stream }) => stream.isRetiring === true);
      for (const upstream of retiring) idle.splice(idle.indexOf(upstream), 1);
      closeAll(retiring);
    }
  }

  closeIdleNow(): void {
    for (const target of this.view.targets) closeAll(target.idle);
  }

  #wakeWaiters(): void {
    this.#recheck.cancel();
    // Each looks once; who finds nothing queues again, so this ends.
    for (let turns = this.#waiters.length; turns > 0; turns--) {
      const waiter = this.#waiters.shift();
      if (waiter === undefined) break;
      this.#countWaiter(-1);
      waiter.onTurn();
    }
    if (this.#waiters.length > 0) this.#recheck.set(this.#context.nowMs() + RECHECK_MS);
  }

  #countWaiter(delta: number): void {
    const slots = this.view.slots;
    if (slots !== undefined) this.#context.deps.slots.hold(slots.pending, delta);
  }

  /** Makes room under maxConnections: an idle connection to one endpoint must not starve another. */
  #evictIdle(): boolean {
    for (const target of this.view.targets) {
      const oldest = target.idle.shift();
      if (oldest === undefined) continue;
      oldest.close();
      return true;
    }
    return false;
  }

  get #isLimited(): boolean {
    return this.view.slots !== undefined && this.view.limits.maxConnections < UNLIMITED;
  }

  get #sweepMs(): number {
    const { idleTimeoutMs } = this.view.limits;
    return this.#isLimited ? Math.min(YIELD_MS, idleTimeoutMs) : idleTimeoutMs;
  }

  /** Somebody waits, and nobody here: an idle connection of ours is in the way. */
  get #mustYield(): boolean {
    const slots = this.view.slots;
    if (slots === undefined || !this.#isLimited || this.#waiters.length > 0) return false;
    return this.#context.deps.slots.read(slots.pending) > 0;
  }

  #closeIdle(): void {
    const nowMs = this.#context.nowMs();
    const overdueMs = this.#mustYield ? nowMs : nowMs - this.view.limits.idleTimeoutMs;
    let oldestMs = Number.POSITIVE_INFINITY;
    for (const { idle } of this.view.targets) {
      while (idle[0] !== undefined && idle[0].idleSinceMs <= overdueMs) idle.shift()?.close();
      oldestMs = Math.min(oldestMs, idle[0]?.idleSinceMs ?? oldestMs);
    }
    if (oldestMs === Number.POSITIVE_INFINITY) return;
    const nextMs = this.#isLimited ? nowMs : oldestMs;
    this.#sweep.set(nextMs + this.#sweepMs);
  }

  #newBalancer(view: ClusterView): Balancer {
    const endpoints = view.targets.map((target) => target.endpoint);
    return new Balancer(
      { balancer: view.balancer, endpoints, outlier: view.outlier },
      this.#context.deps,
    );
  }

  #newDetector(view: ClusterView): OutlierDetector | undefined {
    if (view.outlier === undefined) return undefined;
    const endpoints = view.targets.map((target) => target.endpoint);
    const { slots, log, metrics } = this.#context.deps;
    return new OutlierDetector(
      { policy: view.outlier, endpoints },
      {
        slots,
        onEject: ({ endpoint, forMs }) => {
          metrics.counter("ironmesh_endpoint_ejections_total", { cluster: view.name }).add();
          log.warn("endpoint ejected", { cluster: view.name, endpoint: endpoint.id, forMs });
        },
      },
    );
  }
}

function closeAll(idle: HttpUpstream[]): void {
  for (const upstream of idle.splice(0)) upstream.close();
}
