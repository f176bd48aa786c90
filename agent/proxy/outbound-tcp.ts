// Opaque connections of local processes: a TCP route, an endpoint, and bytes both ways.
import type { DialTarget, OriginalDestination, Stream } from "../base/net.ts";
import { ConnectionFamily, UNKNOWN_PARTY } from "../observe/request-metrics.ts";
import { pickDestination, routeTcp, routeTls } from "../policy/match-route.ts";
import type { ServicePort, TcpRoute } from "../policy/snapshot.ts";
import { connectionRecord } from "./connection-record.ts";
import type { DataPlane } from "./data-plane.ts";
import { type Destined, endpointParty, endpointPlan } from "./destined.ts";
import type { ClientView } from "./mesh-view.ts";
import { Relay, type RelayHooks } from "./relay.ts";
import type { FirstWord } from "./server-first.ts";
import type { Target, UpstreamCluster, Waiter } from "./upstream-cluster.ts";

/** Endpoints that are tried before a connection is given up; nothing was sent yet, so it is always fair. */
const ATTEMPTS_MAX = 3;

interface Way {
  readonly cluster: UpstreamCluster;
  readonly pinned: Target | undefined;
  readonly route: string;
}

/** What was learnt of a connection before it is carried. */
interface Learnt {
  readonly spoke?: FirstWord | undefined;
  /** Of its ClientHello. */
  readonly serverName?: string | undefined;
}

export function carryOutboundTcp(
  plane: DataPlane,
  client: ClientView,
  destined: Destined,
  stream: Stream,
  original: OriginalDestination,
  { spoke, serverName }: Learnt = {},
): void {
  const about = { destination: original, identity: client.identity, serverName };
  const way = wayOf(plane, client, destined, { ...original, serverName });
  if (way === undefined) {
    plane.refuse(stream, "no_route", about);
    return;
  }
  if (!way.cluster.claimConnection()) {
    plane.refuse(stream, "overflow", about);
    return;
  }
  new OutboundTcp(plane, client, way, stream, { ...original, serverName }).begin(spoke);
}

/** Where a connection was going, and whom it asked for. */
interface Wanted extends OriginalDestination {
  readonly serverName: string | undefined;
}

function wayOf(
  plane: DataPlane,
  client: ClientView,
  destined: Destined,
  original: Wanted,
): Way | undefined {
  if (destined.is === "endpoint") {
    const plan = endpointPlan(client, destined.endpoint);
    return plan?.cluster && { cluster: plan.cluster, pinned: plan.pinned, route: plan.name };
  }
  if (destined.is === "stranger") {
    if (client.mesh.snapshot.outboundPolicy === "registry_only") return undefined;
    const cluster = plane.passThrough(client, original);
    return { cluster, pinned: cluster.target(0), route: "passthrough" };
  }
  const route = routeOf(client, destined.port, original);
  if (route === "none") return undefined;
  // An HTTP port has no TCP routes: what is not HTTP on it goes to the service as a whole, as in Istio.
  const index =
    route === undefined
      ? client.mesh.tables.clusterFor(client.workload, destined.port)
      : pickDestination(route.destinations, plane.deps.random.unit())?.cluster;
  const known = client.mesh.snapshot.clusters[index ?? -1];
  if (index === undefined || known === undefined) return undefined;
  const name = route?.name ?? "default";
  if (known.isOriginalDst !== true) {
    const cluster = client.cluster(index);
    return cluster && { cluster, pinned: undefined, route: name };
  }
  const cluster = plane.toOriginal(client, known, original);
  return cluster && { cluster, pinned: cluster.target(0), route: name };
}

/** "none": names are routed there, and this one is not. */
function routeOf(
  { mesh, workload }: ClientView,
  port: ServicePort,
  { address, serverName }: Wanted,
): TcpRoute | "none" | undefined {
  const named = mesh.tables.tlsRoutesFor(workload, port);
  return named.length > 0
    ? (routeTls(named, serverName, address) ?? "none")
    : routeTcp(mesh.tables, workload, port, address);
}

class OutboundTcp implements RelayHooks {
  readonly #plane: DataPlane;
  readonly #client: ClientView;
  readonly #way: Way;
  readonly #stream: Stream;
  readonly #original: Wanted;
  readonly #startMs: number;
  readonly #tried: number[] = [];
  #target: Target | undefined;
  #family: ConnectionFamily | undefined;
  #relay: Relay | undefined;
  spoke: FirstWord | undefined;
  /** For an endpoint's name. */
  #stopWaiting: (() => void) | undefined;

  constructor(plane: DataPlane, client: ClientView, way: Way, stream: Stream, original: Wanted) {
    this.#plane = plane;
    this.#client = client;
    this.#way = way;
    this.#stream = stream;
    this.#original = original;
    this.#startMs = plane.context.nowMs();
  }

