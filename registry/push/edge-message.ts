// The form of an agent's word on traffic: every text, list and number bounded, nothing unknown.
import * as z from "zod";
import {
  ANSWERS_PER_EDGE_MAX,
  EDGES_FORMAT,
  EDGES_PER_REPORT_MAX,
  HISTOGRAM_BOUNDS,
} from "../../agent/api/edges.ts";

/** A report may cover this much at most: an agent that was stopped for longer tells less, not more. */
export const REPORT_OVER_MAX_MS = 60_000;
const COUNT_MAX = 1e12;
const BYTES_MAX = 1e15;

const count = z.number().min(0).max(COUNT_MAX);
const bytes = z.number().min(0).max(BYTES_MAX);
/** A DNS name's length; SPIFFE allows an ID 2048. */
const name = z.string().min(1).max(253);
const end = z.strictObject({
  workload: name,
  namespace: name,
  identity: z.string().min(1).max(1_024),
});

const sample = z.strictObject({
  reporter: z.enum(["source", "destination"]),
  source: end,
  destination: end,
  service: name,
  protocol: z.enum(["http", "tcp", "udp"]),
  security: z.enum(["mutual_tls", "none", "unknown"]),
  requests: count,
  failed: count,
  answers: z
    .array(
      z.strictObject({
        status: z.int().min(0).max(999),
        flags: z.string().max(64),
        count,
      }),
    )
    .max(ANSWERS_PER_EDGE_MAX),
  latencies: z
    .array(z.tuple([z.int().min(0).max(HISTOGRAM_BOUNDS.length), count]))
    .max(HISTOGRAM_BOUNDS.length + 1),
  opened: count,
  broken: count,
  sentBytes: bytes,
  receivedBytes: bytes,
});

export const edgeReport = z.strictObject({
  type: z.literal("edges"),
  format: z.literal(EDGES_FORMAT),
  overMs: z
    .int()
    .min(1)
    .transform((ms) => Math.min(ms, REPORT_OVER_MAX_MS)),
  edges: z.array(sample).max(EDGES_PER_REPORT_MAX),
  omitted: count,
});
