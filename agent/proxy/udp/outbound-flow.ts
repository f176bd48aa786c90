// One local program's datagrams towards one destination: an endpoint chosen once, and answers that seem to come from where it sent to.
import type { Answerer, DatagramSocket } from "../../base/datagrams.ts";
import type { MeshTarget, OriginalDestination } from "../../base/net.ts";
import { FlowFamily } from "../../observe/flow-metrics.ts";
import { endpointParty } from "../destined.ts";
import type { ClientView } from "../mesh-view.ts";
import type { Target, UpstreamCluster } from "../upstream-cluster.ts";
import { datagramRecord, type FlowTally } from "./flow-record.ts";
import type { Flow } from "./flow-table.ts";
import type { OutboundSession, SessionUser } from "./outbound-session.ts";
import type { SessionBook } from "./session-book.ts";
import { ENDED_WELL } from "./session-words.ts";
import { type DropReason, releaseFlow, type UdpContext } from "./udp-context.ts";
import { udpWayFor } from "./udp-destined.ts";

export interface OutboundEnds {
  readonly id: number;
  readonly from: OriginalDestination;
  readonly original: OriginalDestination;
}

export class OutboundFlow implements Flow, SessionUser {
  readonly id: number;
  lastMs: number;
  readonly #udp: UdpContext;
  readonly #sessions: SessionBook;
  readonly #ends: OutboundEnds;
  readonly #answerer: Answerer;
  readonly #startMs: number;
  readonly #queue: Uint8Array[] = [];
  readonly #tally: FlowTally = { receivedBytes: 0, sentBytes: 0, received: 0, sent: 0 };
  #client: ClientView;
  #cluster: UpstreamCluster;
  #pinned: Target | undefined;
  #target: Target | undefined;
  #family: FlowFamily | undefined;
  #session: OutboundSession | undefined;
  /** Still good while the next one is dialled. */
  #before: OutboundSession | undefined;
  #plain: DatagramSocket | undefined;
  isOver = false;

  /** The flow is counted by its maker already, for the agent and at the cluster. */
  constructor(
    udp: UdpContext,
    sessions: SessionBook,
    client: ClientView,
    way: { readonly cluster: UpstreamCluster; readonly pinned: Target | undefined },
    ends: OutboundEnds,
  ) {
    this.id = ends.id;
    this.#udp = udp;
    this.#sessions = sessions;
    this.#client = client;
    this.#cluster = way.cluster;
    this.#pinned = way.pinned;
    this.#ends = ends;
    this.#answerer = udp.datagrams.answerer(ends.original, ends.from);
    this.#startMs = udp.plane.context.nowMs();
    this.lastMs = this.#startMs;
  }

  /** From the program. */
  take(bytes: Uint8Array, start: number, end: number): void {
    this.lastMs = this.#udp.plane.context.nowMs();
    this.#target ??= this.#choose();
    if (this.#target === undefined) this.#drop("no_healthy_upstream");
    else if (this.#target.dialOpaque.is !== "mesh")
      this.#sendPlain(this.#target, bytes, start, end);
    else if (!this.#udp.datagrams.canSeal) this.#drop("cannot_seal");
    else this.#seal(this.#target.dialOpaque, bytes, start, end);
  }

  #choose(): Target | undefined {
    const hash = this.#cluster.view.hashKey?.ofSource(this.#ends.from.address);
    return this.#pinned ?? this.#cluster.target(this.#cluster.pick([], hash));
  }

  #seal(dial: MeshTarget, bytes: Uint8Array, start: number, end: number): void {
    const session = this.#join(dial);
    if (session === undefined) {
      this.#fail();
      this.#drop("unreachable");
      return;
    }
    const by = session.state === "ready" ? session : this.#stillGood;
    if (by === undefined) this.#keep(session, bytes.slice(start, end));
    else if (by.send(this.id, bytes, start, end)) this.#passed(end - start);
  }

  #join(dial: MeshTarget): OutboundSession | undefined {
    const next = this.#sessions.to(dial);
    if (next === this.#session) return next;
    this.#before?.users.delete(this.id);
    this.#before = this.#session;
    this.#session = next;
    next?.users.set(this.id, this);
    return next;
  }

  /** Old keys do until the new ones are there, unless they are spent. */
  get #stillGood(): OutboundSession | undefined {
    const before = this.#before;
    return before?.state === "retired" && !before.isSpent ? before : undefined;
  }

  #keep(session: OutboundSession, datagram: Uint8Array): void {
    const { queueMax, queueBytesMax } = this.#udp.bounds;
    if (this.#queue.length >= queueMax) this.#forgetOldest(session);
    if (session.queuedBytes + datagram.length > queueBytesMax) {
      this.#drop("queue_full");
      return;
    }
    this.#queue.push(datagram);
    session.queuedBytes += datagram.length;
  }

