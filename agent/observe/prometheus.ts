// Renders the tables of all threads as Prometheus text (exposition format 0.0.4). Series of the same name and labels are added up,
// so a scrape sees one agent, whatever its number of threads.
import type { SeriesAnnouncement, SeriesLabels } from "./series.ts";

/** One thread's table as the reader has it: its memory, and what it has announced. */
export interface TableView {
  readonly memory: SharedArrayBuffer;
  readonly series: readonly SeriesAnnouncement[];
}

interface Summed {
  readonly announced: SeriesAnnouncement;
  readonly cells: Float64Array;
}

export function renderPrometheus(tables: readonly TableView[]): string {
  let text = "";
  for (const [name, series] of [...byName(tables)].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const type = [...series.values()][0]?.announced.type ?? "counter";
    text += `# TYPE ${name} ${type}\n`;
    for (const one of series.values()) {
      text += type === "histogram" ? histogramLines(one) : plainLine(one);
    }
  }
  return text;
}

function byName(tables: readonly TableView[]): Map<string, Map<string, Summed>> {
  const names = new Map<string, Map<string, Summed>>();
  for (const { memory, series } of tables) {
    const cells = new Float64Array(memory);
    for (const announced of series) {
      const known = names.get(announced.name) ?? new Map<string, Summed>();
      names.set(announced.name, known);
      add(known, announced, cells);
    }
  }
  return names;
}

function add(known: Map<string, Summed>, announced: SeriesAnnouncement, from: Float64Array): void {
  const key = labelText(announced.labels);
  const size = announced.buckets === undefined ? 1 : announced.buckets.length + 2;
  let summed = known.get(key);
  if (summed === undefined) {
    summed = { announced, cells: new Float64Array(size) };
    known.set(key, summed);
  }
  const { cells } = summed;
  for (let i = 0; i < size; i++) {
    cells[i] = (cells[i] as number) + (from[announced.index + i] as number);
  }
}

const plainLine = ({ announced, cells }: Summed): string =>
  `${announced.name}${braced(labelText(announced.labels))} ${numberText(cells[0] ?? 0)}\n`;

function histogramLines({ announced, cells }: Summed): string {
  const { name, labels, buckets = [] } = announced;
  const base = labelText(labels);
  const and = base === "" ? "" : ",";
  let text = "";
  let count = 0;
  for (let i = 0; i <= buckets.length; i++) {
    count += cells[i] ?? 0;
    const bound = i < buckets.length ? numberText(buckets[i] ?? 0) : "+Inf";
    text += `${name}_bucket{${base}${and}le="${bound}"} ${numberText(count)}\n`;
  }
  text += `${name}_sum${braced(base)} ${numberText(cells[buckets.length + 1] ?? 0)}\n`;
  return `${text}${name}_count${braced(base)} ${numberText(count)}\n`;
}

const braced = (labels: string): string => (labels === "" ? "" : `{${labels}}`);

function labelText(labels: SeriesLabels): string {
  const parts: string[] = [];
  for (const [name, value] of Object.entries(labels)) parts.push(`${name}="${escaped(value)}"`);
  return parts.join(",");
}

const escaped = (value: string): string =>
  value.replace(/[\\"\n]/g, (c) => (c === "\n" ? "\\n" : `\\${c}`));

const numberText = (value: number): string => String(value);
