// What everything of a thread's datagrams shares, and its bounds.
import type { DatagramNetwork } from "../../base/datagrams.ts";
import type { Counter } from "../../observe/series.ts";
import type { DataPlane } from "../data-plane.ts";

/** docs/operating.md names them. */
export interface UdpBounds {
  /** A flow without a datagram in either direction ends after this. Default 60,000, as Envoy's udp_proxy. */
  readonly flowIdleMs: number;
  /** Flows of one listener (so of one workload) and thread; one more ends the one of the oldest that is silent longest. Default 4,096. */
  readonly flowsMax: number;
  /** The same for what one caller opens at one of our ports, by one session. Default 4,096. */
  readonly sessionFlowsMax: number;
  /** Datagrams a flow keeps while its session is dialled, the oldest dropped first. Default 64. */
  readonly queueMax: number;
  /** Bytes that all flows of a session keep. Default 262,144. */
  readonly queueBytesMax: number;
  /** How long a session may take to be ready. Default 5,000. */
  readonly dialTimeoutMs: number;
  /** After a session failed nobody dials it anew for so long. Default 250. */
  readonly redialMs: number;
  /** What a session with old keys is kept for, to hear what is under way. Default 2,000. */
  readonly lingerMs: number;
  /** Sessions a thread accepts. Default 1,024: each has a socket at the mesh port, and the kernel looks through them one by one. */
  readonly acceptedMax: number;
}

export const UDP_BOUNDS: UdpBounds = {
  flowIdleMs: 60_000,
  flowsMax: 4_096,
  sessionFlowsMax: 4_096,
  queueMax: 64,
  queueBytesMax: 262_144,
  dialTimeoutMs: 5_000,
  redialMs: 250,
  lingerMs: 2_000,
  acceptedMax: 1_024,
};

/** Why a datagram was not passed on; label of ironmesh_udp_dropped_total. */
export type DropReason =
  /** There is no snapshot yet. */
  | "no_snapshot"
  /** A listener of ours was dialled. */
  | "listener_dialled"
  /** Nobody declared that destination for UDP. */
  | "not_declared"
  | "plaintext_to_strict"
  /** `--connections-max`, or the DestinationRule's maxConnections. */
  | "too_many"
  | "overflow"
  | "no_healthy_upstream"
  /** The peer's agent or the app's host is not reached. */
  | "unreachable"
  /** It belongs to a mesh endpoint, and DatagramNetwork.canSeal is false here. */
  | "cannot_seal"
  /** A policy of the called workload. */
  | "denied"
  /** A RateLimit of the called workload. */
  | "rate_limited"
  | "queue_full"
  | "too_long"
  /** The kernel's buffer was full, or an ICMP error was in its place. */
  | "not_sent"
  | "forged"
  | "replayed"
  /** An answer that belongs to no flow any more. */
  | "no_flow";

export class Drops {
  readonly #plane: DataPlane;
  readonly #counters = new Map<DropReason, Counter>();

  constructor(plane: DataPlane) {
    this.#plane = plane;
  }

  add(reason: DropReason, datagrams = 1): void {
    let counter = this.#counters.get(reason);
    if (counter === undefined) {
      counter = this.#plane.deps.metrics.counter("ironmesh_udp_dropped_total", { reason });
      this.#counters.set(reason, counter);
    }
    counter.add(datagrams);
  }
}

export interface UdpContext {
  readonly plane: DataPlane;
  readonly datagrams: DatagramNetwork;
  readonly drops: Drops;
  readonly bounds: UdpBounds;
}

/** One more flow of those connections that the agent may have; false: it has as many as it may. */
export function claimFlow({ plane }: UdpContext): boolean {
  const { connectionsSlot, connectionsMax } = plane.config;
  if (plane.deps.slots.hold(connectionsSlot, 1) <= connectionsMax) return true;
  plane.deps.slots.hold(connectionsSlot, -1);
  return false;
}
export const releaseFlow = ({ plane }: UdpContext): void => {
  plane.deps.slots.hold(plane.config.connectionsSlot, -1);
};
