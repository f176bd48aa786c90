// This host's seat in the gossip pool, and what the pool says of others as data threads read it.
import { GOSSIP_PORT, type GossipView } from "../api/gossip.ts";
import type { Clock, Random, Timers } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import type { Slots } from "../base/slots.ts";
import type { Snapshot } from "../policy/snapshot.ts";
import type { GossipSession } from "./gossip-session.ts";
import { HostBoard } from "./host-board.ts";

export interface GossipPoolDeps {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly log: Log;
  readonly slots: Slots;
  /** Some host takes no traffic any more, or does again. */
  onChange(): void;
}

export class GossipPool {
  readonly #config: { readonly hasIpv6: boolean; readonly stateDir: string };
  readonly #deps: GossipPoolDeps;
  readonly #hosts: HostBoard;
  #session: GossipSession | undefined;
  /** As the server told it last. */
  #view: GossipView | undefined;
  #hasLeft = false;

  constructor(
    config: { readonly hasIpv6: boolean; readonly stateDir: string },
    deps: GossipPoolDeps,
  ) {
    this.#config = config;
    this.#deps = deps;
    this.#hosts = new HostBoard(deps);
  }

  get members(): GossipSession["members"] {
    return this.#session?.members ?? [];
  }

  /** To be called before threads get the snapshot. */
  useSnapshot(snapshot: Snapshot): void {
    this.#hosts.useSnapshot(snapshot);
  }

  follow(view: GossipView): void {
    this.#view = view;
    this.#session?.follow(view);
  }

  /** As the host of that name. Traffic does not wait for it. */
  async join(name: string): Promise<void> {
    const { GossipSession } = await import("./gossip-session.ts"); // not before traffic flows
    const session = await GossipSession.open(
      { ...this.#config, name, port: GOSSIP_PORT },
      { ...this.#deps, onHealth: (host, isDown) => this.#lower(host, isDown) },
    );
    if (this.#hasLeft) return session.stop();
    this.#session = session;
    if (this.#view !== undefined) session.follow(this.#view);
  }

  #lower(host: string, isDown: boolean): void {
    const { log } = this.#deps;
    const wasDown = this.#hosts.down.includes(host);
    this.#hosts.set(host, isDown);
    if (isDown && !wasDown) log.warn("a host takes no traffic", { host });
    else if (wasDown && !isDown) log.info("a host takes traffic again", { host });
  }

  /** Says nothing more, and no goodbye: a successor goes on as the same member. */
  async pause(): Promise<void> {
    await this.#session?.stop();
    this.#session = undefined;
  }

  /** Tells the others that no more traffic should come. */
  leave(): void {
    this.#hasLeft = true;
    this.#hosts.stop();
    this.#session?.leave();
  }

  async stop(): Promise<void> {
    await this.#session?.stop();
  }
}
