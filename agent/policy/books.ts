// Numbers that stay with their owner from one snapshot to the next: shared slots by cluster and endpoint, outbound ports by
// local workload. Agent state, not part of the snapshot: compile() asks a draft, control/ adopts the draft once its snapshot is
// live. What an owner gave up goes to the end of the queue, so a number changes hands as late as it can.

/** Slots come in blocks of this many: an endpoint needs 5, a cluster 4. */
export const SLOTS_PER_BLOCK = 5;

export const OUTBOUND_PORT_FIRST = 15101;
export const OUTBOUND_PORT_LAST = 15199;

/** One attempt to number things. Throwing it away changes nothing. */
export class SlotDraft {
  readonly #numbers: NumberDraft;
  constructor(numbers: NumberDraft) {
    this.#numbers = numbers;
  }

  /** First slot of the key's block; undefined: none left. */
  take(key: string): number | undefined {
    return this.#numbers.take(key);
  }

  get numbers(): NumberDraft {
    return this.#numbers;
  }
}

export class SlotBook {
  readonly #book: NumberBook;

  /** Blocks lie in [first, capacity). `known`: what `entries` gave when the last good snapshot was written. */
  constructor(
    first: number,
    capacity: number,
    known: Iterable<readonly [key: string, slot: number]> = [],
  ) {
    this.#book = new NumberBook(first, capacity - SLOTS_PER_BLOCK, SLOTS_PER_BLOCK);
    this.#book.remember(known);
  }

  /** Key and first slot of every block in use: written beside the snapshot, so that both survive a restart together. */
  get entries(): readonly (readonly [key: string, slot: number])[] {
    return this.#book.entries;
  }

  draft(): SlotDraft {
    return new SlotDraft(this.#book.draft());
  }

  /** The draft's snapshot goes live. Returns slots that change hands: write 0 to each before the swap. */
  adopt(draft: SlotDraft): readonly number[] {
    return this.#book
      .adopt(draft.numbers)
      .flatMap((first) => Array.from({ length: SLOTS_PER_BLOCK }, (_, i) => first + i));
  }
}

export class PortDraft {
  readonly #numbers: NumberDraft;
  constructor(numbers: NumberDraft) {
    this.#numbers = numbers;
  }

  /** `NAMESPACE/NAME` of a local workload; undefined: all 99 ports are taken. */
  take(workload: string): number | undefined {
    return this.#numbers.take(workload);
  }

  get numbers(): NumberDraft {
    return this.#numbers;
  }
}

export class PortBook {
  readonly #book = new NumberBook(OUTBOUND_PORT_FIRST, OUTBOUND_PORT_LAST, 1);

  /** Ports already in use by name, e.g. from the last good snapshot, so that they survive a restart. */
  constructor(known: Iterable<readonly [workload: string, port: number]> = []) {
    this.#book.remember(known);
  }

  draft(): PortDraft {
    return new PortDraft(this.#book.draft());
  }

  adopt(draft: PortDraft): void {
    this.#book.adopt(draft.numbers);
  }
}

/** Numbers `first`, `first + step`, ... up to `last`, by key. */
class NumberBook {
  readonly #first: number;
  readonly #last: number;
  readonly #step: number;
  #byKey: ReadonlyMap<string, number> = new Map();
  /** Given up, longest ago first. */
  #free: readonly number[] = [];
  /** No number from here on was ever used. */
  #next: number;

  constructor(first: number, last: number, step: number) {
    this.#first = first;
    this.#last = last;
    this.#step = step;
    this.#next = first;
  }

  remember(known: Iterable<readonly [string, number]>): void {
    const byKey = new Map<string, number>();
    const taken = new Set<number>();
    let next = this.#first;
    for (const [key, number] of known) {
      if (!this.#isOurs(number) || taken.has(number)) continue;
      byKey.set(key, number);
      taken.add(number);
      next = Math.max(next, number + this.#step);
    }
    const gaps: number[] = [];
    for (let n = this.#first; n < next; n += this.#step) if (!taken.has(n)) gaps.push(n);
    this.#byKey = byKey;
    this.#free = gaps;
    this.#next = next;
  }

  get entries(): readonly (readonly [string, number])[] {
    return [...this.#byKey];
  }

  #isOurs(number: number): boolean {
    const steps = (number - this.#first) / this.#step;
    return Number.isInteger(steps) && steps >= 0 && number <= this.#last;
  }

  draft(): NumberDraft {
    return new NumberDraft(this.#byKey, this.#free, {
      next: this.#next,
      last: this.#last,
      step: this.#step,
    });
  }

  /** Returns the numbers that had another owner before. */
  adopt(draft: NumberDraft): number[] {
    const kept = draft.taken;
    const givenUp = [...this.#byKey].filter(([key]) => !kept.has(key)).map(([, number]) => number);
    this.#byKey = kept;
    this.#free = [...draft.left, ...givenUp];
    this.#next = draft.next;
    return draft.reused;
  }
}

class NumberDraft {
  readonly taken = new Map<string, number>();
  readonly reused: number[] = [];
  readonly #before: ReadonlyMap<string, number>;
  readonly #free: readonly number[];
  readonly #last: number;
  readonly #step: number;
  #freeAt = 0;
  next: number;

  constructor(
    before: ReadonlyMap<string, number>,
    free: readonly number[],
    range: { next: number; last: number; step: number },
  ) {
    this.#before = before;
    this.#free = free;
    this.#last = range.last;
    this.#step = range.step;
    this.next = range.next;
  }

  get left(): readonly number[] {
    return this.#free.slice(this.#freeAt);
  }

  take(key: string): number | undefined {
    const known = this.taken.get(key) ?? this.#before.get(key);
    const number = known ?? this.#fresh();
    if (number !== undefined) this.taken.set(key, number);
    return number;
  }

  #fresh(): number | undefined {
    if (this.next <= this.#last) {
      const number = this.next;
      this.next += this.#step;
      return number;
    }
    const number = this.#free[this.#freeAt];
    if (number === undefined) return undefined;
    this.#freeAt++;
    this.reused.push(number);
    return number;
  }
}
