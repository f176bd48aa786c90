// The access record of an opaque connection, in the words of Istio's JSON access log.
import type { AccessRecord } from "../observe/access-log.ts";
import type { Peers } from "./access-record.ts";
import type { Relay } from "./relay.ts";

export interface ConnectionFacts extends Peers {
  /** Unix milliseconds. */
  readonly startedAt: number;
  readonly durationMs: number;
  readonly upstreamHost: string | undefined;
  readonly upstreamCluster: string | undefined;
  readonly route: string;
  readonly details: string | undefined;
  /** Of a refusal. */
  readonly decision?: string | undefined;
}

export const connectionRecord = (
  relay: Pick<Relay, "flags" | "receivedBytes" | "sentBytes"> & {
    readonly transportFailure?: string | undefined;
  },
  facts: ConnectionFacts,
): AccessRecord => ({
  start_time: new Date(facts.startedAt).toISOString(),
  protocol: "TCP",
  response_code: 0,
  response_flags: relay.flags,
  connection_termination_details: facts.details,
  decision_id: facts.decision,
  upstream_transport_failure_reason: relay.transportFailure,
  bytes_received: relay.receivedBytes,
  bytes_sent: relay.sentBytes,
  duration: Math.round(facts.durationMs),
  upstream_host: facts.upstreamHost,
  upstream_cluster: facts.upstreamCluster,
  downstream_local_address: facts.localAddress,
  downstream_remote_address: facts.downstreamAddress,
  downstream_peer_identity: facts.downstreamIdentity,
  requested_server_name: facts.serverName,
  route_name: facts.route,
});
