// What is kept for each stream of a connection, by the stream's number. Numbers only grow, which in the runtime's own Map is a new place for
// each, and all of it laid anew each time the places are used up: here a stream lies in the place of one that is over. Open addressing
// with linear probing. Half of the places are free, so that a search ends soon; a peer that leaves gaps in its numbers, so that they collide, makes
// it as long as its streams are many, which is bounded where they begin.

const PLACES_FIRST = 16;

export class StreamTable<T> {
  /** 0: free. */
  #ids = new Int32Array(PLACES_FIRST);
  #values: (T | undefined)[] = new Array(PLACES_FIRST);
  #mask = PLACES_FIRST - 1;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(id: number): T | undefined {
    return this.#values[this.#placeOf(id)];
  }

  has(id: number): boolean {
    return this.#ids[this.#placeOf(id)] === id;
  }

  /** `id` is above 0. */
  set(id: number, value: T): void {
    if (2 * (this.#size + 1) > this.#ids.length) this.#grow();
    const place = this.#placeOf(id);
    if (this.#ids[place] === 0) this.#size++;
    this.#ids[place] = id;
    this.#values[place] = value;
  }

  delete(id: number): void {
    let free = this.#placeOf(id);
    if (this.#ids[free] !== id) return;
    this.#size--;
    // What lies behind moves up, unless it would come before the place where its search begins.
    for (let at = this.#next(free); this.#ids[at] !== 0; at = this.#next(at)) {
      const moved = this.#ids[at] as number;
      if (((at - this.#firstOf(moved)) & this.#mask) < ((at - free) & this.#mask)) continue;
      this.#ids[free] = moved;
      this.#values[free] = this.#values[at];
      free = at;
    }
    this.#ids[free] = 0;
    this.#values[free] = undefined;
  }

  clear(): void {
    this.#ids.fill(0);
    this.#values.fill(undefined);
    this.#size = 0;
  }

  /** As they are now, in the order in which they began. */
  ids(): number[] {
    return [...this.#ids].filter((id) => id !== 0).sort((a, b) => a - b);
  }

  /** As ids(). */
  values(): T[] {
    return this.ids().flatMap((id) => this.get(id) ?? []);
  }

  /** Of one side all numbers are odd, or all even. */
  #firstOf(id: number): number {
    return (id >>> 1) & this.#mask;
  }

  #next(place: number): number {
    return (place + 1) & this.#mask;
  }

  /** Where it is, or would be. */
  #placeOf(id: number): number {
    const ids = this.#ids;
    let place = this.#firstOf(id);
    while (ids[place] !== id && ids[place] !== 0) place = (place + 1) & this.#mask;
    return place;
  }

  #grow(): void {
    const [ids, values] = [this.#ids, this.#values];
    const places = 2 * ids.length;
    this.#ids = new Int32Array(places);
    this.#values = new Array(places);
    this.#mask = places - 1;
    for (let i = 0; i < ids.length; i++) {
      if (ids[i] === 0) continue;
      const place = this.#placeOf(ids[i] as number);
      this.#ids[place] = ids[i] as number;
      this.#values[place] = values[i];
    }
  }
}
