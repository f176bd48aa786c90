// Streams between agents over few TLS connections: a Network whose mesh dials share carriers, and the accepting side of it. A carrier
// belongs to one pair of identities and one target, as its TLS connection does; nothing about who may do what changes.
import type { Timer, Timers } from "../../base/clock.ts";
import type {
  DialTarget,
  MeshPeer,
  MeshTarget,
  Network,
  Scratch,
  Stream,
  StreamHandler,
} from "../../base/net.ts";
import { Carrier, type CarrierEvents } from "./carrier.ts";

/** Streams on a carrier before another is dialled beside it: one connection is one thread's work at the other end. */
const SPREAD_AT = 8;
const CARRIERS_PER_TARGET_MAX = 4;
/** Past this, more carriers are dialled all the same. */
const STREAMS_PER_CARRIER = 256;
/** A dialled carrier without streams is kept for the next. */
const IDLE_MS = 60_000;
const ACCEPTED_MAX = 8_192;
/** How long a peer may take to end what it dialled: by then it has read all. */
const RETIRE_WAIT_MS = 1_000;

export interface MeshStreamsConfig {
  /** What a stream carries, and what its carrier's connection is dialled with. */
  readonly alpn: string;
  readonly carrierAlpn: string;
}

export interface MeshStreamsDeps {
  readonly network: Network;
  readonly timers: Timers;
  soon(task: () => void): void;
  bug(error: unknown): void;
  /** Some streams are retiring; see Stream.isRetiring. Never inside a call of their owner. */
  onRetiring(): void;
  /** STAGE_BYTES of the thread's arena. */
  readonly stage: Scratch;
}

interface Dialled {
  readonly target: MeshTarget;
  readonly carriers: Carrier[];
}

export class MeshStreams implements Network {
  readonly scratch: Scratch;
  readonly #config: MeshStreamsConfig;
  readonly #deps: MeshStreamsDeps;
  readonly #dialled = new Map<string, Dialled>();
  readonly #accepted = new Set<Carrier>();
  readonly #idle = new Map<Carrier, Timer>();
  #isDraining = false;
  /** After drain(): peers had their time to end what they dialled. */
  hasWaited = false;

  constructor(config: MeshStreamsConfig, deps: MeshStreamsDeps) {
    this.#config = config;
    this.#deps = deps;
    this.scratch = deps.network.scratch;
  }

  dial(target: DialTarget, handler: StreamHandler): Stream {
    if (target.is !== "mesh" || target.alpn !== this.#config.alpn)
      return this.#deps.network.dial(target, handler);
    const carrier = this.#carrierFor(target);
    this.#idle.get(carrier)?.cancel();
    this.#idle.delete(carrier);
    return carrier.open(handler);
  }

  #carrierFor(target: MeshTarget): Carrier {
    const key = `${target.as} ${target.address} ${target.port} ${target.serverName} ${target.peers.join(" ")}`;
    let dialled = this.#dialled.get(key);
    if (dialled === undefined) {
      dialled = { target, carriers: [] };
      this.#dialled.set(key, dialled);
    }
    const { carriers } = dialled;
    let least = carriers[0];
    for (const one of carriers) if (one.streamCount < (least?.streamCount ?? 0)) least = one;
    const count = least?.streamCount ?? 0;
    const isCrowded =
      count >= STREAMS_PER_CARRIER ||
      (count >= SPREAD_AT && carriers.length < CARRIERS_PER_TARGET_MAX);
    return least === undefined || isCrowded ? this.#dialCarrier(key, dialled) : least;
  }

  #dialCarrier(key: string, { target, carriers }: Dialled): Carrier {
    const leave = (carrier: Carrier): void => {
      const at = carriers.indexOf(carrier);
      if (at >= 0) carriers.splice(at, 1);
      if (carriers.length === 0) this.#dialled.delete(key);
    };
    const events: CarrierEvents = {
      onStream: () => {},
      onRetired: (carrier) => {
        leave(carrier);
        this.#deps.soon(() => this.#deps.onRetiring());
      },
      onEmpty: (carrier) => this.#dialledEmpty(carrier),
      onOver: (carrier) => {
        leave(carrier);
        this.#idle.get(carrier)?.cancel();
        this.#idle.delete(carrier);
      },
    };
    const carrier = new Carrier(this.#carrierDeps, events);
    carriers.push(carrier);
    const to = { ...target, alpn: this.#config.carrierAlpn };
    carrier.connecting(this.#deps.network.dial(to, carrier));
    return carrier;
  }

  #dialledEmpty(carrier: Carrier): void {
    if (carrier.isConnecting) carrier.reset();
    else if (carrier.retirement === "retired") carrier.close();
    else if (!this.#idle.has(carrier)) {
      const timer = this.#deps.timers.after(IDLE_MS, () => carrier.close());
      this.#idle.set(carrier, timer);
    }
  }

  get #carrierDeps() {
    const { soon, bug, stage } = this.#deps;
    return { soon, bug, stage, alpn: this.#config.alpn };
  }

  /** Whether it is a carrier: then its streams come to `onStream`, each with its peer, and this stream is nobody else's. */
  accept(stream: Stream, onStream: (stream: Stream) => void): boolean {
    const peer: MeshPeer | undefined = stream.mesh;
    if (peer?.alpn !== this.#config.carrierAlpn) return false;
    if (this.#accepted.size >= ACCEPTED_MAX) {
      stream.reset();
      return true;
    }
    const carrier = new Carrier(
      this.#carrierDeps,
      {
        onStream,
        onRetired: () => {},
        onEmpty: () => {}, // the end that dialled closes: it knows when it has read all
        onOver: (one) => this.#accepted.delete(one),
      },
      { stream, peer },
    );
    this.#accepted.add(carrier);
    if (this.#isDraining) carrier.retire();
    return true;
  }

  /** Carriers of these identities open no more streams: their certificate was replaced. */
  renewed(identities: ReadonlySet<string>): void {
    for (const { target, carriers } of [...this.#dialled.values()])
      if (identities.has(target.as)) for (const carrier of [...carriers]) carrier.retire();
  }

  /** Peers are asked to open no more streams here. */
  drain(): void {
    this.#isDraining = true;
    for (const carrier of [...this.#accepted]) carrier.retire();
    this.#deps.timers.after(RETIRE_WAIT_MS, () => {
      this.hasWaited = true;
    });
  }

  /** After drain(): no peer will open another stream, and all have read what was said. A connection that we end before its peer does
   *  may take the last answer with it, since what the peer still says (a credit, the end of a stream) resets it. */
  get isDrained(): boolean {
    return this.#accepted.size === 0 || (this.hasWaited && !this.#hasUnsent);
  }

  get #hasUnsent(): boolean {
    return [...this.#accepted].some((one) => one.hasUnsent);
  }
}
