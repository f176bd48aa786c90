// Step 3: Istio's own YAML moves traffic. Shares over 2,000 pages each, the header exactly, and every agent within a second.
import { agentStatus, untilAllRun } from "../agents.ts";
import { HOSTS, HTTP_PORT, hostOf, UID } from "../layout.ts";
import type { ExampleName } from "../run-directory.ts";
import {
  type CheckContext,
  holds,
  isOnly,
  measure,
  requests,
  type Step,
  shown,
  within,
} from "./step.ts";
import { underLoad } from "./under-load.ts";

const PAGES = 2_000;
const POINTS = 4;
const REACHES_ALL_WITHIN_MS = 1_000;
const HEADER_PAGES = 200;

interface Shares {
  readonly [version: string]: number;
}

export const canary: Step = {
  number: 3,
  claim: "a canary moves by Istio's YAML",
  async run(context) {
    const { operator } = context.demo;
    try {
      return await underLoad(context, () => shiftTraffic(context));
    } finally {
      // Also after a failure: later steps are about other things.
      for (const kind of ["virtualservice", "destinationrule"])
        await operator.run("delete", kind, "reviews");
    }
  },
};

/** Two cores have five agents, a server and nine programs that all started seconds ago; the load is one more. */
const LOAD_STARTS_MS = 1_500;

async function shiftTraffic(context: CheckContext): Promise<string> {
  const figures: string[] = [];
  context.say("the load gets under way");
  await new Promise((resolve) => setTimeout(resolve, LOAD_STARTS_MS));
  for (const [file, expected] of [
    ["canary-90-10.yaml", { v1: 90, v2: 10 }],
    ["canary-50-50.yaml", { v1: 50, v2: 50 }],
  ] as const) {
    const reachedMs = await applyEverywhere(context, file);
    context.say(`${file}: counting ${PAGES} pages`);
    figures.push(`${shareText(await pages(context, PAGES, {}), expected)} in ${reachedMs} ms`);
  }
  const reachedMs = await applyEverywhere(context, "header-jason.yaml");
  context.say(`header-jason.yaml: counting ${2 * HEADER_PAGES} pages`);
  const jason = await pages(context, HEADER_PAGES, { "end-user": "jason" });
  const other = await pages(context, HEADER_PAGES, { "end-user": "jasons" });
  holds(isOnly(jason, "v3", HEADER_PAGES), () => `jason saw ${shown(jason)}, not only v3`);
  holds(isOnly(other, "v1", HEADER_PAGES), () => `others saw ${shown(other)}, not only v1`);
  figures.push(`jason ${HEADER_PAGES} of ${HEADER_PAGES} v3, others v1, in ${reachedMs} ms`);
  return figures.join("; ");
}

/** Applies and waits until all agents run it. Counted from when the command is back with the server's word: how long a program takes
 *  to start, and to check a file before it asks anybody, is not the mesh's doing. */
export async function applyEverywhere(context: CheckContext, file: ExampleName): Promise<number> {
  const { demo, say } = context;
  say(`applying ${file}`);
  const before = await Promise.all(HOSTS.map(agentStatus));
  const next = Math.max(...before.map((one) => one?.version ?? 0)) + 1;
  const { startedMs, doneMs } = await demo.operator.apply(file);
  const allMs = await untilAllRun(next, 5_000);
  const reachedMs = Math.round(allMs - doneMs);
  within(context, `${file} to reach all agents`, reachedMs, REACHES_ALL_WITHIN_MS);
  // And who sits before the terminal waits no longer than that either, twice over.
  const waitedMs = Math.round(allMs - startedMs);
  within(context, `${file}, the command's own time included,`, waitedMs, 2 * REACHES_ALL_WITHIN_MS);
  return waitedMs;
}

/** Which version of reviews each page showed. A page without any, or any failure, is a fault. */
async function pages(
  context: CheckContext,
  times: number,
  headers: { readonly [name: string]: string },
): Promise<Shares> {
  const to = { host: "productpage", port: HTTP_PORT };
  const job = requests(to, "/productpage", {
    times,
    headers,
    connections: 8,
    countGroup: 'id="reviews-version">([^<]+)<',
  });
  const { outcomes, groups, last } = await measure(context, hostOf("visitor"), UID.visitor, job);
  holds(isOnly(outcomes, "200", times), () => `${times} pages gave ${shown(outcomes)}`);
  const counted = Object.values(groups).reduce((sum, one) => sum + one, 0);
  holds(counted === times, () => `${times - counted} pages had no reviews: ${last.body}`);
  return groups;
}

function shareText(seen: Shares, expected: Shares): string {
  const shares = Object.entries(expected).map(([version, percent]) => {
    const share = (100 * (seen[version] ?? 0)) / PAGES;
    holds(
      Math.abs(share - percent) <= POINTS,
      () => `${version} got ${share.toFixed(1)}% in place of ${percent}% (${shown(seen)})`,
    );
    return share.toFixed(1);
  });
  const strays = Object.keys(seen).filter((version) => expected[version] === undefined);
  holds(strays.length === 0, () => `pages from ${strays.join(", ")}, which have no weight`);
  return shares.join("/");
}
