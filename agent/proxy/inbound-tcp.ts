// Opaque connections towards a local workload: authorized once when they begin, and again whenever the snapshot changes.
import type { Stream } from "../base/net.ts";
import type { Denial } from "../observe/decision-book.ts";
import { ConnectionFamily } from "../observe/request-metrics.ts";
import { asksServerName, authorizeConnection, isOpen } from "../policy/authorize.ts";
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
import type { DataPlane, RefusalReason } from "./data-plane.ts";
import { Relay, type RelayHooks } from "./relay.ts";
import type { FirstWord } from "./server-first.ts";
import { type Heard, hearServerName } from "./server-name.ts";

/** Undefined: allowed. `heard`: undefined where the port is none of TLS, and so nobody listens for a name. */
function deniedBy(
  inbound: Inbound,
  caller: Caller,
  heard: Heard | undefined,
): Pick<Denial, "cause" | "by"> | undefined {
  const { at, workload } = inbound;
  if (arrivesUnproven(caller, at.port)) return byPeerAuthentication(inbound);
  if (isOpen(workload.authorization)) return undefined;
  if (at.port.isTls === true && heard?.is !== "hello" && asksServerName(workload.authorization))
    return { cause: "connection", by: (heard?.is ?? "not_tls") satisfies RefusalReason };
  const reached = { port: at.port.appPort, address: at.port.appAddress };
  const verdict = authorizeConnection(workload.authorization, caller, reached, nameIn(heard));
  return verdict.allowed ? undefined : { cause: "authorization", by: verdict.policy };
}

const nameIn = (heard: Heard | undefined): string | undefined =>
  heard?.is === "hello" ? heard.serverName : undefined;

export interface Refusal {
  readonly details: string;
  readonly decision: string;
}

/** Undefined: this caller may connect. A refusal is in the decision book by now. */
export function refusalOf(
  plane: DataPlane,
  inbound: Inbound,
  caller: Caller,
  heard?: Heard,
): Refusal | undefined {
  const denied = deniedBy(inbound, caller, heard);
  if (denied === undefined) return undefined;
  const about = { ...deniedAt(inbound), caller, serverName: nameIn(heard), request: undefined };
  return {
    details:
      denied.cause === "connection" ? denied.by : `rbac_access_denied_matched_policy[${denied.by}]`,
    decision: plane.deps.decisions.note({ ...denied, ...about }),
  };
}

/** To an app that terminates TLS itself: policy may ask whom the client wants. */
export function carryInboundTls(
  plane: DataPlane,
  inbound: Inbound,
  arrival: Arrival,
  caller: Caller,
  stream: Stream,
): void {
  const { appAddress, appPort } = inbound.at.port;
  const place = `at ${appAddress} ${appPort}`;
  const isNeeded = asksServerName(inbound.workload.authorization);
  hearServerName(stream, plane.context, { place, isNeeded }, (heard, spoke) => {
    const now = plane.view && inboundFor(plane.view, arrival); // a swap may have come meanwhile
    if (now !== undefined) carryInboundTcp(plane, now, arrival, caller, stream, { spoke, heard });
    else plane.refuse(stream, "not_declared", deniedAt(inbound));
  });
}

/** What was learnt of a connection before it is carried. */
interface Learnt {
  readonly spoke?: FirstWord | undefined;
  readonly heard?: Heard | undefined;
  /** Its caller waits for it before it says anything. */
  readonly whenConnected?: (() => void) | undefined;
}

export function carryInboundTcp(
  plane: DataPlane,
  inbound: Inbound,
  arrival: Arrival,
  caller: Caller,
  stream: Stream,
  learnt: Learnt = {},
): void {
  new InboundTcp(plane, inbound, { arrival, caller, stream, ...learnt }).begin();
}

interface Arrived extends Learnt {
  readonly arrival: Arrival;
  readonly caller: Caller;
  readonly stream: Stream;
}

class InboundTcp implements RelayHooks {
  readonly #plane: DataPlane;
  readonly #inbound: Inbound;
  readonly #arrived: Arrived;
  readonly #family: ConnectionFamily;
  readonly #startMs: number;
  #refusal: Refusal | undefined;

  constructor(plane: DataPlane, inbound: Inbound, arrived: Arrived) {
    this.#plane = plane;
    this.#inbound = inbound;
    this.#arrived = arrived;
    this.#startMs = plane.context.nowMs();
    this.#family = inbound.view.connectionFamily(
      trafficKey(inbound, arrived.caller),
      () => new ConnectionFamily(plane.deps.metrics, inboundTraffic(inbound, arrived.caller)),
    );
  }

  get spoke(): FirstWord | undefined {
    return this.#arrived.spoke;
  }

  begin(): void {
    const { stream } = this.#arrived;
    this.#refusal = this.#judge(this.#inbound);
    if (this.#refusal !== undefined) {
      stream.reset();
      this.ended({ flags: "-", receivedBytes: 0, sentBytes: 0 });
      return;
    }
    const relay = new Relay(stream, this.#plane.context, this);
    relay.dial(appTarget(this.#inbound.at.port), this.#plane.config.appConnectTimeoutMs);
  }

  #judge(inbound: Inbound): Refusal | undefined {
    return refusalOf(this.#plane, inbound, this.#arrived.caller, this.#arrived.heard);
  }

  connected(): void {
    this.#family.opened();
    this.#arrived.whenConnected?.();
  }
  moved(received: number, sent: number): void {
    this.#family.moved(received, sent);
  }
  mayStay(): boolean {
    const { view } = this.#plane;
    const now = view === undefined ? undefined : inboundFor(view, this.#arrived.arrival);
    this.#refusal = now && this.#judge(now);
    return now !== undefined && this.#refusal === undefined;
  }

  ended({ flags, receivedBytes, sentBytes }: Carried): void {
    this.#family.closed(flags);
    const { accessLog, clock } = this.#plane.deps;
    const refusal = this.#refusal;
    if (!accessLog.wants(flags !== "-" || refusal !== undefined)) return;
    const { arrival, caller, stream, heard } = this.#arrived;
    const durationMs = this.#plane.context.nowMs() - this.#startMs;
    const { appAddress, appPort } = this.#inbound.at.port;
    accessLog.add(
      connectionRecord(
        { flags, receivedBytes, sentBytes },
        {
          ...inboundPeers(this.#inbound, arrival, caller, stream),
          ...(arrival.is === "mesh" ? {} : { serverName: nameIn(heard) }),
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
  }
}

/** What a record tells of a relay. */
type Carried = Pick<Relay, "flags" | "receivedBytes" | "sentBytes">;
