// `meshctl redirect`: what RedirectKeeper does, once and by hand, from the last good snapshot on disk; so it works while the
// agent is away too.
import { statSync } from "node:fs";
import { err, ok, type Result } from "../base/result.ts";
import {
  applyRedirect,
  chooseBackend,
  describePlan,
  redirectStatus,
  removeRedirect,
} from "../os/redirect/apply.ts";
import { planRedirect, type RedirectPlan } from "../os/redirect/plan.ts";
import type { Runner } from "../os/redirect/runner.ts";
import type { Snapshot } from "../policy/snapshot.ts";
import { type HostOwners, type RedirectSettings, redirectInputOf } from "./redirect-keeper.ts";

export type RedirectOutcome =
  | { readonly is: "failed"; readonly reason: string }
  | { readonly is: "done"; readonly text: string }
  | { readonly is: "differences"; readonly lines: readonly string[] };

export interface RedirectToolDeps {
  readonly runner: Runner;
  readonly owners: HostOwners;
  /** The last good one; undefined: this host has none yet. */
  loadSnapshot(): Promise<Snapshot | undefined>;
}

/** Rules exempt the agent's uid, and whoever repairs them is root: the agent is who owns its state. */
export const ownerOfDirectory = (directory: string): number | undefined =>
  statSync(directory, { throwIfNoEntry: false })?.uid;

export async function runRedirect(
  verb: "plan" | "apply" | "status" | "remove",
  settings: RedirectSettings,
  deps: RedirectToolDeps,
): Promise<RedirectOutcome> {
  const { runner } = deps;
  if (verb === "remove") {
    const removed = await removeRedirect(runner);
    return removed.ok
      ? {
          is: "done",
          text: "everything of ours is gone; a running agent puts it back when its snapshot changes",
        }
      : { is: "failed", reason: removed.error };
  }
  const planned = await planOf(settings, deps);
  if (!planned.ok) return { is: "failed", reason: planned.error };
  const { missing } = planned.value;
  const plan = ok(planned.value.plan);
  const without = missing.length === 0 ? "" : `; ${missing.join("; ")}`;
  if (verb === "plan")
    return {
      is: "done",
      text: `${describePlan(plan.value)}${missing.map((one) => `# ${one}\n`).join("")}`,
    };
  if (verb === "apply") {
    const applied = await applyRedirect(plan.value, runner);
    if (!applied.ok)
      return { is: "failed", reason: `${applied.error}; the host is as it was before` };
    return {
      is: "done",
      text: `${applied.value.changed ? "applied" : "the host was as planned already"}${without}`,
    };
  }
  const found = await redirectStatus(plan.value, runner);
  if (!found.ok) return { is: "failed", reason: found.error };
  return found.value.length === 0
    ? { is: "done", text: `the host is as planned${without}` }
    : { is: "differences", lines: found.value };
}

async function planOf(
  settings: RedirectSettings,
  { runner, owners, loadSnapshot }: RedirectToolDeps,
): Promise<Result<{ readonly plan: RedirectPlan; readonly missing: readonly string[] }, string>> {
  const snapshot = await loadSnapshot();
  if (snapshot === undefined)
    return err(
      "this host has no configuration yet, so nothing is planned: start the agent once while its server is reachable",
    );
  const backend = settings.backend === "auto" ? await chooseBackend(runner) : ok(settings.backend);
  if (!backend.ok) return backend;
  const { input, missing } = redirectInputOf(snapshot, settings, backend.value, owners);
  const plan = planRedirect(input);
  return plan.ok
    ? ok({ plan: plan.value, missing })
    : err(plan.error.map((p) => `${p.path}: ${p.reason}`).join("; "));
}
