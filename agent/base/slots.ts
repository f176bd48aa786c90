// Numbers that hold per agent, however many worker threads it has: connection caps, outlier counts, budgets.
// A slot number is handed out when a snapshot is compiled; all threads see the same memory.

export interface Slots {
  /** Adds and returns the new value, atomically across threads. */
  add(slot: number, delta: number): number;
  read(slot: number): number;
  write(slot: number, value: number): void;
  /** Sets the slot to `value` if it still is `expected`; returns what it was. */
  exchange(slot: number, expected: number, value: number): number;
}

export class SharedSlots implements Slots {
  readonly #cells: Int32Array;

  constructor(memory: SharedArrayBuffer | ArrayBuffer) {
    this.#cells = new Int32Array(memory as ArrayBuffer);
  }

  add(slot: number, delta: number): number {
    return Atomics.add(this.#cells, slot, delta) + delta;
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
