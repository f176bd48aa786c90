// One thread's data path: takes accepted connections and carries them, by the snapshot that stands when each begins.
import type { Clock, Random } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import type { MeshPeer, Network, OriginalDestination, Stream } from "../base/net.ts";
import type { Slots } from "../base/slots.ts";
import type { TimerWheel } from "../base/timer-wheel.ts";
import type { AccessLog } from "../observe/access-log.ts";
import type { DecisionBook, Denial } from "../observe/decision-book.ts";
import type { Counter, SeriesTable } from "../observe/series.ts";
import { isVirtual } from "../policy/address-block.ts";
import type { Cluster, Snapshot } from "../policy/snapshot.ts";
import type { ToldName } from "../policy/told-names.ts";
import type { Http2Deps } from "../protocol/http2/shared-by-thread.ts";
import type { KeyedBuckets } from "../resilience/keyed-buckets.ts";
import {
  type Arrival,
  appClusterName,
  byPeerAuthentication,
  deniedAt,
  destinationOf,
  inboundFor,
} from "./arrival.ts";
import type { DataPlaneConfig } from "./config.ts";
import { HeadView } from "./head-view.ts";
import { serveInbound } from "./inbound.ts";
import { type ClientView, ClusterBook, clusterKeyOf, clusterView, MeshView } from "./mesh-view.ts";
import { serveOutbound } from "./outbound.ts";
import { passThroughView } from "./pass-through.ts";
import { ThreadContext } from "./thread-context.ts";
import type { UpstreamCluster } from "./upstream-cluster.ts";

export interface DataPlaneDeps {
  readonly network: Network;
  /** What its HTTP/2 connections share. */
  readonly http2: Http2Deps;
  readonly clock: Clock;
  readonly wheel: TimerWheel;
  readonly random: Random;
  readonly slots: Slots;
  /** Rate limits' buckets of callers; the agent's, as slots are. */
  readonly buckets: KeyedBuckets;
  readonly metrics: SeriesTable;
  readonly accessLog: AccessLog;
  readonly decisions: DecisionBook;
  readonly log: Log;
  /** Is this an address of this host now, whatever the snapshot knows? */
  isLocalAddress(address: string): boolean;
  /** Somebody dials an endpoint of that name; hearNames() follows, now or later. */
  useName(name: string): void;
  /** A bug of ours was caught at a connection's root; the connection is gone, the rest goes on. */
  bug(error: unknown): void;
}

/** Fit for a log. */
const WRITTEN = /^[a-zA-Z0-9._-]{1,255}$/;
const NOWHERE = { address: "", port: 0 };
const LOOPBACK = "127.0.0.1";
/** How long a connection that was just made may take to ask, once draining. */
const FIRST_REQUEST_MS = 1_000;
/** For what is under way when a hand-over's limit is reached. */
const LAST_CALL_MS = 1_000;

/** What a connection was for; what is not known of it is left out. */
export type Refused = Partial<Omit<Denial, "request" | "caller">> & {
  readonly identity?: string | undefined;
};

/** Why a connection was reset before it began; label of ironmesh_connections_refused_total. */
export type RefusalReason =
  | "no_snapshot"
  | "too_many"
  | "not_declared"
  | "no_service"
  | "authority_invalid"
  | "another_identity"
  | "plaintext_to_strict"
  | "no_route"
  | "no_healthy_upstream"
  | "not_tls"
  | "hello_timeout"
  | "overflow";

export class DataPlane {
  readonly config: DataPlaneConfig;
  readonly deps: DataPlaneDeps;
  readonly context: ThreadContext;
  readonly book: ClusterBook;
  readonly headView: HeadView;
  /** What stands now; undefined until the first snapshot. */
  view: MeshView | undefined;
  readonly #refused = new Map<RefusalReason, Counter>();
  readonly listenerDialled: Counter;

  constructor(config: DataPlaneConfig, deps: DataPlaneDeps) {
    this.config = config;
    this.deps = deps;
    this.context = new ThreadContext(config, deps);
    this.book = new ClusterBook(this.context);
    this.headView = new HeadView(this.context.requestHead);
    this.listenerDialled = deps.metrics.counter("ironmesh_listener_dialled_total");
  }

  get openConnections(): number {
    return this.context.open.size;
  }

  /** New connections and new requests use it; requests under way end by the one they began with. Opaque connections that it no
   *  longer admits are cut. */
  swap(snapshot: Snapshot): void {
    this.deps.decisions.follow(snapshot.host.name, snapshot);
    const view = new MeshView(snapshot, this.book);
    this.view = view;
    const clusters = new Map(snapshot.clusters.map((cluster) => [clusterKeyOf(cluster), cluster]));
    const ports = inboundNames(snapshot);
    this.book.refresh((identity, current) => {
      const cluster = clusters.get(clusterKeyOf(current));
      // Where it was going is nobody's endpoint: what goes there from now on begins anew, under the same limits.
      if (cluster?.isOriginalDst === true) return undefined;
      if (cluster !== undefined)
        return clusterView(snapshot, cluster, identity, this.context.names);
      return ports.has(current.name) ? current : undefined;
    });
    for (const connection of this.context.open.all()) connection.reconsider();
  }

