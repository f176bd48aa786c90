// Numbers that stay with their owner from one snapshot to the next: shared slots by cluster and endpoint, outbound ports by
// local workload. Agent state, not part of the snapshot; compile() asks, control/ adopts once the snapshot is live.

/** Slots come in blocks of this many: an endpoint needs 5, a cluster 4. */
export const SLOTS_PER_BLOCK = 5;

export const OUTBOUND_PORT_FIRST = 15101;
export const OUTBOUND_PORT_LAST = 15199;

/** One attempt to number things; compile() writes it. Throwing it away changes nothing. */
export interface SlotDraft {
  /** First slot of the key's block; undefined: none left. */
  take(key: string): number | undefined;
}

export class SlotBook {
  /** Blocks lie in [first, capacity). */
  constructor(_first: number, _capacity: number) {}

  draft(): SlotDraft {
    return { take: () => undefined };
  }

  /** The draft's snapshot is live. Returns slots that changed hands: write 0 to each before the swap. */
  adopt(_draft: SlotDraft): readonly number[] {
    return [];
  }
}

export interface PortDraft {
  /** `NAMESPACE/NAME` of a local workload; undefined: all 99 ports are taken. */
  take(workload: string): number | undefined;
}

export class PortBook {
  /** Ports already in use by name, e.g. from the last good snapshot, so that they survive a restart. */
  constructor(_known: Iterable<readonly [workload: string, port: number]> = []) {}

  draft(): PortDraft {
    return { take: () => undefined };
  }

  adopt(_draft: PortDraft): void {}
}
