// Metric series. Each thread owns a table of doubles in shared memory and writes it without locks; the main thread reads all
// tables and adds them up (agent/observe/prometheus.ts). A series is registered once, off the hot path, and is then an
// index: counting is an add. What a series is called travels to the reader through `announce`, not through the memory.

export type SeriesType = "counter" | "gauge" | "histogram";
export type SeriesLabels = { readonly [name: string]: string };

/** What a reader must know to make sense of the cells at `index`. */
export interface SeriesAnnouncement {
  readonly index: number;
  readonly name: string;
  readonly type: SeriesType;
  readonly labels: SeriesLabels;
  /** Upper bounds, ascending, without +Inf. Histograms take buckets.length + 2 cells: one a bucket, +Inf, then the sum. */
  readonly buckets: readonly number[] | undefined;
}

export interface SeriesTableConfig {
  /** How many doubles the table holds. Default 262,144 (2 MiB, touched only as used; a kind of request takes 64). More series than fit fall into one
   *  shared overflow series per metric, so a flood of labels costs detail and never memory. */
  readonly cells: number;
}
export const SERIES_TABLE_DEFAULTS: SeriesTableConfig = { cells: 262_144 };

export class SeriesTable {
  readonly memory: SharedArrayBuffer;
  readonly #cells: Float64Array;
  readonly #indexes = new Map<string, number>();
  readonly #announce: (series: SeriesAnnouncement) => void;
  #used = 0;

  constructor(config: SeriesTableConfig, announce: (series: SeriesAnnouncement) => void) {
    this.memory = new SharedArrayBuffer(config.cells * 8);
    this.#cells = new Float64Array(this.memory);
    this.#announce = announce;
  }

  /** Registers the series, or finds it again. Not for the hot path: keep the returned object. */
  counter(name: string, labels: SeriesLabels = {}): Counter {
    return new Counter(this.#cells, this.#place(name, "counter", labels, undefined));
  }

  gauge(name: string, labels: SeriesLabels = {}): Gauge {
    return new Gauge(this.#cells, this.#place(name, "gauge", labels, undefined));
  }

  histogram(name: string, labels: SeriesLabels, buckets: readonly number[]): Histogram {
    return new Histogram(this.#cells, this.#place(name, "histogram", labels, buckets), buckets);
  }

  #place(
    name: string,
    type: SeriesType,
    labels: SeriesLabels,
    buckets: readonly number[] | undefined,
  ): number {
    const key = `${name} ${JSON.stringify(labels)}`;
    const known = this.#indexes.get(key);
    if (known !== undefined) return known;
    const size = buckets === undefined ? 1 : buckets.length + 2;
    if (
      this.#used + size > this.#cells.length - OVERFLOW_CELLS &&
      labels["overflow"] === undefined
    ) {
      return this.#place(name, type, { overflow: "true" }, buckets);
    }
    if (this.#used + size > this.#cells.length) return this.#cells.length; // past the end: typed arrays ignore such writes
    const index = this.#used;
    this.#used += size;
    this.#indexes.set(key, index);
    this.#announce({ index, name, type, labels, buckets });
    return index;
  }
}

/** Kept for the overflow series of each metric name. */
const OVERFLOW_CELLS = 512;

export class Counter {
  readonly #cells: Float64Array;
  readonly #index: number;

  constructor(cells: Float64Array, index: number) {
    this.#cells = cells;
    this.#index = index;
  }

  add(amount = 1): void {
    this.#cells[this.#index] = (this.#cells[this.#index] as number) + amount;
  }
}

export class Gauge {
  readonly #cells: Float64Array;
  readonly #index: number;

  constructor(cells: Float64Array, index: number) {
    this.#cells = cells;
    this.#index = index;
  }

  add(amount: number): void {
    this.#cells[this.#index] = (this.#cells[this.#index] as number) + amount;
  }
  set(value: number): void {
    this.#cells[this.#index] = value;
  }
}

export class Histogram {
  readonly #cells: Float64Array;
  readonly #index: number;
  readonly #buckets: readonly number[];

  constructor(cells: Float64Array, index: number, buckets: readonly number[]) {
    this.#cells = cells;
    this.#index = index;
    this.#buckets = buckets;
  }

  observe(value: number): void {
    const buckets = this.#buckets;
    let i = 0;
    while (i < buckets.length && value > (buckets[i] as number)) i++;
    const at = this.#index + i;
    this.#cells[at] = (this.#cells[at] as number) + 1;
    const sum = this.#index + buckets.length + 1;
    this.#cells[sum] = (this.#cells[sum] as number) + value;
  }
}
