// Flows by key, bounded: one more than allowed ends the longest silent of the oldest. They are in the order they were made, so only the
// first few are looked at; a flood of new flows passes over flows that are in use.

export interface Flow {
  /** When a datagram came last, in either direction. */
  readonly lastMs: number;
  readonly isOver: boolean;
  end(): void;
}

/** How many of the oldest are compared. */
const LOOKED_AT = 16;

export class FlowTable<Key, F extends Flow> {
  readonly #flows = new Map<Key, F>();
  readonly #max: number;

  constructor(max: number) {
    this.#max = max;
  }

  get size(): number {
    return this.#flows.size;
  }
  /** Undefined too when it ended by itself. */
  get(key: Key): F | undefined {
    const flow = this.#flows.get(key);
    if (flow?.isOver !== true) return flow;
    this.#flows.delete(key);
    return undefined;
  }
  all(): readonly F[] {
    return [...this.#flows.values()];
  }

  add(key: Key, flow: F): void {
    if (this.#flows.size >= this.#max) this.#evict();
    this.#flows.set(key, flow);
  }

  endIdle(beforeMs: number): void {
    this.endIf((flow) => flow.isOver || flow.lastMs < beforeMs);
  }

  endAll(): void {
    this.endIf(() => true);
  }

  endIf(holds: (flow: F) => boolean): void {
    for (const [key, flow] of this.#flows) if (holds(flow)) this.#end(key, flow);
  }

  #evict(): void {
    let found: [Key, F] | undefined;
    let looks = 0;
    for (const entry of this.#flows) {
      if (looks++ === LOOKED_AT) break;
      if (found === undefined || entry[1].lastMs < found[1].lastMs) found = entry;
    }
    if (found !== undefined) this.#end(...found);
  }

  #end(key: Key, flow: F): void {
    this.#flows.delete(key);
    flow.end();
  }
}
