// The redirect's routes and routing rules (ip-route(8), ip-rule(8)), told apart from everybody else's by a protocol number.
import { err, ok, type Result } from "../../base/result.ts";
import type { RedirectPlan } from "./plan.ts";
import { failure } from "./refusal.ts";
import {
  DNS_MARK,
  DNS_TABLE,
  type Family,
  hex,
  ROUTE_PROTOCOL,
  UDP_MARK,
  UDP_MASK,
} from "./rules.ts";
import type { Runner } from "./runner.ts";

const FLAG: Record<Family, string> = { ip: "-4", ip6: "-6" };
/** As ip-rule(8) writes them. */
const MARKS = { dns: hex(DNS_MARK), udp: `${hex(UDP_MARK)}/${hex(UDP_MASK)}` } as const;

/** One line per route or rule that is ours, as `FAMILY WHAT`; the same words for plan and kernel. */
export function plannedRoutes(plan: RedirectPlan): string[] {
  const routes = plan.routes.map(
    (route) => `${route.family} route ${route.to} table ${route.table}`,
  );
  const rules = plan.marks.map(
    ({ family, is }) => `${family} rule fwmark ${MARKS[is]} table ${DNS_TABLE}`,
  );
  return [...routes, ...rules].sort();
}

interface ListedRoute {
  readonly dst: string;
  readonly table?: string;
}
interface ListedRule {
  readonly fwmark?: string;
  readonly fwmask?: string;
  readonly table?: string;
}

export async function kernelRoutes(runner: Runner): Promise<Result<string[], string>> {
  const found: string[] = [];
  for (const family of ["ip", "ip6"] as const) {
    const routes = await list<ListedRoute>(runner, family, [
      "route",
      "show",
      "table",
      "all",
      "proto",
      `${ROUTE_PROTOCOL}`,
    ]);
    if (!routes.ok) return routes;
    for (const { dst, table } of routes.value)
      found.push(`${family} route ${dst} table ${table ?? "main"}`);
    const rules = await list<ListedRule>(runner, family, ["rule", "show"]);
    if (!rules.ok) return rules;
    found.push(...rules.value.flatMap((rule) => ourRule(family, rule)));
  }
  return ok(found.sort());
}

function ourRule(family: Family, { fwmark, fwmask, table }: ListedRule): string[] {
  const mark = fwmask === undefined ? fwmark : `${fwmark}/${fwmask}`;
  const isOurs = Object.values(MARKS).some((one) => one === mark) && table === `${DNS_TABLE}`;
  return isOurs ? [`${family} rule fwmark ${mark} table ${table}`] : [];
}

async function list<T>(
  runner: Runner,
  family: Family,
  what: readonly string[],
): Promise<Result<T[], string>> {
  const argv = ["ip", "-j", FLAG[family], ...what];
  const ran = await runner.run(argv);
  // A host without IPv6 has no IPv6 tables to list.
  if (ran.code !== 0)
    return family === "ip6" && ran.code !== 127 ? ok([]) : err(failure(argv, ran));
  return ok(ran.stdout.trim() === "" ? [] : (JSON.parse(ran.stdout) as T[]));
}

/** Adds what is missing and takes away what is ours and not wanted; true when anything changed. Wanting nothing removes, wanting
 *  what kernelRoutes() said before rolls back. */
export async function leadRoutes(
  wanted: readonly string[],
  runner: Runner,
): Promise<Result<boolean, string>> {
  const found = await kernelRoutes(runner);
  if (!found.ok) return found;
  const surplus = found.value.filter(
    (line, i) => !wanted.includes(line) || found.value.indexOf(line) !== i,
  );
  const missing = wanted.filter((line) => !found.value.includes(line));
  for (const argv of [...surplus.map(removal), ...missing.map(addition)]) {
    const ran = await runner.run(argv);
    if (ran.code !== 0) return err(failure(argv, ran));
  }
  return ok(missing.length + surplus.length > 0);
}

const PROTOCOL = ["protocol", `${ROUTE_PROTOCOL}`];
const marked = (mark: string): string[] => ["fwmark", mark, "lookup", `${DNS_TABLE}`];

function addition(line: string): string[] {
  const [family, kind, to = "", mark = "", table = ""] = line.split(" ");
  const flag = FLAG[family === "ip6" ? "ip6" : "ip"];
  if (kind === "rule")
    return ["ip", flag, "rule", "add", ...marked(mark), "pref", `${DNS_TABLE}`, ...PROTOCOL];
  // Programs that dial a virtual IP come from 127.0.0.1; without this they would come from the virtual IP itself.
  const source = family === "ip" && table === "local" ? ["src", "127.0.0.1"] : [];
  return [
    "ip",
    flag,
    "route",
    "add",
    "local",
    to,
    "dev",
    "lo",
    "table",
    table,
    ...PROTOCOL,
    ...source,
  ];
}

function removal(line: string): string[] {
  const [family, kind, to = "", mark = "", table = ""] = line.split(" ");
  const flag = FLAG[family === "ip6" ? "ip6" : "ip"];
  return kind === "rule"
    ? ["ip", flag, "rule", "del", ...marked(mark)]
    : ["ip", flag, "route", "del", "local", to, "table", table, ...PROTOCOL];
}
