// Connections of others towards a local workload: who is calling, whether they may, and the app behind it.
import { bytesOf } from "../base/bytes.ts";
import type { DialTarget, Stream } from "../base/net.ts";
import {
  type Party,
  RequestFamily,
  type Traffic,
  UNKNOWN_PARTY,
} from "../observe/request-metrics.ts";
import { authorizeRequest, isOpen } from "../policy/authorize.ts";
import type { Caller, Endpoint, InboundPort, LocalWorkload } from "../policy/snapshot.ts";
import type { InboundAt } from "../policy/tables.ts";
import { requestRecord } from "./access-record.ts";
import type { DataPlane } from "./data-plane.ts";
import { Detection } from "./detection.ts";
import type { Exchange } from "./exchange.ts";
import { FAILURES } from "./failure.ts";
import { HttpConnection, type HttpRole } from "./http-connection.ts";
import { carryInboundTcp } from "./inbound-tcp.ts";
import { ALPN_HTTP } from "./mesh-alpn.ts";
import { type ClusterBook, type MeshView, partyOf } from "./mesh-view.ts";
import { answerOf, type ForwardPlan, type LocalAnswer, plainPlan } from "./traffic-plan.ts";
import { Target, UNLIMITED, type UpstreamCluster } from "./upstream-cluster.ts";

/** Source address towards local apps: the redirect rules let it pass, and an app sees that its caller came through the mesh. */
const FROM = "127.0.0.6";

/** How a connection came in; what is needed to look its target up again after a swap. */
export type Arrival =
  | { readonly is: "mesh"; readonly serverName: string; readonly alpn: string }
  | { readonly is: "plain"; readonly address: string; readonly port: number };

export interface Inbound {
  readonly view: MeshView;
  readonly at: InboundAt;
  readonly workload: LocalWorkload;
}

/** The local port an arrival means, by this snapshot. */
export function inboundFor(view: MeshView, arrival: Arrival): Inbound | undefined {
  const at =
    arrival.is === "mesh"
      ? view.tables.inboundByServerName(arrival.serverName)
      : view.tables.inboundAt(arrival.address, arrival.port);
  const workload = at === undefined ? undefined : view.snapshot.workloads[at.workload];
  return at === undefined || workload === undefined ? undefined : { view, at, workload };
}

export function serveInbound(
  plane: DataPlane,
  inbound: Inbound,
  arrival: Arrival,
  stream: Stream,
): void {
  const caller: Caller = { identity: stream.mesh?.identity, address: stream.peerAddress };
  const serve = (spoken: "http" | "opaque"): void => {
    if (spoken === "opaque") carryInboundTcp(plane, inbound, arrival, caller, stream);
    else {
      const role = new InboundRole(plane, inbound, arrival, caller, stream);
      new HttpConnection(stream, role, plane.context);
    }
  };
  const declared = inbound.at.port.protocol;
  if (arrival.is === "mesh") {
    serve(arrival.alpn === ALPN_HTTP && declared !== "tcp" ? "http" : "opaque");
  } else if (declared === "auto") new Detection(stream, plane.context, serve);
  else serve(declared === "http" ? "http" : "opaque");
}

export function appTarget(port: InboundPort): DialTarget {
  const { appAddress: address, appPort } = port;
  return address.includes(":")
    ? { is: "plain", address, port: appPort }
    : { is: "plain", address, port: appPort, from: FROM };
}

