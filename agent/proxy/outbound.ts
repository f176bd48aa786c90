// Connections of local processes towards the mesh: which service was meant, what it speaks, and which route takes it.
import type { OriginalDestination, Stream } from "../base/net.ts";
import { RequestFamily, type Traffic, UNKNOWN_PARTY } from "../observe/request-metrics.ts";
import { isVirtual } from "../policy/address-block.ts";
import { pickDestination, routeHttp } from "../policy/match-route.ts";
import type { HttpRoute, Protocol, ServicePort } from "../policy/snapshot.ts";
import type { RequestHead } from "../protocol/http1/head.ts";
import { isFailed, requestRecord } from "./access-record.ts";
import type { DataPlane } from "./data-plane.ts";
import { withDecision } from "./denial.ts";
import { type Destined, destinedFor, endpointParty, endpointPlan, serviceOf } from "./destined.ts";
import { detectProtocol, type TakeOver } from "./detection.ts";
import type { Exchange } from "./exchange.ts";
import { FAILURES } from "./failure.ts";
import { HttpConnection } from "./http-connection.ts";
import type { HttpRole } from "./http-role.ts";
import { answerAction } from "./local-answer.ts";
import type { ClientView, MeshView } from "./mesh-view.ts";
import { carryOutboundTcp } from "./outbound-tcp.ts";
import { carryOutboundTls, isTls } from "./outbound-tls.ts";
import { answerOf, type ForwardPlan, type LocalAnswer, plainPlan } from "./traffic-plan.ts";
import type { Target } from "./upstream-cluster.ts";

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
  const serve: TakeOver = (spoken, spoke) => {
    if (spoken === "http") serveOutboundHttp(plane, client, stream, original);
    else if (spoke === undefined && isTls(view, destined, original))
      carryOutboundTls(plane, client, destined, stream, original);
    else carryOutboundTcp(plane, client, destined, stream, original, { spoke });
  };
  const place = `to ${original.address} ${original.port}`;
  if (protocol === "auto") detectProtocol(stream, plane.context, place, serve);
  else serve(protocol === "http" ? "http" : "opaque");
}

function protocolOf(view: MeshView, destined: Destined, original: OriginalDestination): Protocol {
  if (destined.is === "service") return destined.port.protocol;
  if (destined.is === "stranger") {
    // Looked at only where a Host could name one of ours; else a server that speaks first would be kept waiting for nothing.
    return view.isHttpPort(original.port) ? "auto" : "tcp";
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
  const key = `${client.outboundPort} ${original.address} ${original.port}`;
  const role = client.mesh.role(key, () => new OutboundRole(plane, client, original));
  new HttpConnection(stream, role, plane.context);
}

const NO_IDENTITY = new Uint8Array(0);
const STRANGER = { host: "unknown", name: "PassthroughCluster", namespace: "unknown" };

class OutboundRole implements HttpRole {
  readonly identityFields = NO_IDENTITY;
  readonly #plane: DataPlane;
  readonly #original: OriginalDestination;
  #client: ClientView;
  #destined: Destined;
  #endpointPlan: ForwardPlan | undefined;
  #familyWithoutTarget: RequestFamily | undefined;

  constructor(plane: DataPlane, client: ClientView, original: OriginalDestination) {
    this.#plane = plane;
    this.#client = client;
    this.#original = original;
    this.#destined = destinedFor(client.mesh, original);
  }

  decide(head: RequestHead): ForwardPlan | LocalAnswer {
    this.renew();
    const destined = this.#destined;
    if (destined.is === "service") return this.#route(destined.port, head);
    if (destined.is === "endpoint") return this.#toEndpoint(destined.endpoint);
    return this.#byHost(head);
  }

  /** Who may call whom is decided at the other end. */
  mayStay(): boolean {
    return true;
  }

  renew(): void {
    const view = this.#plane.view;
    if (view === undefined || view === this.#client.mesh) return;
    this.#client = view.clientOf(this.#client);
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
    // A service that went away under an open connection: its address is nobody's now, and local to this host.
    if (isVirtual(this.#original.address)) return answerOf(FAILURES.no_route);
    if (mesh.snapshot.outboundPolicy === "registry_only") return this.#notMesh();
    const cluster = this.#plane.passThrough(this.#client, this.#original);
    return plainPlan("passthrough", cluster);
  }

  #notMesh(): LocalAnswer {
    const decision = this.#plane.deps.decisions.note({
      cause: "connection",
      by: "registry_only",
      caller: { identity: this.#client.identity, address: "" },
      workload: undefined,
      service: undefined,
      destination: this.#original,
      request: this.#plane.headView,
    });
    return withDecision(answerOf(FAILURES.not_mesh), decision);
  }

  recordMessages(exchange: Exchange): void {
    exchange.grpc.tellMessages(this.#familyOf(exchange));
  }

  record(exchange: Exchange, downstream: Stream): void {
    const family = this.#familyOf(exchange);
    const nowMs = this.#plane.context.recentMs;
    family.record(
      exchange.status,
      exchange.flags,
      nowMs - exchange.startMs,
      exchange.requestBytes,
      exchange.responseBytes,
      exchange.grpc.label,
    );
    const { accessLog, clock } = this.#plane.deps;
    if (!accessLog.wants(isFailed(exchange))) return;
    const { address, port } = this.#original;
    const peers = {
      downstreamAddress: `${downstream.peerAddress}:${downstream.peerPort}`,
      downstreamIdentity: this.#client.identity,
      localAddress: `${address}:${port}`,
      serverName: undefined,
    };
    accessLog.add(requestRecord(exchange, downstream, peers, { nowMs, wallMs: clock.wallMs() }));
  }

  #familyOf({ target, plan }: Exchange): RequestFamily {
    let family = target === undefined ? this.#familyWithoutTarget : target.family;
    if (family !== undefined) return family;
    if (target === undefined) {
      family = this.#newFamily(undefined, serviceOf(this.#client.mesh, this.#destined));
      this.#familyWithoutTarget = family;
    } else {
      family = this.#newFamily(target, plan?.cluster?.view.service);
      target.family = family;
    }
    return family;
  }

  #newFamily(target: Target | undefined, service: Traffic["service"] | undefined): RequestFamily {
    const { party } = this.#client;
    return new RequestFamily(this.#plane.deps.metrics, {
      reporter: "source",
      source: party,
      destination: target === undefined ? UNKNOWN_PARTY : endpointParty(target),
      service: service ?? STRANGER,
      security: target === undefined ? "unknown" : target.endpoint.mesh ? "mutual_tls" : "none",
    });
  }
}
