// Connections of local processes towards the mesh: which service was meant, what it speaks, and which route takes it.
import type { OriginalDestination, Stream } from "../base/net.ts";
import { RequestFamily, UNKNOWN_PARTY } from "../observe/request-metrics.ts";
import { pickDestination, routeHttp } from "../policy/match-route.ts";
import type { HttpRoute, Protocol, Service, ServicePort } from "../policy/snapshot.ts";
import type { RequestHead } from "../protocol/http1/head.ts";
import { requestRecord } from "./access-record.ts";
import type { DataPlane } from "./data-plane.ts";
import { Detection } from "./detection.ts";
import type { Exchange } from "./exchange.ts";
import { FAILURES } from "./failure.ts";
import { HttpConnection, type HttpRole } from "./http-connection.ts";
import { answerAction } from "./local-answer.ts";
import { type ClientView, type MeshView, partyOf } from "./mesh-view.ts";
import { carryOutboundTcp } from "./outbound-tcp.ts";
import { answerOf, type ForwardPlan, type LocalAnswer, plainPlan } from "./traffic-plan.ts";
import type { Target } from "./upstream-cluster.ts";

/** What the destination turned out to be. */
export type Destined =
  | { readonly is: "service"; readonly service: Service; readonly port: ServicePort }
  /** A known endpoint dialled by its address: no routes, its own cluster's limits. */
  | { readonly is: "endpoint"; readonly endpoint: number }
  /** Nobody the mesh knows. */
  | { readonly is: "stranger" };

export function serveOutbound(
  plane: DataPlane,
  view: MeshView,
  stream: Stream,
  original: OriginalDestination,
  workload: number | undefined,
): void {
  const client = view.client(workload);
  const destined = destinedFor(view, original);
  const protocol = protocolOf(view, destined, original);
  const serve = (spoken: "http" | "opaque"): void => {
    if (spoken === "http") serveOutboundHttp(plane, client, stream, original);
    else carryOutboundTcp(plane, client, destined, stream, original);
  };
  if (protocol === "auto") new Detection(stream, plane.context, serve);
  else serve(protocol === "http" ? "http" : "opaque");
}

/** By virtual IP, or by the address of an endpoint. */
export function destinedFor(view: MeshView, { address, port }: OriginalDestination): Destined {
  const at = view.tables.serviceAt(address, port);
  if (at !== undefined) {
    const service = view.snapshot.services[at.service];
    const servicePort = service?.ports[at.portIndex];
    if (service !== undefined && servicePort !== undefined) {
      return { is: "service", service, port: servicePort };
    }
  }
  const endpoint = view.tables.endpointAt(address, port);
  return endpoint === undefined ? { is: "stranger" } : { is: "endpoint", endpoint };
}

function protocolOf(view: MeshView, destined: Destined, original: OriginalDestination): Protocol {
  if (destined.is === "service") return destined.port.protocol;
  if (destined.is === "stranger") {
    // Looked at only where a Host could name one of ours; else a server that speaks first would be kept waiting for nothing.
    const isHttpPort = view.snapshot.services.some((service) =>
      service.ports.some((p) => p.port === original.port && p.protocol !== "tcp"),
    );
    return isHttpPort ? "auto" : "tcp";
  }
  const cluster = view.snapshot.clusters[view.tables.clusterOfEndpoint(destined.endpoint) ?? -1];
  const service = cluster === undefined ? undefined : view.snapshot.services[cluster.service];
  return service?.ports.find((p) => p.port === cluster?.port)?.protocol ?? "auto";
}

function serveOutboundHttp(
  plane: DataPlane,
  client: ClientView,
  stream: Stream,
  original: OriginalDestination,
): void {
  new HttpConnection(stream, new OutboundRole(plane, client, stream, original), plane.context);
}

const NO_IDENTITY = new Uint8Array(0);
const STRANGER = { host: "unknown", name: "PassthroughCluster", namespace: "unknown" };

class OutboundRole implements HttpRole {
  readonly identityFields = NO_IDENTITY;
  readonly #plane: DataPlane;
  readonly #stream: Stream;
  readonly #original: OriginalDestination;
  #client: ClientView;
  #destined: Destined;
  #endpointPlan: ForwardPlan | undefined;
  #familyWithoutTarget: RequestFamily | undefined;

  constructor(plane: DataPlane, client: ClientView, stream: Stream, original: OriginalDestination) {
    this.#plane = plane;
    this.#client = client;
    this.#stream = stream;
    this.#original = original;
    this.#destined = destinedFor(client.mesh, original);
  }

