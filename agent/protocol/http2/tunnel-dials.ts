// HBONE towards peers that are no agents, as Istio's ztunnel takes it: a Network whose dials to such a peer are tunnels of few mTLS connections to it,
// each of one identity of ours to one of theirs. docs/decisions/0030-hbone.md.
import type {
  DialTarget,
  MeshTarget,
  Network,
  Scratch,
  Stream,
  StreamHandler,
} from "../../base/net.ts";
import { ClientPool } from "./client-pool.ts";
import { DialledTunnel } from "./dialled-tunnel.ts";
import { SETTING } from "./frame.ts";
import type { Http2Deps } from "./shared-by-thread.ts";
import { TUNNEL_WINDOWS } from "./windows.ts";

const POOL = {
  lanesPerConnection: 100,
  connectionsMax: 8,
  idleMs: 60_000,
  windows: TUNNEL_WINDOWS,
  settings: [
    [SETTING.enablePush, 0],
    [SETTING.initialWindowSize, TUNNEL_WINDOWS.stream],
    [SETTING.maxHeaderListSize, 16_384],
  ],
} as const;

export class TunnelDials implements Network {
  readonly scratch: Scratch;
  readonly #network: Network;
  readonly #pool: ClientPool;

  constructor(network: Network, deps: Http2Deps) {
    this.#network = network;
    this.#pool = new ClientPool(POOL, deps);
    this.scratch = network.scratch;
  }

  dial(target: DialTarget, handler: StreamHandler): Stream {
    if (target.is !== "mesh" || target.tunnelTo === undefined)
      return this.#network.dial(target, handler);
    const connection = this.#pool.connectionFor(keyOf(target), (one) =>
      this.#network.dial(target, one),
    );
    return connection.adopt(new DialledTunnel(connection, handler, target.tunnelTo));
  }

  /** These identities have new certificates: tunnels from now on are of connections made with them. */
  renewed(identities: ReadonlySet<string>): void {
    this.#pool.renew((key) => identities.has(key.slice(0, key.indexOf(" "))));
  }
}

/** Who speaks first: a SPIFFE ID has no space. */
const keyOf = ({ as, address, port, peers }: MeshTarget): string =>
  `${as} ${address} ${port} ${peers.join(" ")}`;
