// Opaque connections between agents: a Network whose opaque mesh dials end by a frame, and the accepting side of it. A peer of the older
// wire, met while a mesh is upgraded, is spoken to as it speaks; TLS holds both to what they share, so nobody can pretend to be one.
import type { Timers } from "../../base/clock.ts";
import type { DialTarget, Network, Scratch, Stream, StreamHandler } from "../../base/net.ts";
import { stageForOpaque } from "./opaque-frame.ts";
import { OpaqueStream, type OpaqueStreamDeps } from "./opaque-stream.ts";

export interface OpaqueStreamsConfig {
  /** What the data path calls it, and what a peer of the older wire accepts. */
  readonly alpn: string;
  readonly framedAlpn: string;
}

export interface OpaqueStreamsDeps {
  readonly network: Network;
  readonly timers: Timers;
  /** Runs it after the events at hand, before the thread sleeps. */
  soon(task: () => void): void;
  /** A connection ended without its end frame: the peer's agent died, or somebody on the way ended it. */
  onCut(): void;
  /** A connection with a peer of the older wire. */
  onOldPeer(): void;
}

export class OpaqueStreams implements Network {
  readonly scratch: Scratch;
  readonly #config: OpaqueStreamsConfig;
  readonly #network: Network;
  readonly #deps: OpaqueStreamDeps;
  /** At most as many as there were connections, for a few seconds each. */
  readonly #leaving = new Set<OpaqueStream>();
  #stage: Uint8Array | undefined;

  constructor(config: OpaqueStreamsConfig, deps: OpaqueStreamsDeps) {
    this.#config = config;
    this.#network = deps.network;
    this.scratch = deps.network.scratch;
    this.#deps = {
      ...config,
      timers: deps.timers,
      soon: deps.soon,
      onCut: deps.onCut,
      onOldPeer: deps.onOldPeer,
      stage: () => {
        this.#stage ??= stageForOpaque();
        return this.#stage;
      },
      onLeaving: (stream) => this.#leaving.add(stream),
      onLeft: (stream) => this.#leaving.delete(stream),
    };
  }

  dial(target: DialTarget, handler: StreamHandler): Stream {
    const { alpn, framedAlpn } = this.#config;
    if (target.is !== "mesh" || target.alpn !== alpn) return this.#network.dial(target, handler);
    const stream = new OpaqueStream(this.#deps, handler);
    const to = { ...target, alpn: framedAlpn, olderAlpn: alpn };
    stream.connecting(this.#network.dial(to, stream));
    return stream;
  }

  /** Whether it is one of these: then it is shown to `onStream` as a stream that ends by a frame, and is nobody else's. */
  accept(stream: Stream, onStream: (stream: Stream) => void): boolean {
    const alpn = stream.mesh?.alpn;
    if (alpn === this.#config.alpn) this.#deps.onOldPeer();
    if (alpn !== this.#config.framedAlpn) return false;
    const framed = new OpaqueStream(this.#deps, stream.handler);
    framed.accepted(stream);
    onStream(framed);
    return true;
  }

  /** No end of a closed stream is still on its way out. */
  get isDrained(): boolean {
    return this.#leaving.size === 0;
  }
}
