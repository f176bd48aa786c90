// Opaque connections towards a local workload: authorized once when they begin, and again whenever the snapshot changes.
import type { Stream } from "../base/net.ts";
import { ConnectionFamily } from "../observe/request-metrics.ts";
import { authorizeConnection, isOpen } from "../policy/authorize.ts";
import type { Caller } from "../policy/snapshot.ts";
import {
  type Arrival,
  appTarget,
  arrivesUnproven,
  type Inbound,
  inboundFor,
  inboundPeers,
  inboundTraffic,
  trafficKey,
} from "./arrival.ts";
import { connectionRecord } from "./connection-record.ts";
import type { DataPlane } from "./data-plane.ts";
import { Relay } from "./relay.ts";

/** Undefined: allowed. */
function deniedBy({ at, workload }: Inbound, caller: Caller): string | undefined {
  if (arrivesUnproven(caller, at.port)) return "PeerAuthentication STRICT";
  if (isOpen(workload.authorization)) return undefined;
  const reached = { port: at.port.appPort, address: at.port.appAddress };
  const verdict = authorizeConnection(workload.authorization, caller, reached);
  return verdict.allowed ? undefined : verdict.policy;
}

export function carryInboundTcp(
  plane: DataPlane,
  inbound: Inbound,
  arrival: Arrival,
  caller: Caller,
  stream: Stream,
): void {
  const family = inbound.view.connectionFamily(
    trafficKey(inbound, caller),
    () => new ConnectionFamily(plane.deps.metrics, inboundTraffic(inbound, caller)),
  );
  const startMs = plane.context.nowMs();
  const finish = (
    flags: string,
    moved: { receivedBytes: number; sentBytes: number },
    details: string | undefined,
  ): void => {
    family.closed(flags);
    const { accessLog, clock } = plane.deps;
    if (!accessLog.wants(flags !== "-" || details !== undefined)) return;
    const durationMs = plane.context.nowMs() - startMs;
    const { appAddress, appPort } = inbound.at.port;
    accessLog.add(
      connectionRecord(
        { flags, ...moved },
        {
          ...inboundPeers(inbound, arrival, caller, stream),
          startedAt: clock.wallMs() - durationMs,
          durationMs,
          upstreamHost: `${appAddress}:${appPort}`,
          upstreamCluster: `inbound|${appPort}||`,
          route: "default",
          details,
        },
      ),
    );
  };
  const denied = deniedBy(inbound, caller);
  if (denied !== undefined) {
    stream.reset();
    finish("-", { receivedBytes: 0, sentBytes: 0 }, `rbac_access_denied_matched_policy[${denied}]`);
    return;
  }
  const relay = new Relay(stream, plane.context, {
    connected: () => family.opened(),
    moved: (received, sent) => family.moved(received, sent),
    mayStay: () => {
      const now = plane.view === undefined ? undefined : inboundFor(plane.view, arrival);
      return now !== undefined && deniedBy(now, caller) === undefined;
    },
    ended: ({ flags, receivedBytes, sentBytes }) =>
      finish(flags, { receivedBytes, sentBytes }, undefined),
  });
  relay.dial(appTarget(inbound.at.port), plane.config.appConnectTimeoutMs);
}
