// Who calls whom, for operators: a window of the edge history as nodes and edges.
import { Hono } from "hono";
import {
  type GraphView,
  WINDOW_SECONDS_DEFAULT,
  WINDOW_SECONDS_MAX,
  WINDOW_SECONDS_MIN,
} from "../../agent/api/edges.ts";
import type { Clock } from "../../agent/base/clock.ts";
import { err, ok, type Result } from "../../agent/base/result.ts";
import { graphOf } from "../push/edge-graph.ts";
import type { EdgeHistory } from "../push/edge-history.ts";
import type { Hub } from "../push/hub.ts";
import { NO_FACTS } from "../push/mesh-facts.ts";
import { refuse } from "./answers.ts";
import type { Bindings } from "./peer.ts";

export interface GraphDeps {
  readonly hub: Hub;
  readonly edges: EdgeHistory;
  readonly clock: Clock;
}

export const graphNow = (
  { hub, edges, clock }: GraphDeps,
  windowSeconds: number,
  by: "service" | "workload",
): GraphView =>
  graphOf(edges, hub.latest?.facts ?? NO_FACTS, { nowMs: clock.wallMs(), windowSeconds, by });

export function parseWindow(text: string | undefined): Result<number, string> {
  const seconds = text === undefined ? WINDOW_SECONDS_DEFAULT : Number(text);
  return Number.isInteger(seconds) && seconds >= WINDOW_SECONDS_MIN && seconds <= WINDOW_SECONDS_MAX
    ? ok(seconds)
    : err(`window must be whole seconds from ${WINDOW_SECONDS_MIN} to ${WINDOW_SECONDS_MAX}`);
}

export function graphRoutes(deps: GraphDeps) {
  return new Hono<{ Bindings: Bindings }>().get("/v1/graph", (c) => {
    const window = parseWindow(c.req.query("window"));
    if (!window.ok) return refuse(c, 400, "invalid_window", window.error);
    const by = c.req.query("by") ?? "service";
    if (by !== "service" && by !== "workload")
      return refuse(c, 400, "invalid_by", "by must be service or workload");
    return c.json(graphNow(deps, window.value, by) satisfies GraphView);
  });
}
