// One thread's datagrams: those that the redirect brings to its listeners, and the sessions of its peers. It goes by the same snapshot,
// clusters, policy and counters as connections do (data-plane.ts).
import type { CapturedDatagram, DatagramNetwork } from "../../base/datagrams.ts";
import type { Stream } from "../../base/net.ts";
import { byPeerAuthentication, deniedAt, type Inbound } from "../arrival.ts";
import type { DataPlane, Refused } from "../data-plane.ts";
import type { MeshView } from "../mesh-view.ts";
import { FlowTable } from "./flow-table.ts";
import { InboundSession } from "./inbound-session.ts";
import { OutboundFlow } from "./outbound-flow.ts";
import { SessionBook } from "./session-book.ts";
import {
  claimFlow,
  type DropReason,
  Drops,
  releaseFlow,
  UDP_BOUNDS,
  type UdpBounds,
  type UdpContext,
} from "./udp-context.ts";
import { udpWayFor } from "./udp-destined.ts";

/** Looks for idle flows so often, as a share of what they may be idle. */
const SWEEPS = 4;
/** A peer dials anew and then waits lingerMs itself. Less than the process stays for (Upgrade's LINGER_MS). */
const HAND_OVER_LINGERS = 2;

export interface UdpPlaneConfig {
  readonly meshPort: number;
  readonly bounds?: UdpBounds;
}

export class UdpPlane {
  readonly #plane: DataPlane;
  readonly #udp: UdpContext;
  readonly #config: UdpPlaneConfig;
  readonly #sessions: SessionBook;
  readonly #accepted = new Set<InboundSession>();
  /** By the listener's port: one workload's flows push out its own only. */
  readonly #flows = new Map<number, FlowTable<string, OutboundFlow>>();
  #nextFlow = 1;

  constructor(config: UdpPlaneConfig, plane: DataPlane, datagrams: DatagramNetwork) {
    const bounds = config.bounds ?? UDP_BOUNDS;
    this.#plane = plane;
    this.#config = config;
    this.#udp = { plane, datagrams, drops: new Drops(plane), bounds };
    this.#sessions = new SessionBook(this.#udp);
    this.#sweepLater();
  }

  #sweepLater(): void {
    const { flowIdleMs } = this.#udp.bounds;
    const look = this.#plane.context.deadline(() => {
      const nowMs = this.#plane.context.nowMs();
      look.set(nowMs + flowIdleMs / SWEEPS);
      for (const table of this.#flows.values()) table.endIdle(nowMs - flowIdleMs);
      for (const session of [...this.#accepted]) session.flows.endIdle(nowMs - flowIdleMs);
      this.#sessions.sweep(nowMs);
    });
    look.set(this.#plane.context.nowMs() + flowIdleMs / SWEEPS);
  }

  /** A datagram of a local program, by a workload's own listener (index into snapshot.workloads); undefined: a process of none. */
  takeOutbound(datagram: CapturedDatagram, listener: number, workload: number | undefined): void {
    const table = this.#tableOf(listener);
    const key = datagram.flowKey;
    const flow = table.get(key) ?? this.#newFlow(datagram, table, workload);
    flow?.take(datagram.bytes, datagram.start, datagram.end);
  }

  #tableOf(listener: number): FlowTable<string, OutboundFlow> {
    const known = this.#flows.get(listener);
    if (known !== undefined) return known;
    const made = new FlowTable<string, OutboundFlow>(this.#udp.bounds.flowsMax);
    this.#flows.set(listener, made);
    return made;
  }

  #newFlow(
    datagram: CapturedDatagram,
    table: FlowTable<string, OutboundFlow>,
    workload: number | undefined,
  ): OutboundFlow | undefined {
    const { from, to: original } = datagram;
    const { view } = this.#plane;
    if (view === undefined) return this.#refuse("no_snapshot", { destination: original });
    if (this.#plane.isListener(original.port)) return this.#refuseDialler(datagram);
    const client = view.client(workload);
    const { identity } = client;
    const way = udpWayFor(this.#plane, client, original);
    const about = { destination: original, identity, address: from.address };
    if (way === undefined) return this.#refuse("not_declared", about);
    if (!claimFlow(this.#udp)) return this.#refuse("too_many", about);
    if (!way.cluster.claimConnection()) {
      releaseFlow(this.#udp);
      return this.#refuse("overflow", about);
    }
    const id = this.#nextFlow;
    this.#nextFlow = id === 0xffff_ffff ? 1 : id + 1;
    const flow = new OutboundFlow(this.#udp, this.#sessions, client, way, { id, from, original });
    table.add(datagram.flowKey, flow);
    return flow;
  }

  /** What another host sent to a UDP port of a workload, past the mesh. Never passed on, never answered. */
  refusePlain(datagram: CapturedDatagram): void {
    const { from, to: destination } = datagram;
    const { view } = this.#plane;
    if (this.#plane.isListener(destination.port)) {
      this.#refuseDialler(datagram);
      return;
    }
    const at = view?.tables.udpInboundAt(destination.address, destination.port);
    const workload = at && view?.snapshot.workloads[at.workload];
    if (view === undefined || at === undefined || workload === undefined) {
      this.#refuse("not_declared", { destination, address: from.address });
      return;
    }
    const inbound = { view, at, workload };
    this.#refuse("plaintext_to_strict", {
      ...deniedAt(inbound),
      ...byPeerAuthentication(inbound),
      address: from.address,
    });
  }

  #refuseDialler({ from, to }: CapturedDatagram): undefined {
    this.#plane.listenerDialled.add();
    return this.#refuse("listener_dialled", { destination: to, address: from.address });
  }

  /** Counts and notes it. */
  #refuse(reason: DropReason, what: Refused & { readonly address?: string }): undefined {
    const { identity, address = "", ...about } = what;
    this.#udp.drops.add(reason);
    this.#plane.deps.decisions.note({
      cause: "connection",
      by: reason,
      workload: undefined,
      service: undefined,
      destination: { address: "", port: 0 },
      ...about,
      caller: { identity, address },
      request: undefined,
    });
    return undefined;
  }

