// The hosts that take no traffic, as data threads read them: one shared slot a host (base/slots.ts). The gossip session says who is
// down; this writes it where every balancer looks, also when a snapshot gives a host its slot.
import type { Timer, Timers } from "../base/clock.ts";
import {
  HEALTH_TURN_SLOT,
  HOST_DOWN,
  HOST_UP,
  HOST_VOUCHED,
  HOSTS_DOWN_SLOT,
  type Slots,
} from "../base/slots.ts";
import type { Snapshot } from "../policy/snapshot.ts";

/** How long a success of ours outweighs what gossip saw. It begins anew with the next. */
export const VOUCHED_MS = 10_000;

export interface HostBoardDeps {
  readonly slots: Slots;
  readonly timers: Timers;
  /** Data threads look at once, for what waits at a host that is down. */
  onChange(): void;
}

export class HostBoard {
  readonly #deps: HostBoardDeps;
  readonly #down = new Set<string>();
  #slotOf = new Map<string, number>();
  #relower: Timer | undefined;

  constructor(deps: HostBoardDeps) {
    this.#deps = deps;
  }

  get down(): readonly string[] {
    return [...this.#down].sort();
  }

  /** To be called before threads get the snapshot: slots that changed hands are 0 by then. */
  useSnapshot({ endpoints }: Pick<Snapshot, "endpoints">): void {
    this.#slotOf = new Map();
    for (const { host, slots } of endpoints) {
      if (host !== undefined && slots.hostHealth !== undefined)
        this.#slotOf.set(host, slots.hostHealth);
    }
    for (const host of this.#down) this.#write(host, HOST_DOWN);
    if (this.#down.size > 0) this.#changed();
  }

  set(host: string, isDown: boolean): void {
    if (isDown === this.#down.has(host)) return;
    if (isDown) this.#down.add(host);
    else this.#down.delete(host);
    this.#write(host, isDown ? HOST_DOWN : HOST_UP);
    this.#changed();
    if (isDown && this.#relower === undefined) this.#watch();
  }

  stop(): void {
    this.#relower?.cancel();
  }

  /** While anybody is down: what was vouched for long ago counts no more. */
  #watch(): void {
    this.#relower = this.#deps.timers.after(VOUCHED_MS, () => {
      this.#relower = undefined;
      if (this.#down.size === 0) return;
      let lowered = 0;
      for (const host of this.#down) {
        const slot = this.#slotOf.get(host);
        if (slot === undefined) continue;
        if (this.#deps.slots.exchange(slot, HOST_VOUCHED, HOST_DOWN) === HOST_VOUCHED) lowered++;
      }
      if (lowered > 0) this.#changed();
      this.#watch();
    });
  }

  #write(host: string, health: number): void {
    const slot = this.#slotOf.get(host);
    if (slot !== undefined) this.#deps.slots.write(slot, health);
  }

  #changed(): void {
    this.#deps.slots.write(HOSTS_DOWN_SLOT, this.#down.size);
    this.#deps.slots.add(HEALTH_TURN_SLOT, 1);
    this.#deps.onChange();
  }
}
