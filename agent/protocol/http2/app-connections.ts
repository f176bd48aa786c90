// Requests to local apps that speak HTTP/2: a Network whose dials to such an app are lanes of few connections to it.
import type { DialTarget, Network, Scratch, Stream, StreamHandler } from "../../base/net.ts";
import { ClientPool } from "./client-pool.ts";
import type { Http2Deps } from "./shared-by-thread.ts";

/** `idleMs`: a request that was cut short takes its lane with it. */
const POOL = { lanesPerConnection: 100, connectionsMax: 8, idleMs: 1_000 };

export class AppConnections implements Network {
  readonly scratch: Scratch;
  readonly #network: Network;
  readonly #pool: ClientPool;

  constructor(network: Network, deps: Http2Deps) {
    this.#network = network;
    this.#pool = new ClientPool(POOL, deps);
    this.scratch = network.scratch;
  }

  dial(target: DialTarget, handler: StreamHandler): Stream {
    if (target.is !== "plain" || target.speaks !== "http2")
      return this.#network.dial(target, handler);
    const key = `${target.address} ${target.port} ${target.from}`;
    return this.#pool
      .connectionFor(key, (connection) => this.#network.dial(target, connection))
      .dial(handler);
  }
}