  decide(head: RequestHead): ForwardPlan | LocalAnswer {
    const view = this.#plane.view;
    if (view !== undefined && view !== this.#client.mesh) this.#renew(view);
    const destined = this.#destined;
    if (destined.is === "service") return this.#route(destined.port, head);
    if (destined.is === "endpoint") return this.#toEndpoint(destined.endpoint);
    return this.#byHost(head);
  }

  /** A snapshot replaced the one this connection was serving by. */
  #renew(view: MeshView): void {
    this.#client = view.clientOfListener(this.#client.outboundPort);
    this.#destined = destinedFor(view, this.#original);
    this.#endpointPlan = undefined;
    this.#familyWithoutTarget = undefined;
  }

  #route(port: ServicePort, head: RequestHead): ForwardPlan | LocalAnswer {
    const { mesh, workload } = this.#client;
    const route = routeHttp(mesh.tables, workload, port, this.#plane.headView);
    if (route === undefined) return answerOf(FAILURES.no_route);
    const { action } = route;
    if (action.is !== "forward") return answerAction(action, route, head);
    const abort = action.fault?.abort;
    if (abort !== undefined && this.#plane.isIn(abort.percent)) {
      return { ...answerOf(FAILURES.fault_abort), status: abort.status };
    }
    return this.#toDestination(route, action.destinations);
  }

  #toDestination(
    route: HttpRoute,
    destinations: Parameters<typeof pickDestination>[0],
  ): ForwardPlan | LocalAnswer {
    const destination =
      destinations.length === 1
        ? destinations[0]
        : pickDestination(destinations, this.#plane.deps.random.unit());
    if (destination === undefined) return answerOf(FAILURES.no_cluster);
    return this.#client.plan(route, destination) ?? answerOf(FAILURES.no_cluster);
  }

  #toEndpoint(endpoint: number): ForwardPlan | LocalAnswer {
    this.#endpointPlan ??= endpointPlan(this.#client, endpoint);
    return this.#endpointPlan ?? answerOf(FAILURES.no_cluster);
  }

  #byHost(head: RequestHead): ForwardPlan | LocalAnswer {
    const { mesh } = this.#client;
    const at = mesh.tables.serviceByHost(head.authority, this.#original.port);
    const port = at && mesh.snapshot.services[at.service]?.ports[at.portIndex];
    if (port !== undefined) return this.#route(port, head);
    if (mesh.snapshot.outboundPolicy === "registry_only") return answerOf(FAILURES.not_mesh);
    const cluster = this.#plane.passThrough(this.#client, this.#original);
    return plainPlan("passthrough", cluster);
  }

  record(exchange: Exchange): void {
    const { target } = exchange;
    const family =
      target === undefined
        ? (this.#familyWithoutTarget ??= this.#family(undefined))
        : (target.family ??= this.#family(target));
    const nowMs = this.#plane.context.nowMs();
    family.record(
      exchange.status,
      exchange.flags,
      nowMs - exchange.startMs,
      exchange.requestBytes,
      exchange.responseBytes,
    );
    const { accessLog, clock } = this.#plane.deps;
    if (!accessLog.wants(exchange.isError)) return;
    const { address, port } = this.#original;
    const peers = {
      downstreamAddress: `${this.#stream.peerAddress}:${this.#stream.peerPort}`,
      downstreamIdentity: this.#client.identity,
      localAddress: `${address}:${port}`,
      serverName: undefined,
    };
    accessLog.add(requestRecord(exchange, peers, { nowMs, wallMs: clock.wallMs() }));
  }

  #family(target: Target | undefined): RequestFamily {
    const { mesh, party } = this.#client;
    return new RequestFamily(this.#plane.deps.metrics, {
      reporter: "source",
      source: party,
      destination: target === undefined ? UNKNOWN_PARTY : endpointParty(target),
      service: serviceOf(mesh, this.#destined) ?? STRANGER,
      security: target?.endpoint.mesh === undefined ? "none" : "mutual_tls",
    });
  }
}

export function endpointParty({ endpoint }: Target): ReturnType<typeof partyOf> {
  return partyOf(
    endpoint.workload || "unknown",
    endpoint.namespace || "unknown",
    endpoint.mesh?.identity,
    endpoint.labels,
  );
}

/** The endpoint alone, under the limits of the cluster it belongs to. */
export function endpointPlan(client: ClientView, endpoint: number): ForwardPlan | undefined {
  const { snapshot, tables } = client.mesh;
  const index = tables.clusterOfEndpoint(endpoint);
  const cluster = index === undefined ? undefined : client.cluster(index);
  const wanted = snapshot.endpoints[endpoint];
  const pinned = cluster?.view.targets.findIndex((t) => t.endpoint.id === wanted?.id) ?? -1;
  return cluster === undefined || pinned < 0 ? undefined : plainPlan("direct", cluster, { pinned });
}

export function serviceOf(view: MeshView, destined: Destined): Service | undefined {
  if (destined.is === "service") return destined.service;
  if (destined.is === "stranger") return undefined;
  const cluster = view.snapshot.clusters[view.tables.clusterOfEndpoint(destined.endpoint) ?? -1];
  return cluster === undefined ? undefined : view.snapshot.services[cluster.service];
}
