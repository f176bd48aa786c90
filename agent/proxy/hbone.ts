// HBONE, as Istio's ztunnel speaks it: mTLS with ALPN `h2`, and in it a CONNECT for each TCP connection, whose authority is an address and port of
// this host. Each is an opaque connection of the peer whose identity TLS proved, under the L4 policy, metrics and log of any other. What its
// fields say of the caller (baggage, forwarded) is nobody's word but its own, and not believed. docs/decisions/0030-hbone.md.
import { isIpv6Text, parseIpv4 } from "../base/ip-text.ts";
import type { MeshPeer, OriginalDestination, Stream } from "../base/net.ts";
import type { TunnelLane } from "../protocol/http2/tunnel-lane.ts";
import { TunnelServer } from "../protocol/http2/tunnel-server.ts";
import { type Arrival, inboundFor } from "./arrival.ts";
import type { DataPlane, RefusalReason } from "./data-plane.ts";
import { Http2Downstream } from "./http2-downstream.ts";
import { carryInboundTcp, carryInboundTls } from "./inbound-tcp.ts";

const BAD_REQUEST = 400;
/** As ztunnel answers whom a policy refuses. */
const UNAUTHORIZED = 401;
const NOT_FOUND = 404;
const UNAVAILABLE = 503;
const NOWHERE = { address: "", port: 0 };
/** Each request is decided by itself. */
const NO_ROLE = { renew() {} };

/** The connection is admitted, its peer proven, and `peer.as` is who it was shown to be speaking with. */
export function serveHbone(plane: DataPlane, stream: Stream, peer: MeshPeer): void {
  new Http2Downstream(
    stream,
    NO_ROLE,
    plane.context,
    () => {},
    (events) =>
      new TunnelServer(plane.deps.http2, events, stream, (lane) => {
        serveTunnel(plane, lane, peer);
        plane.context.dropClaim();
      }),
  );
}

function serveTunnel(plane: DataPlane, lane: TunnelLane, peer: MeshPeer): void {
  const caller = { identity: peer.identity, address: lane.peerAddress };
  const refuse = (status: number, reason: RefusalReason, destination: OriginalDestination) => {
    lane.refusal = status;
    plane.refuse(lane, reason, { destination, identity: peer.identity });
  };
  const to = parseTarget(lane.authority);
  if (to === undefined) {
    refuse(BAD_REQUEST, "authority_invalid", NOWHERE);
    return;
  }
  const arrival: Arrival = { is: "tunnel", ...to };
  const inbound = plane.view && inboundFor(plane.view, arrival);
  if (inbound === undefined) refuse(NOT_FOUND, "not_declared", to);
  else if (inbound.workload.identity !== peer.as) refuse(BAD_REQUEST, "another_identity", to);
  else if (inbound.at.port.isTls === true) {
    lane.open(); // policy may ask for the server name, which is said once the tunnel stands
    carryInboundTls(plane, inbound, arrival, caller, lane);
  } else {
    lane.refusal = UNAUTHORIZED;
    carryInboundTcp(plane, inbound, arrival, caller, lane, { whenConnected: () => lane.open() });
    lane.refusal = UNAVAILABLE; // should the app not be there
  }
}

/** An IP address and a port, as a URI writes them. */
function parseTarget(authority: string): OriginalDestination | undefined {
  const [, six, four, digits = ""] =
    /^(?:\[([^\]]+)\]|([^:]+)):([1-9]\d{0,4})$/.exec(authority) ?? [];
  const address = six ?? four ?? "";
  const isAddress = six === undefined ? parseIpv4(address) !== undefined : isIpv6Text(address);
  const port = Number(digits);
  return isAddress && port <= 65_535 ? { address: address.toLowerCase(), port } : undefined;
}