  /** What host names of endpoints stand for by now. Who waits for one goes on. */
  hearNames(told: readonly ToldName[]): void {
    for (const one of told) this.context.names.hear(one);
    const changed = new Set(told.map(({ name }) => name));
    this.book.refresh((_, current) => {
      const { lookups } = current;
      return lookups?.names.some((name) => changed.has(name)) ? lookups.renew() : current;
    });
  }

  /** Local identities whose certificates were replaced. Pooled connections are made anew with them, long before the old ones
   *  expire; tunnels and requests under way live on. */
  renewed(identities: ReadonlySet<string>): void {
    this.book.renew(identities);
  }

  /** Idle pooled streams that keep a connection from ending are closed. */
  closeRetiring(): void {
    this.book.closeRetiring();
  }

  /** From a workload's own listener (index into snapshot.workloads); undefined: a process of no workload (15001). */
  acceptOutbound(
    stream: Stream,
    original: OriginalDestination | undefined,
    workload: number | undefined,
  ): void {
    if (original === undefined || this.isListener(original.port)) {
      this.#cutDialler(stream, original);
      return;
    }
    const view = this.#admit(stream, original);
    if (view === undefined) return;
    const { address, port } = original;
    const isKnown =
      view.tables.serviceAt(address, port) !== undefined ||
      view.tables.endpointAt(address, port) !== undefined;
    const destination = isKnown ? original : this.#ofNobody(stream, view, original);
    if (destination !== undefined) serveOutbound(this, view, stream, destination, workload);
    this.context.dropClaim();
  }

