import { expect, test } from "bun:test";
import { parseMetrics } from "./metrics.ts";

test("samples are read with their labels, also where a value holds a comma, a quote or a brace", () => {
  const text = [
    "# HELP istio_requests_total requests",
    "# TYPE istio_requests_total counter",
    'istio_requests_total{source_principal="spiffe://a/ns/b",odd="x,\\"}{y"} 12',
    "up 1",
    "",
  ].join("\n");
  expect(parseMetrics(text)).toEqual([
    {
      name: "istio_requests_total",
      labels: { source_principal: "spiffe://a/ns/b", odd: 'x,\\"}{y' },
      value: 12,
    },
    { name: "up", labels: {}, value: 1 },
  ]);
});
