// The redirect's routes and routing rules (ip-route(8), ip-rule(8)), told apart from everybody else's by a protocol number.
import { err, ok, type Result } from "../../base/result.ts";
import type { RedirectPlan, Route } from "./plan.ts";
import { failure } from "./refusal.ts";
import { DNS_MARK, DNS_TABLE, type Family, ROUTE_PROTOCOL } from "./rules.ts";
import type { Runner } from "./runner.ts";

const FLAG: Record<Family, string> = { ip: "-4", ip6: "-6" };
const mark = `0x${DNS_MARK.toString(16)}`;

/** One line per route or rule that is ours, as `FAMILY WHAT`; the same words for plan and kernel. */
export function plannedRoutes(plan: RedirectPlan): string[] {
  const routes = plan.routes.map(
    (route) => `${route.family} route ${route.to} table ${route.table}`,
  );
  const marked = plan.routes.filter((route) => route.table === `${DNS_TABLE}`);
  return [
    ...routes,
    ...marked.map((route) => `${route.family} rule fwmark ${mark} table ${DNS_TABLE}`),
  ].sort();
}

interface ListedRoute {
  readonly dst: string;
  readonly table?: string;
}
interface ListedRule {
  readonly fwmark?: string;
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
    for (const { fwmark, table } of rules.value) {
      if (fwmark === mark && table === `${DNS_TABLE}`)
        found.push(`${family} rule fwmark ${mark} table ${table}`);
    }
  }
  return ok(found.sort());
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

/** Adds what is missing and takes away what is ours and not planned. */
export async function applyRoutes(
  plan: RedirectPlan,
  runner: Runner,
): Promise<Result<boolean, string>> {
  const found = await kernelRoutes(runner);
  if (!found.ok) return found;
  const planned = plannedRoutes(plan);
  const missing = planned.filter((line) => !found.value.includes(line));
  const surplus = found.value.filter(
    (line, i) => !planned.includes(line) || found.value.indexOf(line) !== i,
  );
  for (const line of surplus) {
    const ran = await runner.run(removal(line));
    if (ran.code !== 0) return err(failure(removal(line), ran));
  }
  for (const line of missing) {
    const argv = addition(line, plan.routes);
    const ran = await runner.run(argv);
    if (ran.code !== 0) return err(failure(argv, ran));
  }
  return ok(missing.length + surplus.length > 0);
}

export async function removeRoutes(runner: Runner): Promise<Result<void, string>> {
  const found = await kernelRoutes(runner);
  if (!found.ok) return found;
  for (const line of found.value) {
    const ran = await runner.run(removal(line));
    if (ran.code !== 0) return err(failure(removal(line), ran));
  }
  return ok(undefined);
}

function addition(line: string, routes: readonly Route[]): string[] {
  const [family = "ip", kind, to = "", , table = ""] = line.split(" ");
  const flag = FLAG[family === "ip6" ? "ip6" : "ip"];
  const protocol = ["protocol", `${ROUTE_PROTOCOL}`];
  if (kind === "rule")
    return [
      "ip",
      flag,
      "rule",
      "add",
      "fwmark",
      mark,
      "lookup",
      `${DNS_TABLE}`,
      "pref",
      `${DNS_TABLE}`,
      ...protocol,
    ];
  const source = routes.find(
    (route) => route.family === family && route.to === to && route.table === table,
  )?.source;
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
    ...protocol,
    ...(source === undefined ? [] : ["src", source]),
  ];
}

function removal(line: string): string[] {
  const [family, kind, to = "", , table = ""] = line.split(" ");
  const flag = FLAG[family === "ip6" ? "ip6" : "ip"];
  return kind === "rule"
    ? ["ip", flag, "rule", "del", "fwmark", mark, "lookup", `${DNS_TABLE}`]
    : ["ip", flag, "route", "del", "local", to, "table", table, "protocol", `${ROUTE_PROTOCOL}`];
}
