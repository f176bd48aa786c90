// Series tables of threads that died. Their counts stay, so that no counter ever falls; but however many die, only some tables are
// kept as they were, and the rest as one sum.
import type { TableView } from "./prometheus.ts";
import { SERIES_TABLE_DEFAULTS, type SeriesAnnouncement, type SeriesLabels } from "./series.ts";

/** Kept as they were for whoever follows growth and has not read their last (EdgeSummary, every few seconds). */
export const RECENT_MAX = 8;

export class RetiredTables {
  readonly #recent: TableView[] = [];
  #sum: TableView | undefined;

  add(table: TableView): void {
    this.#recent.push(table);
    if (this.#recent.length <= RECENT_MAX) return;
    const oldest = this.#recent.splice(0, 1);
    this.#sum = sumOf(this.#sum === undefined ? oldest : [this.#sum, ...oldest]);
  }

  get recent(): readonly TableView[] {
    return this.#recent;
  }
  get all(): readonly TableView[] {
    return this.#sum === undefined ? this.#recent : [this.#sum, ...this.#recent];
  }
}

const OVERFLOW: SeriesLabels = { overflow: "true" };

/** One table that says what these say together. No larger than a thread's own: what does not fit is counted without its labels. */
export function sumOf(
  tables: readonly TableView[],
  cellsMax: number = SERIES_TABLE_DEFAULTS.cells,
): TableView {
  const placed = new Map<string, SeriesAnnouncement>();
  const cells: number[] = [];
  const place = (one: SeriesAnnouncement, labels: SeriesLabels): number => {
    const key = `${one.name} ${JSON.stringify(labels)}`;
    const known = placed.get(key);
    if (known !== undefined) return known.index;
    const index = cells.length;
    const isFull = index + sizeOf(one) > cellsMax;
    // Names are few and ours, so what overflows takes no more than its own cells beyond.
    if (isFull && labels !== OVERFLOW) return place(one, OVERFLOW);
    placed.set(key, { ...one, index, labels });
    for (let i = 0; i < sizeOf(one); i++) cells.push(0);
    return index;
  };
  for (const { memory, series } of tables) {
    const from = new Float64Array(memory);
    for (const one of series) {
      const at = place(one, one.labels);
      for (let i = 0; i < sizeOf(one); i++)
        cells[at + i] = (cells[at + i] ?? 0) + (from[one.index + i] ?? 0);
    }
  }
  const memory = new SharedArrayBuffer(cells.length * 8);
  new Float64Array(memory).set(cells);
  return { memory, series: [...placed.values()] };
}

const sizeOf = ({ buckets }: SeriesAnnouncement): number =>
  buckets === undefined ? 1 : buckets.length + 2;