  #forgetOldest(session: OutboundSession): void {
    session.queuedBytes -= this.#queue.shift()?.length ?? 0;
    this.#drop("queue_full");
  }

  ready(): void {
    const session = this.#session;
    if (session === undefined) return;
    for (const datagram of this.#queue.splice(0)) {
      session.queuedBytes -= datagram.length;
      if (session.send(this.id, datagram, 0, datagram.length)) this.#passed(datagram.length);
    }
  }

  answered(bytes: Uint8Array, start: number, end: number): void {
    this.lastMs = this.#udp.plane.context.nowMs();
    if (!this.#answerer.send(bytes, start, end)) {
      this.#drop("not_sent");
      return;
    }
    this.#tally.sent++;
    this.#tally.sentBytes += end - start;
    this.#family?.sent(end - start);
  }

  lost(code: string): void {
    if (this.#before?.state === "over") this.#before = undefined;
    if (this.#session?.state !== "over") return;
    this.#session = undefined;
    const queued = this.#queue.splice(0).length;
    if (queued > 0) this.#drop("unreachable", queued);
    if (ENDED_WELL.includes(code)) this.#leave();
    else this.#fail();
  }

  /** Another endpoint, or the same one anew, for the next datagram. */
  #fail(): void {
    if (this.#target !== undefined) this.#cluster.report(this.#target, "gateway_error");
    this.#leave();
  }

  #leave(): void {
    this.#target = undefined;
    this.#session?.users.delete(this.id);
    this.#before?.users.delete(this.id);
    const queued = this.#queue.splice(0);
    if (this.#session !== undefined)
      this.#session.queuedBytes -= queued.reduce((sum, { length }) => sum + length, 0);
    this.#session = undefined;
    this.#before = undefined;
    this.#plain?.close();
    this.#plain = undefined;
  }

  #sendPlain({ dialOpaque }: Target, bytes: Uint8Array, start: number, end: number): void {
    const { datagrams } = this.#udp;
    if (this.#plain === undefined) {
      const opened = datagrams.connect(dialOpaque.address, dialOpaque.port, {
        onDatagram: (answer, from, to) => this.#guard(() => this.answered(answer, from, to)),
        onRefused: () => this.#drop("unreachable"),
        onNotSent: (lost) => this.#drop("not_sent", lost),
      });
      if (typeof opened === "string") {
        this.#fail();
        this.#drop("unreachable");
        return;
      }
      this.#plain = opened;
    }
    if (this.#plain.send(bytes, start, end)) this.#passed(end - start);
    else this.#drop("not_sent");
  }

  #guard(task: () => void): void {
    try {
      task();
    } catch (error) {
      this.#udp.plane.deps.bug(error);
      this.end();
    }
  }

  #passed(bytes: number): void {
    if (this.#target === undefined) return;
    if (this.#family === undefined) {
      this.#family = familyOf(this.#udp, this.#client, this.#cluster, this.#target);
      this.#family.opened();
      this.#cluster.report(this.#target, "success");
    }
    this.#tally.received++;
    this.#tally.receivedBytes += bytes;
    this.#family.received(bytes);
  }

  #drop(reason: DropReason, datagrams = 1): void {
    this.#udp.drops.add(reason, datagrams);
  }

  /** A new snapshot. False: nobody declares its destination any more, or other limits have no room. */
  refresh(): boolean {
    const { view } = this.#udp.plane;
    if (view === undefined) return false;
    this.#client = view.clientOf(this.#client);
    const way = udpWayFor(this.#udp.plane, this.#client, this.#ends.original);
    if (way === undefined) return false;
    this.#pinned = way.pinned;
    if (way.cluster !== this.#cluster) {
      if (!way.cluster.claimConnection()) return false;
      this.#cluster.releaseConnection();
      this.#cluster = way.cluster;
      this.#leave();
      return true;
    }
    this.#followTarget();
    return true;
  }

  #followTarget(): void {
    let target = this.#target;
    while (target?.successor !== undefined) target = target.successor;
    if (target === undefined || target.isGone || this.#belongsElsewhere(target)) this.#leave();
    else this.#target = target;
  }

  /** By its hash: all flows of one key are to meet at one endpoint, and old ones last as long as their programs. */
  #belongsElsewhere(target: Target): boolean {
    return this.#cluster.view.hashKey !== undefined && this.#choose() !== target;
  }

  /** Some host went down or came back. */
  hostsChanged(): void {
    const target = this.#target;
    if (target === undefined) return;
    if (this.#cluster.isHopeless(target) || this.#belongsElsewhere(target)) this.#leave();
  }

  end(): void {
    if (this.isOver) return;
    this.isOver = true;
    const target = this.#target;
    this.#leave();
    this.#cluster.releaseConnection();
    releaseFlow(this.#udp);
    const flags = this.#family === undefined ? "UF" : "-";
    this.#family?.closed(flags);
    const { accessLog, clock } = this.#udp.plane.deps;
    if (!accessLog.wants(flags !== "-")) return;
    const { from, original } = this.#ends;
    accessLog.add(
      datagramRecord(flags, this.#tally, {
        startedAt: clock.wallMs() - (clock.nowMs() - this.#startMs),
        durationMs: clock.nowMs() - this.#startMs,
        upstreamHost: target?.endpoint.id,
        upstreamCluster: this.#cluster.view.name,
        route: "default",
        details: undefined,
        downstreamAddress: `${from.address}:${from.port}`,
        downstreamIdentity: this.#client.identity,
        localAddress: `${original.address}:${original.port}`,
        serverName: undefined,
      }),
    );
  }
}

function familyOf(
  { plane }: UdpContext,
  client: ClientView,
  cluster: UpstreamCluster,
  target: Target,
): FlowFamily {
  target.flowFamily ??= new FlowFamily(plane.deps.metrics, {
    reporter: "source",
    source: client.party,
    destination: endpointParty(target),
    service: cluster.view.service ?? { host: "unknown", name: "unknown", namespace: "unknown" },
    security: target.endpoint.mesh ? "mutual_tls" : "none",
  });
  return target.flowFamily;
}
