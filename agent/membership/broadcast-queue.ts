// Claims that still have to travel, one a member: the newest stands. Each rides on a number of messages that grows with the
// logarithm of the pool (SWIM 4.1), those that travelled least first, and is then forgotten here.
import { type Claim, overrides } from "./claim.ts";
import { claimBytes } from "./codec.ts";

/** Rides = this * ceil(log10(members + 1)), as memberlist's RetransmitMult. */
const RIDES_FACTOR = 4;

interface Waiting {
  readonly claim: Claim;
  rides: number;
}

export class BroadcastQueue {
  readonly #waiting = new Map<string, Waiting>();

  get size(): number {
    return this.#waiting.size;
  }

  /** An older claim about the same member is forgotten; members bound the queue. */
  add(claim: Claim): void {
    const before = this.#waiting.get(claim.name);
    if (before !== undefined && overrides(before.claim, claim)) return;
    this.#waiting.set(claim.name, { claim, rides: 0 });
  }

  forget(name: string): void {
    this.#waiting.delete(name);
  }

  /** Claims that fit into `bytesMax`, without those of `except` (which the letter has already). */
  take(bytesMax: number, members: number, except?: string): Claim[] {
    if (this.#waiting.size === 0) return [];
    const ridesMax = RIDES_FACTOR * Math.ceil(Math.log10(members + 1));
    const taken: Claim[] = [];
    let left = bytesMax;
    for (const waiting of this.#leastTravelled()) {
      const bytes = claimBytes(waiting.claim);
      if (bytes > left || waiting.claim.name === except) continue;
      left -= bytes;
      taken.push(waiting.claim);
      waiting.rides++;
      if (waiting.rides >= ridesMax) this.#waiting.delete(waiting.claim.name);
    }
    return taken;
  }

  /** In the order of their rides; among equals, of their coming. Rides are few, so this is a sort by counting. */
  #leastTravelled(): readonly Waiting[] {
    const byRides: Waiting[][] = [];
    for (const waiting of this.#waiting.values()) {
      const same = byRides[waiting.rides];
      if (same === undefined) byRides[waiting.rides] = [waiting];
      else same.push(waiting);
    }
    return byRides.flat(); // which passes over holes
  }
}
