// Numbers that hold per agent, however many worker threads it has: connection caps, outlier counts, budgets.
// A slot number is handed out when a snapshot is compiled; all threads see the same memory.

export interface Slots {
  /** Adds and returns the new value, atomically across threads. */
  add(slot: number, delta: number): number;
  /** As add, for what this thread holds now: an open connection, a request under way. It is given back when the thread dies. */
  hold(slot: number, delta: number): number;
  read(slot: number): number;
  write(slot: number, value: number): void;
  /** Sets the slot to `value` if it still is `expected`; returns what it was. */
  exchange(slot: number, expected: number, value: number): number;
}

/** Slots below 64 are the agent's own (0: open connections); the compiler hands out the others. */

/** Rises whenever some host went down or came back: who remembers the last value knows whether to look again. */
export const HEALTH_TURN_SLOT = 1;
/** Hosts that are down now. */
export const HOSTS_DOWN_SLOT = 2;

/** Marks of ports whose servers speak first (agent/proxy/server-first.ts). */
export const SERVER_FIRST_SLOT = 32;
export const SERVER_FIRST_SLOTS = 32;

/** Values of a host's slot; what leads from one to the other: agent/resilience/host-health.ts. */
export const HOST_UP = 0;
export const HOST_DOWN = 1;
export const HOST_VOUCHED = 2;

export class SharedSlots implements Slots {
  readonly #cells: Int32Array;
  /** What this thread holds of each slot. Only it writes there while it lives, so no atomics. */
  readonly #held: Int32Array | undefined;

  /** `held`: as long as `memory`; undefined: the process dies with this thread. */
  constructor(memory: SharedArrayBuffer | ArrayBuffer, held?: SharedArrayBuffer) {
    this.#cells = new Int32Array(memory as ArrayBuffer);
    this.#held = held === undefined ? undefined : new Int32Array(held);
  }

  add(slot: number, delta: number): number {
    return Atomics.add(this.#cells, slot, delta) + delta;
  }
  hold(slot: number, delta: number): number {
    const held = this.#held;
    if (held !== undefined) held[slot] = (held[slot] as number) + delta;
    return this.add(slot, delta);
  }
  read(slot: number): number {
    return Atomics.load(this.#cells, slot);
  }
  write(slot: number, value: number): void {
    Atomics.store(this.#cells, slot, value);
  }
  exchange(slot: number, expected: number, value: number): number {
    return Atomics.compareExchange(this.#cells, slot, expected, value);
  }
}

/** Gives back what a thread that runs no more still held; returns in how many slots. */
export function giveBack(memory: SharedArrayBuffer, held: SharedArrayBuffer): number {
  const cells = new Int32Array(memory);
  const left = new Int32Array(held);
  let slots = 0;
  for (let slot = 0; slot < left.length; slot++) {
    const count = left[slot] as number;
    if (count === 0) continue;
    Atomics.sub(cells, slot, count);
    slots++;
  }
  left.fill(0);
  return slots;
}
