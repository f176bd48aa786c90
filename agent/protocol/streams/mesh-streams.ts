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
import { HeldBlocks } from "./held-blocks.ts";

/** Streams on a carrier before another is dialled beside it: one connection is one thread's work at the other end. */
const SPREAD_AT = 8;
const CARRIERS_PER_TARGET_MAX = 4;
/** Past this, more carriers are dialled all the same. */
const STREAMS_PER_CARRIER = 256;
/** While a carrier is being dialled beside it, an open one takes this many: a stream on it waits for no handshake. */
const TAKES_MEANWHILE = 16;
/** A dialled carrier without streams is kept for the next. */
const IDLE_MS = 60_000;
/** A carrier dialled ahead, for which no stream waits yet, is given up after. */
const AHEAD_MS = 5_000;
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
  readonly #kept = new Map<Carrier, Timer>();
  #isDraining = false;
  readonly #heldBlocks = new HeldBlocks();
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
    this.#unkeep(carrier);
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
    const least = leastBusy(carriers);
    const count = least?.streamCount ?? 0;
    const isCrowded =
      count >= STREAMS_PER_CARRIER ||
      (count >= SPREAD_AT && carriers.length < CARRIERS_PER_TARGET_MAX);
    const next = least === undefined || isCrowded ? this.#dialCarrier(key, dialled) : least;
    if (!next.isConnecting) return next;
    const open = leastBusy(carriers.filter((one) => !one.isConnecting));
    return open !== undefined && open.streamCount < TAKES_MEANWHILE ? open : next;
  }

  #dialCarrier(key: string, dialled: Dialled, settled: () => void = () => {}): Carrier {
    const { target, carriers } = dialled;
    const leave = (carrier: Carrier): void => {
      const at = carriers.indexOf(carrier);
      if (at < 0) return; // it left before, and others may have come under this key
      carriers.splice(at, 1);
      if (carriers.length === 0) this.#dialled.delete(key);
    };
    const events: CarrierEvents = {
      onStream: () => {},
      onOpen: (carrier) => {
        settled();
        if (carrier.streamCount === 0) this.#keep(carrier, IDLE_MS);
      },
      onRetired: (carrier) => {
        leave(carrier);
        this.#deps.soon(() => this.#deps.onRetiring());
      },
      onEmpty: (carrier) => this.#dialledEmpty(carrier),
      onOver: (carrier) => {
        leave(carrier);
        this.#unkeep(carrier);
        settled();
      },
    };
    const carrier = new Carrier(this.#carrierDeps, events);
    carriers.push(carrier);
    this.#keep(carrier, AHEAD_MS);
    const to = { ...target, alpn: this.#config.carrierAlpn };
    carrier.connecting(this.#deps.network.dial(to, carrier));
    return carrier;
  }

  #unkeep(carrier: Carrier): void {
    this.#kept.get(carrier)?.cancel();
    this.#kept.delete(carrier);
  }

  /** For a stream that may come. */
  #keep(carrier: Carrier, ms: number): void {
    this.#unkeep(carrier);
    const timer = this.#deps.timers.after(ms, () => carrier.close());
    this.#kept.set(carrier, timer);
  }

  #dialledEmpty(carrier: Carrier): void {
    if (carrier.isConnecting) carrier.reset();
    else if (carrier.retirement === "retired") carrier.close();
    else this.#keep(carrier, IDLE_MS);
  }

  get #carrierDeps() {
    const { soon, bug, stage } = this.#deps;
    return { soon, bug, stage, heldBlocks: this.#heldBlocks, alpn: this.#config.alpn };
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
        onOpen: () => {},
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

  /** Carriers of these identities open no more streams: their certificate was replaced. One that is busy goes on until another is open in
   *  its place, or cannot be. */
  renewed(identities: ReadonlySet<string>): void {
    for (const [key, dialled] of [...this.#dialled]) {
      if (!identities.has(dialled.target.as)) continue;
      for (const old of [...dialled.carriers]) {
        if (old.streamCount === 0 || old.isConnecting) old.retire();
        else this.#dialCarrier(key, dialled, () => old.retire());
      }
    }
  }

  /** For a thread on which nothing happens. */
  releaseMemory(): void {
    this.#heldBlocks.release();
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

function leastBusy(carriers: readonly Carrier[]): Carrier | undefined {
  let least = carriers[0];
  for (const one of carriers) if (one.streamCount < (least?.streamCount ?? 0)) least = one;
  return least;
}
