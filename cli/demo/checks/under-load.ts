// Some steps run while the visitor's load goes on: what they change must not cost anybody a request.
import { createInterface } from "node:readline";
import type { LoadCounts } from "../parts/load.ts";
import { startLoad } from "../programs.ts";
import { until } from "../until.ts";
import { type CheckContext, holds, shown } from "./step.ts";

const RATE = 40;

/** Runs `work` under load. Its figures, and what the load counted; throws if anything failed. What failed before `work` calls
 *  `forgive` is told, and not held against it. */
export async function underLoad(
  { demo }: CheckContext,
  work: (forgive: () => void) => Promise<string>,
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
  let forgiven: { readonly [what: string]: number } = {};
  try {
    await until("the load", 5_000, () => Promise.resolve(isGoing()));
    figures = await work(() => {
      forgiven = { ...counts?.failures };
    });
  } finally {
    child.kill("SIGTERM");
    await ended;
  }
  const seen = counts;
  if (seen === undefined) throw new Error("the load told nothing");
  const { failures, keptAlive, fresh, echoed } = seen;
  const left = Object.entries(failures)
    .map(([what, times]) => [what, times - (forgiven[what] ?? 0)] as const)
    .filter(([, times]) => times > 0);
  holds(left.length === 0, () => `the load meanwhile saw ${shown(Object.fromEntries(left))}`);
  const before = Object.keys(forgiven).length === 0 ? "" : ` (${shown(forgiven)} before)`;
  return `${figures}; load meanwhile: ${keptAlive} pages on one connection, ${fresh} on fresh ones, ${echoed} echoes, 0 failures${before}`;
}
