// Access records in the words of Istio's JSON access log. What a record needs of a request head is taken when the head is
// there, and only while the log is on.
import type { Stream } from "../base/net.ts";
import type { AccessRecord } from "../observe/access-log.ts";
import type { RequestHead } from "../protocol/http1/head.ts";
import type { Exchange } from "./exchange.ts";

export interface RequestEntry {
  readonly method: string;
  readonly path: string;
  readonly authority: string;
  readonly userAgent: string | undefined;
  readonly forwardedFor: string | undefined;
  readonly requestId: string | undefined;
}

/** What an errors-only access log writes down. */
export const isFailed = ({ status, flags, grpc }: Exchange): boolean =>
  status >= 400 || status === 0 || flags !== "-" || grpc.isFailed;

export const requestEntry = (head: RequestHead): RequestEntry => ({
  method: head.method,
  path: head.target,
  authority: head.authority,
  userAgent: head.joined("user-agent"),
  forwardedFor: head.joined("x-forwarded-for"),
  requestId: head.joined("x-request-id"),
});

/** Of HTTP/1, and not of a head that could not be read. */
function versionOf({ entry, response }: Exchange): string | undefined {
  if (entry === undefined) return undefined;
  return response.speaksOld ? "HTTP/1.0" : "HTTP/1.1";
}

/** What the connection knows and the exchange does not. */
export interface Peers {
  readonly downstreamAddress: string;
  readonly downstreamIdentity: string | undefined;
  readonly localAddress: string;
  readonly serverName: string | undefined;
}

export function requestRecord(
  exchange: Exchange,
  downstream: Stream,
  peers: Peers,
  times: { nowMs: number; wallMs: number },
): AccessRecord {
  const { entry, plan } = exchange;
  const durationMs = times.nowMs - exchange.startMs;
  return {
    start_time: new Date(times.wallMs - durationMs).toISOString(),
    method: entry?.method,
    path: entry?.path,
    protocol: downstream.speaks ?? versionOf(exchange),
    response_code: exchange.status,
    grpc_status: exchange.grpc.label,
    response_flags: exchange.flags,
    response_code_details: exchange.details,
    decision_id: exchange.decision,
    upstream_transport_failure_reason: exchange.tries.transportFailure,
    bytes_received: exchange.requestBytes,
    bytes_sent: exchange.responseBytes,
    duration: Math.round(durationMs),
    user_agent: entry?.userAgent,
    x_forwarded_for: entry?.forwardedFor,
    request_id: entry?.requestId,
    authority: entry?.authority,
    upstream_host: exchange.target?.endpoint.id,
    upstream_cluster: plan?.cluster?.view.name,
    downstream_local_address: peers.localAddress,
    downstream_remote_address: peers.downstreamAddress,
    downstream_peer_identity: peers.downstreamIdentity,
    requested_server_name: peers.serverName,
    route_name: plan?.name,
  };
}
