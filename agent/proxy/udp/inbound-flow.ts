// One caller's flow to a local app: authorized once, and again whenever the snapshot changes. A refused one is remembered, so that a caller
// who goes on costs one decision and not one a datagram; allowed later, it begins anew.
import type { DatagramSocket } from "../../base/datagrams.ts";
import { FlowFamily } from "../../observe/flow-metrics.ts";
import type { Caller } from "../../policy/request-view.ts";
import { deniedAt, type Inbound, inboundTraffic, trafficKey } from "../arrival.ts";
import { limiterOf, reachedPort } from "../inbound.ts";
import { type Refusal, refusalOf } from "../inbound-tcp.ts";
import type { RateLimiter } from "../rate-limiter.ts";
import { datagramRecord, type FlowTally } from "./flow-record.ts";
import type { Flow } from "./flow-table.ts";
import { releaseFlow, type UdpContext } from "./udp-context.ts";

export interface InboundEnds {
  readonly caller: Caller;
  /** Of the caller's agent. */
  readonly peerPort: number;
  readonly serverName: string;
  answer(bytes: Uint8Array, start: number, end: number): boolean;
}

const nothing = (): FlowTally => ({ receivedBytes: 0, sentBytes: 0, received: 0, sent: 0 });

export class InboundFlow implements Flow {
  lastMs: number;
  readonly #udp: UdpContext;
  readonly #ends: InboundEnds;
  #startMs: number;
  #tally: FlowTally = nothing();
  readonly #family: FlowFamily;
  #inbound: Inbound;
  #refusal: Refusal | undefined;
  #limiter: RateLimiter | undefined;
  /** Of the first datagram that a limit had no room for. */
  #limited: string | undefined;
  #app: DatagramSocket | undefined;
  #isUnreachable = false;
  isOver = false;

  /** The flow is counted by its maker already. */
  constructor(udp: UdpContext, inbound: Inbound, ends: InboundEnds) {
    this.#udp = udp;
    this.#inbound = inbound;
    this.#ends = ends;
    this.#startMs = udp.plane.context.nowMs();
    this.lastMs = this.#startMs;
    this.#family = inbound.view.flowFamily(
      trafficKey(inbound, ends.caller),
      () => new FlowFamily(udp.plane.deps.metrics, inboundTraffic(inbound, ends.caller)),
    );
    this.#limiter = limiterOf(udp.plane, inbound);
    // A refusal ends it for figures and log, as it ends a connection.
    this.#refusal = refusalOf(udp.plane, inbound, ends.caller);
    if (this.#refusal === undefined) this.#openApp();
    else this.#finish();
  }

  #openApp(): void {
    const { appAddress, appPort } = this.#inbound.at.port;
    // From the app's own address, which the kernel chooses: what an app on a wildcard address answers comes from there too.
    const opened = this.#udp.datagrams.connect(appAddress, appPort, {
      onDatagram: (bytes, start, end) => this.#guard(() => this.#answered(bytes, start, end)),
      onRefused: () => {
        this.#isUnreachable = true;
        this.#udp.drops.add("unreachable");
      },
      onNotSent: (datagrams) => this.#udp.drops.add("not_sent", datagrams),
    });
    if (typeof opened === "string") this.#isUnreachable = true;
    else {
      this.#app = opened;
      this.#family.opened();
    }
  }

  take(bytes: Uint8Array, start: number, end: number): void {
    this.lastMs = this.#udp.plane.context.nowMs();
    if (this.#refusal !== undefined) this.#udp.drops.add("denied");
    else if (this.#limiter !== undefined && this.#isLimited(this.#limiter))
      this.#udp.drops.add("rate_limited");
    else if (this.#app?.send(bytes, start, end) === true) {
      this.#tally.received++;
      this.#tally.receivedBytes += end - start;
      this.#family.received(end - start);
    } else this.#udp.drops.add(this.#app === undefined ? "unreachable" : "not_sent");
  }

  /** Has a decision noted for the first one: a flow that goes on too fast costs no more. */
  #isLimited(limiter: RateLimiter): boolean {
    const { caller } = this.#ends;
    if (!limiter.refusesDatagram(caller, reachedPort(this.#inbound), this.lastMs)) return false;
    this.#limited ??= this.#udp.plane.deps.decisions.note({
      ...deniedAt(this.#inbound),
      cause: "rate_limit",
      by: limiter.refusedBy,
      caller,
      request: undefined,
    });
    return true;
  }

  #answered(bytes: Uint8Array, start: number, end: number): void {
    this.lastMs = this.#udp.plane.context.nowMs();
    this.#isUnreachable = false;
    if (!this.#ends.answer(bytes, start, end)) return; // counted there
    this.#tally.sent++;
    this.#tally.sentBytes += end - start;
    this.#family.sent(end - start);
  }

  /** A new snapshot. */
  refresh(inbound: Inbound): void {
    this.#inbound = inbound;
    this.#limiter = limiterOf(this.#udp.plane, inbound);
    const wasRefused = this.#refusal !== undefined;
    this.#refusal = refusalOf(this.#udp.plane, inbound, this.#ends.caller);
    if (wasRefused) this.#beginAnew();
    if (this.#refusal === undefined) {
      if (this.#app === undefined) this.#openApp();
    } else if (!wasRefused) this.#finish();
  }

  #beginAnew(): void {
    this.#startMs = this.#udp.plane.context.nowMs();
    this.#tally = nothing();
    this.#isUnreachable = false;
    this.#limited = undefined;
  }

  #guard(task: () => void): void {
    try {
      task();
    } catch (error) {
      this.#udp.plane.deps.bug(error);
      this.end();
    }
  }

  end(): void {
    if (this.isOver) return;
    this.isOver = true;
    releaseFlow(this.#udp);
    if (this.#refusal === undefined) this.#finish();
  }

  #finish(): void {
    this.#app?.close();
    this.#app = undefined;
    const flags = this.#isUnreachable ? "UF" : this.#limited === undefined ? "-" : "RL";
    this.#family.closed(flags);
    this.#log(flags);
  }

  #log(flags: string): void {
    const { accessLog, clock } = this.#udp.plane.deps;
    if (!accessLog.wants(flags !== "-" || this.#refusal !== undefined)) return;
    const { appAddress, appPort } = this.#inbound.at.port;
    const { caller, peerPort, serverName } = this.#ends;
    const durationMs = clock.nowMs() - this.#startMs;
    accessLog.add(
      datagramRecord(flags, this.#tally, {
        startedAt: clock.wallMs() - durationMs,
        durationMs,
        upstreamHost: `${appAddress}:${appPort}`,
        upstreamCluster: `inbound|${appPort}||`,
        route: "default",
        details: this.#refusal?.details,
        decision: this.#refusal?.decision ?? this.#limited,
        downstreamAddress: `${caller.address}:${peerPort}`,
        downstreamIdentity: caller.identity,
        localAddress: `${appAddress}:${appPort}`,
        serverName,
      }),
    );
  }
}
