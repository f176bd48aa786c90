// Some steps run while the visitor's load goes on: what they change must not cost anybody a request.
import { createInterface } from "node:readline";
import type { LoadCounts } from "../parts/load.ts";
import { startLoad } from "../programs.ts";
import { until } from "../until.ts";
import { type CheckContext, holds, shown } from "./step.ts";

const RATE = 40;

/** Runs `work` under load. Its figures, and what the load counted; throws if anything failed. */
export async function underLoad(
  { demo }: CheckContext,
  work: () => Promise<string>,
): Promise<string> {
  const child = startLoad(demo.lab, RATE);
  if (child.stdout === null) throw new Error("the load has no output");
  let counts: LoadCounts | undefined;
  const lines = createInterface({ input: child.stdout });
  lines.on("line", (line) => {
    counts = JSON.parse(line) as LoadCounts;
  });
  const isGoing = (): boolean =>
    counts !== undefined && counts.fresh > 0 && counts.keptAlive > 0 && counts.echoed > 0;
  const ended = new Promise<void>((resolve) => lines.once("close", () => resolve()));
  let figures: string;
  try {
    await until("the load", 5_000, () => Promise.resolve(isGoing()));
    figures = await work();
  } finally {
    child.kill("SIGTERM");
    await ended;
  }
  const seen = counts;
  if (seen === undefined) throw new Error("the load told nothing");
  const { failures, keptAlive, fresh, echoed } = seen;
  holds(Object.keys(failures).length === 0, () => `the load meanwhile saw ${shown(failures)}`);
  return `${figures}; load meanwhile: ${keptAlive} pages on one connection, ${fresh} on fresh ones, ${echoed} echoes, 0 failures`;
}
