import { describe, expect, test } from "bun:test";
import { SeededRandom } from "../base/clock.ts";
import { AccessLog } from "./access-log.ts";
import { renderPrometheus } from "./prometheus.ts";
import { type SeriesAnnouncement, SeriesTable } from "./series.ts";
import { TraceFields } from "./trace.ts";

function table(cells = 2048) {
  const series: SeriesAnnouncement[] = [];
  const made = new SeriesTable({ cells }, (s) => series.push(s));
  return { table: made, view: { memory: made.memory, series } };
}

describe("metrics", () => {
  test("the same series of two threads is added up and shown once", () => {
    const one = table();
    const two = table();
    one.table.counter("ironmesh_things_total", { kind: "a" }).add(2);
    two.table.counter("ironmesh_things_total", { kind: "a" }).add();
    two.table.counter("ironmesh_things_total", { kind: 'say "b"' }).add();
    expect(renderPrometheus([one.view, two.view])).toBe(
      '# TYPE ironmesh_things_total counter\nironmesh_things_total{kind="a"} 3\n' +
        'ironmesh_things_total{kind="say \\"b\\""} 1\n',
    );
  });

  test("a histogram shows cumulative buckets, sum and count", () => {
    const { table: t, view } = table();
    const histogram = t.histogram("ms", {}, [1, 10]);
    for (const value of [0.5, 1, 5, 50]) histogram.observe(value);
    expect(renderPrometheus([view])).toBe(
      '# TYPE ms histogram\nms_bucket{le="1"} 2\nms_bucket{le="10"} 3\nms_bucket{le="+Inf"} 4\nms_sum 56.5\nms_count 4\n',
    );
  });

  test("a series that is registered again is the same cell", () => {
    const { table: t, view } = table();
    t.counter("n").add();
    t.counter("n").add();
    expect(renderPrometheus([view])).toBe("# TYPE n counter\nn 2\n");
    expect(view.series).toHaveLength(1);
  });

  test("more labels than fit fall into one overflow series and nothing is lost", () => {
    const { table: t, view } = table(520);
    for (let i = 0; i < 1000; i++) t.counter("n", { path: String(i) }).add();
    const text = renderPrometheus([view]);
    const sum = [...text.matchAll(/\} (\d+)$/gm)].reduce((all, m) => all + Number(m[1]), 0);
    expect(sum).toBe(1000);
    expect(text).toContain('n{overflow="true"} 992');
  });
});

describe("access log", () => {
  function log(mode: "off" | "on" | "errors", batchCharsMax = 1000) {
    const written: string[] = [];
    const made = new AccessLog({ mode, batchCharsMax }, { write: (lines) => written.push(lines) });
    return { log: made, written };
  }

  test("off wants nothing, errors wants errors, on wants all", () => {
    expect(log("off").log.wants(true)).toBe(false);
    expect(log("errors").log.wants(false)).toBe(false);
    expect(log("errors").log.wants(true)).toBe(true);
    expect(log("on").log.wants(false)).toBe(true);
  });

  test("records are lines, written in one batch; what has no room is counted", () => {
    const { log: it, written } = log("on", 30);
    for (let i = 0; i < 5; i++) it.add({ a: i, missing: undefined });
    it.flush();
    it.flush();
    expect(written).toEqual(['{"a":0}\n{"a":1}\n{"a":2}\n']);
    expect(it.dropped).toBe(2);
  });
});

describe("trace fields", () => {
  const write = (samplingPercent: number) => {
    const fields = new TraceFields({ samplingPercent }, { random: new SeededRandom(3) });
    const out = new Uint8Array(400);
    const end = fields.writeTraceParent(out, fields.writeRequestId(out, 0));
    return new TextDecoder().decode(out.subarray(0, end));
  };

  test("a request id is a random UUID of version 4, a traceparent has version 00", () => {
    expect(write(0)).toMatch(
      /^x-request-id: [0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\r\ntraceparent: 00-[0-9a-f]{32}-[0-9a-f]{16}-00\r\n$/,
    );
  });

  test("the sampled flag follows the configured share", () => {
    expect(write(100)).toEndWith("-01\r\n");
  });
});
