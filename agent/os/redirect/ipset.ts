// ipset(8): the kernel sets that iptables rules ask.
import { isIpv6Text } from "../../base/ip-text.ts";
import { err, ok, type Result } from "../../base/result.ts";
import { createSets, endpointElement, setName } from "./iptables.ts";
import type { RedirectPlan } from "./plan.ts";
import { failure } from "./refusal.ts";
import type { Family } from "./rules.ts";
import type { Runner } from "./runner.ts";

/** ipset knows protocols by name only from /etc/protocols, which small hosts lack; their numbers (IANA) it always knows. */
export const byNumber = (line: string): string =>
  line.replace(/,tcp:/g, ",6:").replace(/,udp:/g, ",17:");
const byName = (line: string): string => line.replace(/,6:/, ",tcp:").replace(/,17:/, ",udp:");

async function ourSets(runner: Runner): Promise<Result<string[], string>> {
  const argv = ["ipset", "list", "-n"];
  const ran = await runner.run(argv);
  if (ran.code !== 0) return err(failure(argv, ran));
  return ok(ran.stdout.split("\n").filter((name) => name.startsWith("ironmesh_")));
}

/** The commands that lead from the kernel's sets to the planned ones, one element at a time. */
export async function setChanges(
  plan: RedirectPlan,
  runner: Runner,
): Promise<Result<string[], string>> {
  const sets = await ourSets(runner);
  if (!sets.ok) return sets;
  const changes: string[] = [];
  for (const family of plan.families) {
    const name = setName("endpoints", family);
    const creates = createSets(plan, family);
    const members = sets.value.includes(name) ? await membersOf(name, runner) : new Set<string>();
    changes.push(...creates.filter((create) => !sets.value.includes(create.split(" ")[1] ?? "")));
    changes.push(...memberChanges(name, plannedMembers(plan, family), members));
  }
  return ok(changes);
}

const plannedMembers = (plan: RedirectPlan, family: Family): string[] =>
  plan.endpoints
    .filter(([address]) => isIpv6Text(address) === (family === "ip6"))
    .map(endpointElement);

async function membersOf(name: string, runner: Runner): Promise<Set<string>> {
  const saved = await runner.run(["ipset", "save", name]);
  const added = saved.stdout.split("\n").filter((line) => line.startsWith("add "));
  return new Set(added.map((line) => byName(line.split(" ")[2] ?? "")));
}

function memberChanges(
  name: string,
  wanted: readonly string[],
  now: ReadonlySet<string>,
): string[] {
  const kept = new Set(wanted);
  return [
    ...wanted.filter((element) => !now.has(element)).map((element) => `add ${name} ${element}`),
    ...[...now].filter((element) => !kept.has(element)).map((element) => `del ${name} ${element}`),
  ];
}

/** What was done; nothing, when it failed. */
export async function applySets(
  plan: RedirectPlan,
  runner: Runner,
): Promise<Result<readonly string[], string>> {
  const changes = await setChanges(plan, runner);
  if (!changes.ok || changes.value.length === 0) return changes;
  const done = await restoreSets(changes.value, runner);
  if (done.ok) return changes;
  await undoSets(changes.value, runner); // as far as it came
  return done;
}

/** Takes back what applySets() did. Rules that ask new sets must be gone by now. */
export async function undoSets(
  done: readonly string[],
  runner: Runner,
): Promise<Result<void, string>> {
  const created = done.flatMap((line) =>
    line.startsWith("create ") ? [line.split(" ")[1] ?? ""] : [],
  );
  const swapped = done.flatMap((line) => {
    const [verb, name = "", element = ""] = line.split(" ");
    if (verb === "create" || created.includes(name)) return [];
    return [`${verb === "add" ? "del" : "add"} ${name} ${element}`];
  });
  // One by one: a set that was never made must not keep the others.
  for (const name of created) await runner.run(["ipset", "destroy", name]);
  const undone = swapped.length === 0 ? ok(true) : await restoreSets(swapped.reverse(), runner);
  return undone.ok ? ok(undefined) : undone;
}

export async function restoreSets(
  lines: readonly string[],
  runner: Runner,
): Promise<Result<boolean, string>> {
  const argv = ["ipset", "-exist", "restore"];
  const ran = await runner.run(argv, `${lines.map(byNumber).join("\n")}\n`);
  return ran.code === 0 ? ok(true) : err(failure(argv, ran));
}

/** Rules that ask them must be gone by now. */
export async function destroySets(runner: Runner): Promise<Result<void, string>> {
  const ran = await runner.run(["ipset", "list", "-n"]);
  if (ran.code === 127) return ok(undefined);
  const doomed = ran.stdout.split("\n").filter((name) => name.startsWith("ironmesh_"));
  if (doomed.length === 0) return ok(undefined);
  const done = await restoreSets(
    doomed.map((name) => `destroy ${name}`),
    runner,
  );
  return done.ok ? ok(undefined) : done;
}
