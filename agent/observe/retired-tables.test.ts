import { expect, test } from "bun:test";
import { renderPrometheus, type TableView } from "./prometheus.ts";
import { RECENT_MAX, RetiredTables, sumOf } from "./retired-tables.ts";
import { type SeriesAnnouncement, SeriesTable } from "./series.ts";

function table(code: string, requests: number): TableView {
  const series: SeriesAnnouncement[] = [];
  const made = new SeriesTable({ cells: 2_048 }, (one) => series.push(one));
  made.counter("requests_total", { code }).add(requests);
  made.histogram("seconds", { code }, [1, 5]).observe(requests);
  return { memory: made.memory, series };
}

test("a sum of tables renders as the tables do", () => {
  const tables = [table("200", 3), table("503", 1), table("200", 4)];
  expect(renderPrometheus([sumOf(tables)])).toBe(renderPrometheus(tables));
});

test("a sum has a bound: what does not fit is counted without its labels, and nothing is lost", () => {
  const text = renderPrometheus([sumOf([table("a", 1), table("b", 2), table("c", 4)], 5)]);
  expect(text).toContain('requests_total{code="a"} 1\n');
  expect(text).toContain('requests_total{overflow="true"} 6\n');
  expect(text).toContain('seconds_count{overflow="true"} 2\n');
});

test("however many threads die, no more than some tables are kept, and every count", () => {
  const retired = new RetiredTables();
  for (let i = 1; i <= 100; i++) retired.add(table("200", i));
  expect(retired.recent).toHaveLength(RECENT_MAX);
  expect(retired.all).toHaveLength(RECENT_MAX + 1);
  expect(renderPrometheus(retired.all)).toContain('requests_total{code="200"} 5050\n');
});
