// How a connection of somebody else came in, which local port it means, and what is known of its caller.
import type { DialTarget, OriginalDestination, PlainTarget, Stream } from "../base/net.ts";
import type { Denial } from "../observe/decision-book.ts";
import { type Party, type Traffic, UNKNOWN_PARTY } from "../observe/request-metrics.ts";
import type { Caller } from "../policy/request-view.ts";
import type { InboundPort, LocalWorkload } from "../policy/snapshot.ts";
import type { InboundAt } from "../policy/tables.ts";
import type { Peers } from "./access-record.ts";
import { type MeshView, partyOf } from "./mesh-view.ts";

/** Source address towards local apps: the redirect rules let it pass, and an app sees that its caller came through the mesh. */
const FROM = "127.0.0.6";

/** How a connection came in; what is needed to look its target up again after a swap. */
export type Arrival =
  | { readonly is: "mesh"; readonly serverName: string; readonly alpn: string }
  /** HBONE: by address, and proven. */
  | { readonly is: "tunnel"; readonly address: string; readonly port: number }
  | { readonly is: "plain"; readonly address: string; readonly port: number };

/** The same for arrivals that mean the same port in the same way. */
export const arrivalKey = (arrival: Arrival): string =>
  arrival.is === "mesh"
    ? `mesh ${arrival.serverName}`
    : `${arrival.is} ${arrival.address} ${arrival.port}`;

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
  if (arrival.is === "tunnel" && !isAt(view, at, arrival.address)) return undefined;
  const workload = at === undefined ? undefined : view.snapshot.workloads[at.workload];
  return at === undefined || workload === undefined ? undefined : { view, at, workload };
}

/** Of a redirected connection the kernel vouches that its address is this host's; whoever names an address himself must name one that is. */
function isAt(view: MeshView, at: InboundAt | undefined, address: string): boolean {
  return at?.port.appAddress === address || view.snapshot.host.addresses.includes(address);
}

export function appTarget(port: InboundPort): PlainTarget {
  const { appAddress: address, appPort } = port;
  return address.includes(":")
    ? { is: "plain", address, port: appPort }
    : { is: "plain", address, port: appPort, from: FROM };
}

/** For requests, which are written in HTTP/1.1 whatever the app speaks. */
export const appHttpTarget = (port: InboundPort): DialTarget =>
  port.speaks === undefined ? appTarget(port) : { ...appTarget(port), speaks: port.speaks };

/** The app's cluster, as logs call it. Another protocol is another cluster: its connections are no use to this one. */
export const appClusterName = (
  { appPort, appAddress, speaks }: InboundPort,
  workload: Pick<LocalWorkload, "name" | "namespace">,
): string => {
  const name = `inbound|${appPort}|${appAddress}|${workload.name}.${workload.namespace}`;
  return speaks === undefined ? name : `${name}|${speaks}`;
};

/** As far as it is known before its port is found. */
export const destinationOf = (arrival: Arrival): OriginalDestination =>
  arrival.is === "mesh"
    ? { address: arrival.serverName, port: 0 }
    : { address: arrival.address, port: arrival.port };

/** What a decision says of whom it was about. */
export const deniedAt = ({
  view,
  at,
  workload,
}: Inbound): Pick<Denial, "workload" | "service" | "destination"> => ({
  workload,
  service: at.service === undefined ? undefined : view.snapshot.services[at.service]?.host,
  destination: { address: at.port.appAddress, port: at.port.appPort },
});

export const byPeerAuthentication = ({ at }: Inbound): Pick<Denial, "cause" | "by"> => ({
  cause: "peer_authentication",
  by: at.port.mtlsBy?.policy ?? "the mesh's default",
});

/** Plaintext where the policy wants mTLS. */
export const arrivesUnproven = (caller: Caller, port: InboundPort): boolean =>
  caller.identity === undefined && port.mtls === "strict";

/** The same for all that inboundTraffic() says the same of. */
export const trafficKey = ({ at }: Inbound, caller: Caller): string =>
  `${at.workload} ${at.port.appPort} ${at.service} ${caller.identity} ${caller.address}`;

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
): Peers => ({
  downstreamAddress: `${caller.address}:${stream.peerPort}`,
  downstreamIdentity: caller.identity,
  localAddress: `${at.port.appAddress}:${at.port.appPort}`,
  serverName: arrival.is === "mesh" ? arrival.serverName : undefined,
});
