// Few connections to each of many peers, of which each carries many lanes.
import type { Stream } from "../../base/net.ts";
import { ClientConnection, type ClientEvents, type ClientTerms } from "./client-connection.ts";
import type { Http2Deps } from "./shared-by-thread.ts";

export interface ClientPoolConfig extends ClientTerms {
  /** Lanes on a connection before another is dialled beside it; up to `connectionsMax`, then evenly. */
  readonly lanesPerConnection: number;
  readonly connectionsMax: number;
  /** Without a lane, a connection is kept so long. */
  readonly idleMs: number;
}

export class ClientPool {
  readonly #config: ClientPoolConfig;
  readonly #deps: Http2Deps;
  readonly #dialled = new Map<string, ClientConnection[]>();

  constructor(config: ClientPoolConfig, deps: Http2Deps) {
    this.#config = config;
    this.#deps = deps;
  }

  /** One that all lanes of that key may be on; `dial` makes the stream under a new one. */
  connectionFor(key: string, dial: (connection: ClientConnection) => Stream): ClientConnection {
    let dialled = this.#dialled.get(key);
    if (dialled === undefined) {
      dialled = [];
      this.#dialled.set(key, dialled);
    }
    let least: ClientConnection | undefined;
    for (const one of dialled) {
      if (least === undefined || one.laneCount < least.laneCount) least = one;
    }
    const { lanesPerConnection, connectionsMax } = this.#config;
    const isCrowded = (least?.laneCount ?? 0) >= lanesPerConnection;
    if (least !== undefined && !(isCrowded && dialled.length < connectionsMax)) return least;
    return this.#dial(key, dial, dialled);
  }

  /** New lanes of such keys are on new connections; the old ones end with their last. */
  renew(isOld: (key: string) => boolean): void {
    for (const [key, dialled] of this.#dialled) {
      if (!isOld(key)) continue;
      this.#dialled.delete(key);
      for (const connection of dialled) this.#deps.soon(() => endIfEmpty(connection));
    }
  }

  #dial(
    key: string,
    dial: (connection: ClientConnection) => Stream,
    dialled: ClientConnection[],
  ): ClientConnection {
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
        else this.#deps.timers.after(this.#config.idleMs, () => endIfEmpty(connection));
      },
      onOver: leave,
    };
    const connection = new ClientConnection(this.#deps, events, this.#config);
    dialled.push(connection);
    connection.connecting(dial(connection));
    return connection;
  }
}

function endIfEmpty(connection: ClientConnection): void {
  if (connection.laneCount > 0) return;
  if (connection.isConnecting) connection.cut();
  else connection.end();
}
