// Opaque connections towards a local workload: authorized once when they begin, and again whenever the snapshot changes.
import type { Stream } from "../base/net.ts";
import type { Denial } from "../observe/decision-book.ts";
import { ConnectionFamily } from "../observe/request-metrics.ts";
import { authorizeConnection, isOpen } from "../policy/authorize.ts";
import type { Caller } from "../policy/request-view.ts";
import {
  type Arrival,
  appTarget,
  arrivesUnproven,
  byPeerAuthentication,
  deniedAt,
  type Inbound,
  inboundFor,
  inboundPeers,
  inboundTraffic,
  trafficKey,
} from "./arrival.ts";
import { connectionRecord } from "./connection-record.ts";
import type { DataPlane } from "./data-plane.ts";
import { Relay } from "./relay.ts";
import type { FirstWord } from "./server-first.ts";

/** Undefined: allowed. */
function deniedBy(inbound: Inbound, caller: Caller): Pick<Denial, "cause" | "by"> | undefined {
  const { at, workload } = inbound;
  if (arrivesUnproven(caller, at.port)) return byPeerAuthentication(inbound);
  if (isOpen(workload.authorization)) return undefined;
  const reached = { port: at.port.appPort, address: at.port.appAddress };
  const verdict = authorizeConnection(workload.authorization, caller, reached);
  return verdict.allowed ? undefined : { cause: "authorization", by: verdict.policy };
}

export interface Refusal {
  readonly details: string;
  readonly decision: string;
}

/** Undefined: this caller may connect. A refusal is in the decision book by now. */
export function refusalOf(plane: DataPlane, inbound: Inbound, caller: Caller): Refusal | undefined {
  const denied = deniedBy(inbound, caller);
  if (denied === undefined) return undefined;
  const about = { ...deniedAt(inbound), caller, request: undefined };
  return {
    details: `rbac_access_denied_matched_policy[${denied.by}]`,
    decision: plane.deps.decisions.note({ ...denied, ...about }),
  };
}

export function carryInboundTcp(
  plane: DataPlane,
  inbound: Inbound,
  arrival: Arrival,
  caller: Caller,
  stream: Stream,
  spoke?: FirstWord,
): void {
  const family = inbound.view.connectionFamily(
    trafficKey(inbound, caller),
    () => new ConnectionFamily(plane.deps.metrics, inboundTraffic(inbound, caller)),
  );
  const startMs = plane.context.nowMs();
  const finish = (
    flags: string,
    moved: { receivedBytes: number; sentBytes: number },
    refusal: Refusal | undefined,
  ): void => {
    family.closed(flags);
    const { accessLog, clock } = plane.deps;
    if (!accessLog.wants(flags !== "-" || refusal !== undefined)) return;
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
          details: refusal?.details,
          decision: refusal?.decision,
        },
      ),
    );
  };
  let refusal = refusalOf(plane, inbound, caller);
  if (refusal !== undefined) {
    stream.reset();
    finish("-", { receivedBytes: 0, sentBytes: 0 }, refusal);
    return;
  }
  const relay = new Relay(stream, plane.context, {
    connected: () => family.opened(),
    moved: (received, sent) => family.moved(received, sent),
    spoke,
    mayStay: () => {
      const now = plane.view === undefined ? undefined : inboundFor(plane.view, arrival);
      refusal = now && refusalOf(plane, now, caller);
      return now !== undefined && refusal === undefined;
    },
    ended: ({ flags, receivedBytes, sentBytes }) =>
      finish(flags, { receivedBytes, sentBytes }, refusal),
  });
  relay.dial(appTarget(inbound.at.port), plane.config.appConnectTimeoutMs);
}
