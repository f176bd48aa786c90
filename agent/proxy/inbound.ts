// Connections of others towards a local workload: who is calling, whether they may, and the app behind it.
import { bytesOf } from "../base/bytes.ts";
import type { Stream } from "../base/net.ts";
import type { Denial } from "../observe/decision-book.ts";
import { RequestFamily } from "../observe/request-metrics.ts";
import { authorizeRequest, isOpen } from "../policy/authorize.ts";
import type { ReachedPort } from "../policy/clauses.ts";
import type { Caller, RequestView } from "../policy/request-view.ts";
import type { Endpoint } from "../policy/snapshot.ts";
import { isFailed, requestRecord } from "./access-record.ts";
import {
  type Arrival,
  appClusterName,
  appHttpTarget,
  appTarget,
  arrivalKey,
  arrivesUnproven,
  byPeerAuthentication,
  deniedAt,
  type Inbound,
  inboundFor,
  inboundPeers,
  inboundTraffic,
  trafficKey,
} from "./arrival.ts";
import type { DataPlane } from "./data-plane.ts";
import { withDecision } from "./denial.ts";
import { detectProtocol, type TakeOver } from "./detection.ts";
import type { Exchange } from "./exchange.ts";
import { FAILURES } from "./failure.ts";
import { HttpConnection } from "./http-connection.ts";
import type { HttpRole } from "./http-role.ts";
import { carryInboundTcp, carryInboundTls } from "./inbound-tcp.ts";
import { ALPN_HTTP } from "./mesh-alpn.ts";
import type { ClusterBook, MeshView } from "./mesh-view.ts";
import { RateLimiter } from "./rate-limiter.ts";
import { answerOf, type ForwardPlan, type LocalAnswer, plainPlan } from "./traffic-plan.ts";
import { Target, UNLIMITED, type UpstreamCluster } from "./upstream-cluster.ts";

export function serveInbound(
  plane: DataPlane,
  inbound: Inbound,
  arrival: Arrival,
  stream: Stream,
): void {
  const caller: Caller = { identity: stream.mesh?.identity, address: stream.peerAddress };
  const serve: TakeOver = (spoken, spoke) => {
    if (inbound.at.port.isTls === true) carryInboundTls(plane, inbound, arrival, caller, stream);
    else if (spoken === "opaque")
      carryInboundTcp(plane, inbound, arrival, caller, stream, { spoke });
    else {
      const key = `${arrivalKey(arrival)} ${caller.identity} ${caller.address}`;
      const role = inbound.view.role(key, () => new InboundRole(plane, inbound, arrival, caller));
      new HttpConnection(stream, role, plane.context);
    }
  };
  const declared = inbound.at.port.protocol;
  if (arrival.is === "mesh") {
    serve(arrival.alpn === ALPN_HTTP && declared !== "tcp" ? "http" : "opaque");
  } else if (declared === "auto") {
    const { appAddress, appPort } = inbound.at.port;
    detectProtocol(stream, plane.context, `at ${appAddress} ${appPort}`, serve);
  } else serve(declared === "http" ? "http" : "opaque");
}

/** The app as a cluster of one: nothing is counted against it, and nothing ejects it. */
export function appCluster(plane: DataPlane, book: ClusterBook, inbound: Inbound): UpstreamCluster {
  const { port } = inbound.at;
  const { identity, name, namespace, labels } = inbound.workload;
  const clusterName = appClusterName(port, inbound.workload);
  return book.get(identity, clusterName, () => {
    const endpoint: Endpoint = {
      id: `${port.appAddress}:${port.appPort}`,
      address: port.appAddress,
      port: port.appPort,
      weight: 1,
      mesh: undefined,
      workload: name,
      namespace,
      labels,
      slots: NO_SLOTS,
    };
    return {
      name: clusterName,
      service: undefined,
      balancer: "round_robin",
      outlier: undefined,
      limits: {
        maxConnections: UNLIMITED,
        connectTimeoutMs: plane.config.appConnectTimeoutMs,
        maxPendingRequests: UNLIMITED,
        maxRequests: UNLIMITED,
        maxRequestsPerConnection: 0,
        maxRetries: UNLIMITED,
        idleTimeoutMs: plane.config.appIdleTimeoutMs,
      },
      slots: undefined,
      targets: [new Target(endpoint, appHttpTarget(port), appTarget(port))],
    };
  });
}
/** Never read: a cluster without slots of its own counts nothing. */
const NO_SLOTS = {
  active: 0,
  consecutive5xx: 0,
  consecutiveGatewayErrors: 0,
  ejectedUntilMs: 0,
  ejections: 0,
};

/** Envoy's format (config_http_conn_man_headers, x-forwarded-client-cert): who we are, and who was proven to call. */
const clientCert = (own: string, caller: string): Uint8Array =>
  bytesOf(`x-forwarded-client-cert: By=${own};URI=${caller}\r\n`);

const NO_FIELDS = new Uint8Array(0);

/** Undefined, as it is for most: nothing to ask. */
export function limiterOf(
  plane: DataPlane,
  { view, at, workload }: Inbound,
): RateLimiter | undefined {
  const { rateLimits } = workload;
  if (rateLimits === undefined) return undefined;
  return view.limiter(at.workload, () => new RateLimiter(rateLimits, plane.deps));
}

