// What a step of the check has to work with, and how it says that something does not hold.
import type { Capture } from "../capture.ts";
import type { Demo } from "../demo.ts";
import { type DemoHost, namespaceOf, type ROUTER } from "../layout.ts";
import type { MeasureJob, MeasureResult } from "../parts/measure.ts";
import { partCommand } from "../programs.ts";

/** How much some steps do; a person who waits wants less than a night's run. */
export interface Effort {
  /** How often step 6 takes a host's power. */
  readonly powerLosses: number;
  /** How long step 12 leaves its Consul dead. */
  readonly consulAwaySeconds: number;
}

export interface CheckContext {
  readonly demo: Demo;
  /** The page's URL on this machine. */
  readonly url: string;
  /** Runs since before the first process of the mesh, when step 2 is to be run. */
  readonly capture: Capture | undefined;
  /** How many times its limit a figure may be: 1, or more on a machine that others use too. */
  readonly slack: number;
  readonly effort: Effort;
  /** What is being measured now, for a person who watches. */
  say(text: string): void;
}

export interface Step {
  readonly number: number;
  /** What holds when it is ok. */
  readonly claim: string;
  /** Resolves to the measured figures; rejects with what does not hold. */
  run(context: CheckContext): Promise<string>;
}

/** Throws what was seen in place of what has to be. */
export function holds(condition: boolean, otherwise: () => string): void {
  if (!condition) throw new Error(otherwise());
}

/** Throws when a time is over its limit, slack included. Returns it as text. */
export function within({ slack }: CheckContext, what: string, ms: number, limitMs: number): string {
  const rounded = Math.round(ms);
  holds(
    ms <= limitMs * slack,
    () => `${what} took ${rounded} ms; at most ${limitMs}${slack === 1 ? "" : ` times ${slack}`}`,
  );
  return `${rounded} ms`;
}

/** Runs a job inside a host (or on the router, which has no agent) as that user. */
export async function measure(
  { demo: { lab } }: CheckContext,
  where: DemoHost | typeof ROUTER,
  uid: number,
  job: MeasureJob,
): Promise<MeasureResult> {
  const namespace = typeof where === "string" ? where : namespaceOf(where);
  const command = partCommand(lab, "measure", job);
  const finished = await lab.run(namespace, command, { uid, timeoutMs: 60_000 });
  if (finished.code !== 0)
    throw new Error(
      `a measurement on ${namespace} ended with ${finished.code}: ${finished.stderr}`,
    );
  return JSON.parse(finished.stdout) as MeasureResult;
}

type Requests = Extract<MeasureJob, { is: "requests" }>;

/** GETs of a path, one by one on one connection, unless told otherwise. */
export const requests = (
  to: { readonly host: string; readonly port: number },
  path: string,
  more: Partial<Requests> = {},
): Requests => ({
  is: "requests",
  ...to,
  authority: `${to.host.includes(":") ? `[${to.host}]` : to.host}:${to.port}`,
  path,
  headers: {},
  times: 1,
  connections: 1,
  timeoutMs: 5_000,
  ...more,
});

export const shown = (outcomes: { readonly [what: string]: number }): string =>
  Object.entries(outcomes)
    .map(([what, times]) => `${times} ${what}`)
    .join(", ") || "nothing";

export const isOnly = (
  outcomes: { readonly [what: string]: number },
  what: string,
  times: number,
): boolean => Object.keys(outcomes).length === 1 && outcomes[what] === times;
