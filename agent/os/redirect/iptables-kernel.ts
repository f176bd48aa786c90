// iptables, ip6tables and ipset: the plan made so, taken away, compared. Each restore is one transaction per table; what a
// failure leaves half done is led back to what was.
import { err, ok, type Result } from "../../base/result.ts";
import { applySets, destroySets, setChanges, undoSets } from "./ipset.ts";
import { TABLES, tablesOf } from "./iptables.ts";
import {
  hasMadeTable,
  holdsOurs,
  type IptablesState,
  readState,
  restoreText,
  type TableState,
  tableDifferences,
  wantedState,
} from "./iptables-state.ts";
import { removeMadeTables } from "./made-tables.ts";
import type { RedirectPlan } from "./plan.ts";
import { failure } from "./refusal.ts";
import type { Family } from "./rules.ts";
import type { Runner } from "./runner.ts";

type Variant = RedirectPlan["variant"];
const FAMILIES = ["ip", "ip6"] as const;
const LOCK_WAIT_S = "5";

const program = (family: Family, variant: Variant, verb: "save" | "restore"): string =>
  `${family === "ip" ? "iptables" : "ip6tables"}${variant === "default" ? "" : `-${variant}`}-${verb}`;

async function stateOf(
  family: Family,
  variant: Variant,
  runner: Runner,
): Promise<Result<IptablesState, string>> {
  const argv = [program(family, variant, "save")];
  const ran = await runner.run(argv);
  return ran.code === 0 ? ok(readState(ran.stdout)) : err(failure(argv, ran));
}

async function restore(
  family: Family,
  variant: Variant,
  text: string,
  runner: Runner,
): Promise<Result<boolean, string>> {
  if (text === "") return ok(false);
  const argv = [program(family, variant, "restore"), "--noflush", "--wait", LOCK_WAIT_S];
  const ran = await runner.run(argv, text);
  return ran.code === 0 ? ok(true) : err(failure(argv, ran));
}

const wantedOf = (
  plan: RedirectPlan,
  family: Family,
  before: IptablesState,
): Map<string, TableState> =>
  new Map(
    plan.families.includes(family)
      ? tablesOf(plan, family).map((text) => [
          text.table,
          wantedState(text, before.get(text.table)),
        ])
      : [],
  );

const leadTo = (wanted: ReadonlyMap<string, TableState>, now: IptablesState): string =>
  TABLES.map((table) => restoreText(table, wanted.get(table), now.get(table))).join("");

/** True when anything changed. */
export async function applyIptables(
  plan: RedirectPlan,
  runner: Runner,
): Promise<Result<boolean, string>> {
  const sets = await applySets(plan, runner);
  if (!sets.ok) return sets;
  const before = new Map<Family, IptablesState>();
  const rules = await applyFamilies(plan, before, runner);
  if (rules.ok) return ok(sets.value.length > 0 || rules.value);
  const back = await rollBack(before, sets.value, plan.variant, runner);
  return back.ok
    ? rules
    : err(`${rules.error}; and what was there before could not be restored: ${back.error}`);
}

/** Notes in `before` what each family held, before it is touched. */
async function applyFamilies(
  plan: RedirectPlan,
  before: Map<Family, IptablesState>,
  runner: Runner,
): Promise<Result<boolean, string>> {
  let hasChanged = false;
  for (const family of FAMILIES) {
    const now = await stateOf(family, plan.variant, runner);
    if (!now.ok && isNeeded(family, plan)) return now;
    if (!now.ok) continue;
    before.set(family, now.value);
    const text = leadTo(wantedOf(plan, family, now.value), now.value);
    const done = await restore(family, plan.variant, text, runner);
    if (!done.ok) return done;
    hasChanged ||= done.value;
  }
  return ok(hasChanged);
}

async function rollBack(
  before: ReadonlyMap<Family, IptablesState>,
  setsDone: readonly string[],
  variant: Variant,
  runner: Runner,
): Promise<Result<void, string>> {
  for (const [family, was] of before) {
    const now = await stateOf(family, variant, runner);
    if (!now.ok) return now;
    const done = await restore(family, variant, leadTo(new Map(was), now.value), runner);
    if (!done.ok) return done;
    const made = TABLES.filter((table) => now.value.has(table) && !was.has(table));
    await removeMadeTables(family, made, runner);
  }
  return await undoSets(setsDone, runner);
}

export async function removeIptables(runner: Runner): Promise<Result<void, string>> {
  let variants: readonly Variant[] = ["nft", "legacy"];
  const probe = await runner.run(["iptables-nft-save", "--version"]);
  if (probe.code === 127) variants = ["default"];
  for (const variant of variants) {
    for (const family of FAMILIES) {
      const done = await removeFamily(family, variant, runner);
      if (!done.ok) return done;
    }
  }
  return await destroySets(runner);
}

async function removeFamily(
  family: Family,
  variant: Variant,
  runner: Runner,
): Promise<Result<void, string>> {
  const argv = [program(family, variant, "save")];
  const ran = await runner.run(argv);
  // Only root may read legacy tables, so only root can have put anything of ours there.
  const isUnreadable = variant === "legacy" && ran.stderr.includes("_tables_names");
  if (ran.code === 127 || isUnreadable) return ok(undefined);
  // Without IPv6 in the kernel there is nothing of ours to take away.
  if (ran.code !== 0) return family === "ip6" ? ok(undefined) : err(failure(argv, ran));
  const now = readState(ran.stdout);
  const done = await restore(family, variant, leadTo(new Map(), now), runner);
  if (!done.ok) return done;
  const made = TABLES.filter((table) => hasMadeTable(now.get(table)));
  if (variant !== "legacy") await removeMadeTables(family, made, runner);
  return ok(undefined);
}

export async function iptablesDifferences(
  plan: RedirectPlan,
  runner: Runner,
): Promise<Result<string[], string>> {
  const found: string[] = [];
  for (const family of FAMILIES) {
    const now = await stateOf(family, plan.variant, runner);
    if (!now.ok && isNeeded(family, plan)) return now;
    if (now.ok) found.push(...familyDifferences(plan, family, now.value));
  }
  const sets = await setChanges(plan, runner);
  return sets.ok ? ok([...found, ...sets.value.map((line) => `ipset: not done: ${line}`)]) : sets;
}

function familyDifferences(plan: RedirectPlan, family: Family, now: IptablesState): string[] {
  const wanted = wantedOf(plan, family, now);
  return TABLES.flatMap((table) => {
    const state = now.get(table);
    if (!wanted.has(table) && (state === undefined || !holdsOurs(state))) return [];
    return tableDifferences(`${family} ${table}`, wanted.get(table), state);
  });
}

/** A host without IPv6 may have no ip6tables; where IPv6 is planned it must. */
const isNeeded = (family: Family, plan: RedirectPlan): boolean =>
  family === "ip" || plan.families.includes(family);
