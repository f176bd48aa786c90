// Requests to local apps that speak HTTP/2: a Network whose dials to such an app are lanes of few connections to it.
import type {
  DialTarget,
  Network,
  PlainTarget,
  Scratch,
  Stream,
  StreamHandler,
} from "../../base/net.ts";
import { ClientConnection, type ClientEvents } from "./client-connection.ts";
import type { Http2Deps } from "./shared-by-thread.ts";

/** Lanes on a connection before another is dialled beside it; up to CONNECTIONS_MAX, then evenly. */
const LANES_PER_CONNECTION = 100;
const CONNECTIONS_MAX = 8;
/** Without a lane, a connection is kept so long: a request that was cut short takes its lane with it. */
const IDLE_MS = 1_000;

export class AppConnections implements Network {
  readonly scratch: Scratch;
  readonly #network: Network;
  readonly #deps: Http2Deps;
  readonly #dialled = new Map<string, ClientConnection[]>();

  constructor(network: Network, deps: Http2Deps) {
    this.#network = network;
    this.#deps = deps;
    this.scratch = network.scratch;
  }

  dial(target: DialTarget, handler: StreamHandler): Stream {
    if (target.is !== "plain" || target.speaks !== "http2")
      return this.#network.dial(target, handler);
    return this.#connectionFor(target).dial(handler);
  }

  #connectionFor(target: PlainTarget): ClientConnection {
    const key = `${target.address} ${target.port} ${target.from}`;
    let dialled = this.#dialled.get(key);
    if (dialled === undefined) {
      dialled = [];
      this.#dialled.set(key, dialled);
    }
    let least: ClientConnection | undefined;
    for (const one of dialled) {
      if (least === undefined || one.laneCount < least.laneCount) least = one;
    }
    const isCrowded = (least?.laneCount ?? 0) >= LANES_PER_CONNECTION;
    if (least !== undefined && !(isCrowded && dialled.length < CONNECTIONS_MAX)) return least;
    return this.#dial(key, target, dialled);
  }

  #dial(key: string, target: PlainTarget, dialled: ClientConnection[]): ClientConnection {
    const leave = (connection: ClientConnection): void => {
      const at = dialled.indexOf(connection);
      if (at >= 0) dialled.splice(at, 1);
      if (dialled.length === 0 && this.#dialled.get(key) === dialled) this.#dialled.delete(key);
    };
    const events: ClientEvents = {
      onRetired: leave,
      // Its lanes are kept by the pools of their owners; a while after the last is let go it ends.
      onEmpty: (connection) => {
        const isOver = connection.isConnecting || connection.isRetiring;
        if (isOver) this.#deps.soon(() => endIfEmpty(connection));
        else this.#deps.timers.after(IDLE_MS, () => endIfEmpty(connection));
      },
      onOver: leave,
    };
    const connection = new ClientConnection(this.#deps, events);
    dialled.push(connection);
    connection.connecting(this.#network.dial(target, connection));
    return connection;
  }
}

function endIfEmpty(connection: ClientConnection): void {
  if (connection.laneCount > 0) return;
  if (connection.isConnecting) connection.cut();
  else connection.end();
}