  /** Neither a service nor an endpoint: somebody outside of the mesh, unless the kernel would deliver it to this very host, past the
   *  policy of the workload that listens there. Virtual addresses are local routes, so those without a service are refused; a
   *  declared port is guarded on every address of the host, also on one that no snapshot names (a second address of lo, one that
   *  came a moment ago). */
  #ofNobody(
    stream: Stream,
    { tables }: MeshView,
    original: OriginalDestination,
  ): OriginalDestination | undefined {
    const { address, port } = original;
    if (isVirtual(address)) {
      this.refuse(stream, "no_service", { destination: original });
      return undefined;
    }
    const isDeclared = tables.inboundAt(address, port) !== undefined;
    if (!isDeclared || !this.deps.isLocalAddress(address)) return original;
    if (tables.endpointAt(LOOPBACK, port) !== undefined) return { ...original, address: LOOPBACK };
    this.refuse(stream, "not_declared", { destination: original });
    return undefined;
  }

  /** Somebody dials a listener of ours: a loop, or an identity to be borrowed. */
  #cutDialler(stream: Stream, destination: OriginalDestination | undefined): void {
    this.listenerDialled.add();
    this.#cut(stream, "listener_dialled", { destination: destination ?? NOWHERE });
  }

  /** 15006: plaintext to a declared app port, from another host or from this one. */
  acceptInbound(stream: Stream, original: OriginalDestination | undefined): void {
    if (original === undefined || this.isListener(original.port)) {
      this.#cutDialler(stream, original);
      return;
    }
    this.#acceptInbound(stream, { is: "plain", ...original });
  }

  /** 15008: stream.mesh is set, its peer's identity proven. */
  acceptMesh(stream: Stream): void {
    const { serverName = "", alpn = "" } = stream.mesh ?? {};
    this.#acceptInbound(stream, { is: "mesh", serverName, alpn });
  }

  /** 15008, of a peer that is no agent: `serve` takes it over, in which each tunnel is a connection. */
  acceptTunnels(stream: Stream, serve: (peer: MeshPeer) => void): void {
    const { mesh } = stream;
    if (mesh === undefined || this.#admit(stream, NOWHERE) === undefined) return;
    serve(mesh);
    this.context.dropClaim();
  }

  /** 15008: it never became a connection; the peer has proven nothing. */
  handshakeRefused(reason: string, address: string, serverName: string): void {
    const arrival: Arrival = { is: "mesh", serverName, alpn: "" };
    const inbound = this.view && inboundFor(this.view, arrival);
    // A name that nobody here has is the peer's own text.
    const nobody = {
      workload: undefined,
      service: undefined,
      destination: { address: WRITTEN.test(serverName) ? serverName : "", port: 0 },
    };
    this.deps.decisions.note({
      cause: "connection",
      by: reason,
      ...(inbound === undefined ? nobody : deniedAt(inbound)),
      caller: { identity: undefined, address },
      request: undefined,
    });
  }

  #acceptInbound(stream: Stream, arrival: Arrival): void {
    const destination = destinationOf(arrival);
    const view = this.#admit(stream, destination);
    if (view === undefined) return;
    const inbound = inboundFor(view, arrival);
    if (inbound === undefined) this.refuse(stream, "not_declared", { destination });
    else if (arrival.is === "plain" && inbound.at.port.mtls === "strict") {
      this.refuse(stream, "plaintext_to_strict", {
        ...deniedAt(inbound),
        ...byPeerAuthentication(inbound),
      });
    } else serveInbound(this, inbound, arrival, stream);
    this.context.dropClaim();
  }

  #admit(stream: Stream, destination: OriginalDestination): MeshView | undefined {
    if (this.view === undefined) this.refuse(stream, "no_snapshot", { destination });
    else if (!this.context.claimRoom()) this.refuse(stream, "too_many", { destination });
    else return this.view;
    return undefined;
  }

  /** A port of the redirect's own. */
  isListener(port: number): boolean {
    return (
      this.config.listenerPorts.includes(port) || this.view?.tables.isListenerPort(port) === true
    );
  }

  /** Resets a connection that nothing was said on, counts why, and notes what it was for. Who sees the reset finds it counted. */
  refuse(stream: Stream, reason: RefusalReason, what: Refused): void {
    let counter = this.#refused.get(reason);
    if (counter === undefined) {
      counter = this.deps.metrics.counter("ironmesh_connections_refused_total", { reason });
      this.#refused.set(reason, counter);
    }
    counter.add();
    this.#cut(stream, reason, what);
  }

  #cut(stream: Stream, reason: string, { identity, ...what }: Refused): void {
    this.deps.decisions.note({
      cause: "connection",
      by: reason,
      workload: undefined,
      service: undefined,
      ...what,
      caller: { identity: identity ?? stream.mesh?.identity, address: stream.peerAddress },
      destination: what.destination ?? NOWHERE,
      request: undefined,
    });
    stream.reset();
  }

  /** Straight to where a connection was going, in the clear: nobody we know. */
  passThrough(client: ClientView, original: OriginalDestination): UpstreamCluster {
    const view = passThroughView(original);
    return this.book.get(client.identity, view.name, () => view);
  }

  /** The same as one of a cluster, whose name and limits it has; undefined: such addresses are the mesh's own, and lead nowhere. */
  toOriginal(
    client: ClientView,
    cluster: Cluster,
    original: OriginalDestination,
  ): UpstreamCluster | undefined {
    const { snapshot } = client.mesh;
    if (isVirtual(original.address)) return undefined;
    const { targets, outlier } = passThroughView(original);
    const key = `${clusterKeyOf(cluster)} ${original.address} ${original.port}`;
    return this.book.get(client.identity, key, () => ({
      ...clusterView(snapshot, cluster, client.identity, this.context.names),
      targets,
      outlier,
    }));
  }

  /** Some host went down or came back: the slots say which. */
  hostsChanged(): void {
    this.book.hostsChanged();
    for (const connection of this.context.open.all()) connection.hostsChanged?.();
  }

  /** True in `percent` of the cases. */
  isIn(percent: number): boolean {
    return this.deps.random.unit() * 100 < percent;
  }

  /** Idle connections end now, others with what is under way; what is left after drainTimeoutMs is cut. */
  drain(): void {
    this.context.isDraining = true;
    this.#endIdle();
    this.deps.wheel.after(this.config.drainTimeoutMs, () => this.#cutAll());
  }

  /** A successor accepts from now on. Whoever asks once more on a connection that is open is answered, with `connection: close`: nothing
   *  is ended under a client's hands. What is left after `limitMs` ends as in drain(). */
  handOver(limitMs: number): void {
    this.context.isDraining = true;
    this.book.closeIdle();
    this.deps.wheel.after(limitMs, () => {
      this.#endIdle();
      this.deps.wheel.after(LAST_CALL_MS, () => this.#cutAll());
    });
  }

  #endIdle(): void {
    this.context.endsIdle = true;
    this.book.closeIdle();
    for (const connection of this.context.open.all()) connection.drain(false);
    this.deps.wheel.after(FIRST_REQUEST_MS, () => {
      for (const connection of this.context.open.all()) connection.drain(true);
    });
  }

  #cutAll(): void {
    for (const connection of this.context.open.all()) connection.cut();
  }
}

function inboundNames({ workloads }: Snapshot): Set<string> {
  const names = new Set<string>();
  for (const { name, namespace, ports } of workloads) {
    for (const port of ports) names.add(appClusterName(port, { name, namespace }));
  }
  return names;
}
