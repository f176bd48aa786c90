// The gossip pool as agents are told it: the keys, every joined host at its address, and this server at the address where the asker
// reached it. Whatever changes raises `turn`, so that nobody is told the same twice.
import {
  GOSSIP_MEMBERS_MAX,
  GOSSIP_PORT,
  type GossipPeer,
  type GossipView,
  SERVER_GOSSIP_PORT,
  SERVER_MEMBER,
} from "../../agent/api/gossip.ts";
import type { HostRecord } from "../store/store.ts";

export class GossipPool {
  turn = 0;
  /** Told after each change: agents, and this server as a member. */
  onChange: (() => void) | undefined;
  onMembers: (() => void) | undefined;
  #keys: readonly string[] = [];
  #hosts: readonly GossipPeer[] = [];
  #hasServer = false;

  /** Undefined: there are no keys, and so no pool. */
  viewFor(host: string, serverAddress: string | undefined): GossipView | undefined {
    if (this.#keys.length === 0) return undefined;
    const members = this.#hosts.filter(({ name }) => name !== host);
    if (this.#hasServer && serverAddress !== undefined) {
      members.push({ name: SERVER_MEMBER, address: serverAddress, port: SERVER_GOSSIP_PORT });
    }
    return { keys: this.#keys, members };
  }

  setKeys(keys: readonly string[]): void {
    if (keys.join() === this.#keys.join()) return;
    this.#keys = keys;
    this.#changed();
  }

  /** This server is a member itself. */
  addServer(): void {
    this.#hasServer = true;
    this.#changed();
  }

  /** A host without an address of its own (it reaches the server by loopback only) is no member. */
  setHosts(hosts: readonly Pick<HostRecord, "name" | "addresses">[]): void {
    const peers: GossipPeer[] = [];
    for (const { name, addresses } of hosts) {
      const [address] = addresses;
      if (address === undefined || peers.length >= GOSSIP_MEMBERS_MAX - 1) continue;
      peers.push({ name, address, port: GOSSIP_PORT });
    }
    if (JSON.stringify(peers) === JSON.stringify(this.#hosts)) return;
    this.#hosts = peers;
    this.#changed();
  }

  #changed(): void {
    this.turn++;
    this.onChange?.();
    this.onMembers?.();
  }
}