  begin(spoke: FirstWord | undefined): void {
    const { cluster } = this.#way;
    const first = this.#nextTarget();
    if (first === undefined && !cluster.isAwaitingNames) {
      this.#way.cluster.releaseConnection();
      this.#plane.refuse(this.#stream, "no_healthy_upstream", {
        destination: this.#original,
        identity: this.#client.identity,
        serverName: this.#original.serverName,
      });
      return;
    }
    this.spoke = spoke;
    this.#relay = new Relay(this.#stream, this.#plane.context, this);
    if (first !== undefined) this.#relay.dial(first, cluster.view.limits.connectTimeoutMs);
    else this.#awaitNames(this.#relay);
  }

  connected(): void {
    this.#report("success");
    this.#family?.moved(this.#relay?.receivedBytes ?? 0, 0);
  }
  moved(received: number, sent: number): void {
    this.#family?.moved(received, sent);
  }
  connectFailed(): DialTarget | undefined {
    this.#report("gateway_error");
    return this.#tried.length < ATTEMPTS_MAX ? this.#nextTarget() : undefined;
  }
  isHopeless(): boolean {
    return this.#target !== undefined && this.#way.cluster.isHopeless(this.#target);
  }

  /** Nothing is known of its endpoints' names yet: the answer is waited for as long as a dial would be. What the client says is kept. */
  #awaitNames(relay: Relay): void {
    const { cluster } = this.#way;
    const { connectTimeoutMs } = cluster.view.limits;
    const give = (flags: string): void => {
      relay.flags = flags;
      relay.cut();
    };
    const deadline = this.#plane.context.deadline(() => {
      cluster.leave(waiter);
      give("UH");
    });
    const waiter: Waiter = {
      onTurn: () => {
        const target = this.#nextTarget();
        if (target === undefined && cluster.isAwaitingNames && cluster.wait(waiter)) return;
        deadline.cancel();
        if (target === undefined) give("UH");
        else relay.dial(target, connectTimeoutMs);
      },
    };
    this.#stopWaiting = () => {
      deadline.cancel();
      cluster.leave(waiter);
    };
    deadline.set(this.#plane.context.nowMs() + connectTimeoutMs);
    if (!cluster.wait(waiter)) {
      deadline.cancel();
      give("UO");
    }
  }

  #nextTarget(): DialTarget | undefined {
    const { cluster, pinned } = this.#way;
    if (pinned !== undefined && this.#tried.length > 0) return undefined;
    const hash = cluster.view.hashKey?.ofSource(this.#stream.peerAddress);
    const position = pinned === undefined ? cluster.pick(this.#tried, hash) : -1;
    if (this.#tried.includes(position)) return undefined;
    if (pinned === undefined && position < 0) return undefined;
    this.#tried.push(position);
    this.#target = pinned ?? cluster.target(position);
    return this.#target?.dialOpaque;
  }

  #report(verdict: "success" | "gateway_error"): void {
    if (this.#target === undefined) return;
    this.#way.cluster.report(this.#target, verdict);
    if (verdict !== "success") return;
    this.#family = this.#familyOf(this.#target);
    this.#family.opened();
  }

  #familyOf(target: Target | undefined): ConnectionFamily {
    const family = target?.connectionFamily ?? this.#newFamily(target);
    if (target !== undefined) target.connectionFamily = family;
    return family;
  }

  #newFamily(target: Target | undefined): ConnectionFamily {
    return new ConnectionFamily(this.#plane.deps.metrics, {
      reporter: "source",
      source: this.#client.party,
      destination: target === undefined ? UNKNOWN_PARTY : endpointParty(target),
      service: this.#way.cluster.view.service ?? {
        host: "unknown",
        name: "PassthroughCluster",
        namespace: "unknown",
      },
      security: target === undefined ? "unknown" : target.endpoint.mesh ? "mutual_tls" : "none",
    });
  }

  ended(relay: Relay): void {
    this.#stopWaiting?.();
    this.#way.cluster.releaseConnection();
    this.#family ??= this.#familyOf(this.#target); // never connected, so nothing moved
    this.#family.closed(relay.flags);
    const { accessLog, clock } = this.#plane.deps;
    if (!accessLog.wants(relay.flags !== "-")) return;
    const { address, port } = this.#original;
    accessLog.add(
      connectionRecord(relay, {
        startedAt: clock.wallMs() - (clock.nowMs() - this.#startMs),
        durationMs: clock.nowMs() - this.#startMs,
        upstreamHost: this.#target?.endpoint.id,
        upstreamCluster: this.#way.cluster.view.name,
        route: this.#way.route,
        details: undefined,
        downstreamAddress: `${this.#stream.peerAddress}:${this.#stream.peerPort}`,
        downstreamIdentity: this.#client.identity,
        localAddress: `${address}:${port}`,
        serverName: this.#original.serverName,
      }),
    );
  }
}