  /** A peer's session; stream.mesh is set, its identity proven. */
  acceptMesh(stream: Stream): void {
    const serverName = stream.mesh?.serverName ?? "";
    const { view } = this.#plane;
    const inbound = view && inboundFor(view, serverName);
    const isFull = this.#accepted.size >= this.#udp.bounds.acceptedMax;
    if (inbound === undefined || isFull) {
      const reason = inbound !== undefined ? "too_many" : view ? "not_declared" : "no_snapshot";
      this.#plane.refuse(stream, reason, { destination: { address: serverName, port: 0 } });
      return;
    }
    const session = new InboundSession(this.#udp, inbound, stream, {
      meshPort: this.#config.meshPort,
      onOver: (over) => this.#accepted.delete(over),
    });
    this.#accepted.add(session);
  }

  /** Call it after DataPlane.swap(). */
  swap(): void {
    const { view } = this.#plane;
    if (view === undefined) return;
    const ports = new Set(view.snapshot.workloads.map(({ outboundPort }) => outboundPort));
    for (const [listener, table] of this.#flows) {
      table.endIf((flow) => !flow.refresh());
      if (!ports.has(listener) && table.size === 0) this.#flows.delete(listener);
    }
    for (const session of [...this.#accepted])
      session.refresh(inboundFor(view, session.serverName));
  }

  /** Local identities whose certificates were replaced: keys end with them. */
  renewed(identities: ReadonlySet<string>): void {
    this.#sessions.renew(identities);
    for (const session of this.#accepted) if (identities.has(session.identity)) session.renew();
  }

  hostsChanged(): void {
    for (const table of this.#flows.values()) for (const flow of table.all()) flow.hostsChanged();
  }

  /** Another process reads our listeners and accepts sessions from now on. Peers are asked to dial it, and speak by the old keys until
   *  they have; answers under way come to where their questions were sent from. */
  handOver(): void {
    const { context } = this.#plane;
    this.#sessions.retireAll();
    for (const session of [...this.#accepted]) session.renew();
    const end = context.deadline(() => this.close());
    end.set(context.nowMs() + this.#udp.bounds.lingerMs * HAND_OVER_LINGERS);
  }

  /** Flows end with their log lines; peers and programs begin anew with whoever serves then. */
  close(): void {
    for (const table of this.#flows.values()) table.endAll();
    this.#sessions.closeAll();
    for (const session of [...this.#accepted]) session.end();
  }
}

function inboundFor(view: MeshView, serverName: string): Inbound | undefined {
  const at = view.tables.udpInboundByServerName(serverName);
  const workload = at && view.snapshot.workloads[at.workload];
  return at === undefined || workload === undefined ? undefined : { view, at, workload };
}