export const reachedPort = ({ at: { port } }: Inbound): ReachedPort => ({
  port: port.appPort,
  address: port.appAddress,
});

class InboundRole implements HttpRole {
  readonly identityFields: Uint8Array;
  readonly #plane: DataPlane;
  readonly #arrival: Arrival;
  readonly #caller: Caller;
  #inbound: Inbound;
  #seen: MeshView;
  #isGone = false;
  #plan: ForwardPlan;
  #limiter: RateLimiter | undefined;
  #family: RequestFamily | undefined;

  constructor(plane: DataPlane, inbound: Inbound, arrival: Arrival, caller: Caller) {
    this.#plane = plane;
    this.#inbound = inbound;
    this.#seen = inbound.view;
    this.#arrival = arrival;
    this.#caller = caller;
    this.#plan = plainPlan("default", appCluster(plane, plane.book, inbound));
    this.#limiter = limiterOf(plane, inbound);
    const own = inbound.workload.identity;
    this.identityFields =
      caller.identity === undefined ? NO_FIELDS : clientCert(own, caller.identity);
  }

  decide(): ForwardPlan | LocalAnswer {
    const refusal = this.#refusalOf(this.#plane.headView);
    if (refusal !== undefined) return refusal;
    return this.#limiter === undefined ? this.#plan : this.#limited(this.#limiter);
  }

  #limited(limiter: RateLimiter): ForwardPlan | LocalAnswer {
    const { headView, context } = this.#plane;
    const reached = reachedPort(this.#inbound);
    const refusal = limiter.refusalOf(this.#caller, reached, headView, context.recentMs);
    return refusal === undefined
      ? this.#plan
      : this.#denied(refusal, { cause: "rate_limit", by: limiter.refusedBy }, headView);
  }

  mayStay(request: RequestView): boolean {
    return this.#refusalOf(request) === undefined;
  }

  /** By the snapshot that stands now. */
  #refusalOf(request: RequestView): LocalAnswer | undefined {
    this.renew();
    if (this.#isGone) return this.#gone(request);
    const { at, workload } = this.#inbound;
    if (arrivesUnproven(this.#caller, at.port))
      return this.#denied(answerOf(FAILURES.denied), byPeerAuthentication(this.#inbound), request);
    const { authorization } = workload;
    if (isOpen(authorization)) return undefined;
    const reached = reachedPort(this.#inbound);
    const verdict = authorizeRequest(authorization, this.#caller, reached, request);
    if (verdict.allowed) return undefined;
    const { policy, reason } = verdict;
    return this.#denied(deniedBy(policy, reason), { cause: "authorization", by: policy }, request);
  }

  #denied(
    answer: LocalAnswer,
    why: Pick<Denial, "cause" | "by">,
    request: RequestView,
  ): LocalAnswer {
    const about = { ...deniedAt(this.#inbound), caller: this.#caller, request };
    return withDecision(answer, this.#plane.deps.decisions.note({ ...why, ...about }));
  }

  /** Its port was declared when the connection began, and is no more. */
  #gone(request: RequestView): LocalAnswer {
    const decision = this.#plane.deps.decisions.note({
      cause: "connection",
      by: "not_declared",
      ...deniedAt(this.#inbound),
      workload: undefined,
      caller: this.#caller,
      request,
    });
    return withDecision(answerOf(FAILURES.no_route), decision);
  }

  renew(): void {
    const { view } = this.#plane;
    if (view === undefined || view === this.#seen) return;
    this.#seen = view;
    const inbound = inboundFor(view, this.#arrival);
    this.#isGone = inbound === undefined;
    if (inbound === undefined) return;
    this.#inbound = inbound;
    this.#plan = plainPlan("default", appCluster(this.#plane, this.#plane.book, inbound));
    this.#limiter = limiterOf(this.#plane, inbound);
    this.#family = undefined;
  }

  #findFamily(): RequestFamily {
    const inbound = this.#inbound;
    const caller = this.#caller;
    return inbound.view.requestFamily(
      trafficKey(inbound, caller),
      () => new RequestFamily(this.#plane.deps.metrics, inboundTraffic(inbound, caller)),
    );
  }

  recordMessages({ grpc }: Exchange): void {
    this.#family ??= this.#findFamily();
    grpc.tellMessages(this.#family);
  }

  record(exchange: Exchange, downstream: Stream): void {
    this.#family ??= this.#findFamily();
    const nowMs = this.#plane.context.recentMs;
    this.#family.record(
      exchange.status,
      exchange.flags,
      nowMs - exchange.startMs,
      exchange.requestBytes,
      exchange.responseBytes,
      exchange.grpc.label,
    );
    const { accessLog, clock } = this.#plane.deps;
    if (!accessLog.wants(isFailed(exchange))) return;
    const peers = inboundPeers(this.#inbound, this.#arrival, this.#caller, downstream);
    accessLog.add(requestRecord(exchange, downstream, peers, { nowMs, wallMs: clock.wallMs() }));
  }
}

function deniedBy(policy: string, reason: string): LocalAnswer {
  return {
    ...answerOf(FAILURES.denied, [["x-ironmesh-policy", policy]]),
    details: `rbac_access_denied_matched_policy[${policy}]`,
    body: `${FAILURES.denied.body} (${policy}: ${reason})\n`,
  };
}