/** The app as a cluster of one: nothing is counted against it, and nothing ejects it. */
export function appCluster(plane: DataPlane, book: ClusterBook, inbound: Inbound): UpstreamCluster {
  const { port } = inbound.at;
  const { identity, name, namespace, labels } = inbound.workload;
  const clusterName = `inbound|${port.appPort}|${port.appAddress}|${name}.${namespace}`;
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
    const dial = appTarget(port);
    return {
      name: clusterName,
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
      targets: [new Target(endpoint, dial, dial)],
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

class InboundRole implements HttpRole {
  readonly identityFields: Uint8Array;
  readonly #plane: DataPlane;
  readonly #arrival: Arrival;
  readonly #caller: Caller;
  readonly #stream: Stream;
  #inbound: Inbound;
  #isGone = false;
  #plan: ForwardPlan;
  #family: RequestFamily | undefined;

  constructor(
    plane: DataPlane,
    inbound: Inbound,
    arrival: Arrival,
    caller: Caller,
    stream: Stream,
  ) {
    this.#plane = plane;
    this.#inbound = inbound;
    this.#arrival = arrival;
    this.#caller = caller;
    this.#stream = stream;
    this.#plan = plainPlan("default", appCluster(plane, plane.book, inbound));
    const own = inbound.workload.identity;
    this.identityFields =
      caller.identity === undefined ? NO_FIELDS : clientCert(own, caller.identity);
  }

  decide(): ForwardPlan | LocalAnswer {
    const view = this.#plane.view;
    if (view !== undefined && view !== this.#inbound.view) this.#renew(view);
    if (this.#isGone) return answerOf(FAILURES.no_route);
    const { at, workload } = this.#inbound;
    if (arrivesUnproven(this.#caller, at.port)) return answerOf(FAILURES.denied);
    const { authorization } = workload;
    if (isOpen(authorization)) return this.#plan;
    const reached = { port: at.port.appPort, address: at.port.appAddress };
    const verdict = authorizeRequest(authorization, this.#caller, reached, this.#plane.headView);
    return verdict.allowed ? this.#plan : deniedBy(verdict.policy, verdict.reason);
  }

  #renew(view: MeshView): void {
    const inbound = inboundFor(view, this.#arrival);
    this.#isGone = inbound === undefined;
    if (inbound === undefined) return;
    this.#inbound = inbound;
    this.#plan = plainPlan("default", appCluster(this.#plane, this.#plane.book, inbound));
    this.#family = undefined;
  }

  record(exchange: Exchange): void {
    this.#family ??= new RequestFamily(
      this.#plane.deps.metrics,
      inboundTraffic(this.#inbound, this.#caller),
    );
    const nowMs = this.#plane.context.nowMs();
    this.#family.record(
      exchange.status,
      exchange.flags,
      nowMs - exchange.startMs,
      exchange.requestBytes,
      exchange.responseBytes,
    );
    const { accessLog, clock } = this.#plane.deps;
    if (!accessLog.wants(exchange.isError)) return;
    const peers = inboundPeers(this.#inbound, this.#arrival, this.#caller, this.#stream);
    accessLog.add(requestRecord(exchange, peers, { nowMs, wallMs: clock.wallMs() }));
  }
}

/** Plaintext where the policy wants mTLS. */
export const arrivesUnproven = (caller: Caller, port: InboundPort): boolean =>
  caller.identity === undefined && port.mtls === "strict";

function deniedBy(policy: string, reason: string): LocalAnswer {
  return {
    ...answerOf(FAILURES.denied, [["x-ironmesh-policy", policy]]),
    details: `rbac_access_denied_matched_policy[${policy}]`,
    body: `${FAILURES.denied.body} (${policy}: ${reason})\n`,
  };
}

export function inboundTraffic({ view, at, workload }: Inbound, caller: Caller): Traffic {
  const service = at.service === undefined ? undefined : view.snapshot.services[at.service];
  return {
    reporter: "destination",
    source: callerParty(view, caller),
    destination: partyOf(workload.name, workload.namespace, workload.identity, workload.labels),
    service: service ?? { host: "unknown", name: "unknown", namespace: workload.namespace },
    security: caller.identity === undefined ? "none" : "mutual_tls",
  };
}

/** The workload the mesh knows at that address under that identity; else only what the identity itself says. */
function callerParty({ snapshot }: MeshView, { identity, address }: Caller): Party {
  if (identity === undefined) return UNKNOWN_PARTY;
  const known = snapshot.endpoints.find(
    (e) => e.address === address && e.mesh?.identity === identity,
  );
  if (known !== undefined) {
    return partyOf(known.workload, known.namespace, identity, known.labels);
  }
  const namespace = /\/ns\/([^/]+)\//.exec(identity)?.[1] ?? "unknown";
  return { ...UNKNOWN_PARTY, namespace, principal: identity };
}

export const inboundPeers = (
  { at }: Inbound,
  arrival: Arrival,
  caller: Caller,
  stream: Stream,
) => ({
  downstreamAddress: `${caller.address}:${stream.peerPort}`,
  downstreamIdentity: caller.identity,
  localAddress: `${at.port.appAddress}:${at.port.appPort}`,
  serverName: arrival.is === "mesh" ? arrival.serverName : undefined,
});
