// An explanation for people: the verdict, what was asked clause by clause, and what to change.
import type { DecisionAnswer } from "../agent/api/decisions.ts";
import type {
  AskedView,
  ClauseMiss,
  ExplainAnswer,
  ExplainStep,
  Explanation,
  PolicyChange,
  RuleTrace,
} from "../agent/api/explain.ts";
import { clean, shortDuration, yamlText } from "./output.ts";

type Paint = (text: string) => string;
export interface ExplainColours {
  readonly red: Paint;
  readonly green: Paint;
  readonly yellow: Paint;
  readonly dim: Paint;
  readonly bold: Paint;
}

export async function answerText(
  { results, notes }: ExplainAnswer,
  colours: ExplainColours,
): Promise<string> {
  const parts: string[] = [];
  for (const alike of grouped(results)) {
    const [first, ...others] = alike;
    if (first === undefined) continue;
    const also = others.map(({ explanation }) => explanation.asked.to.workload);
    parts.push(await explanationText(first.explanation, also, colours));
  }
  return [...parts, ...notes.map((note) => `note: ${clean(note)}`)].join("\n\n");
}

/** A decision: where, when and how often, what decided, and whether it still would. */
export async function decisionText(
  { host, record, reason, next, explanation, now }: DecisionAnswer,
  nowMs: number,
  colours: ExplainColours,
): Promise<string> {
  const { bold, red, green } = colours;
  const { id, firstAtMs, lastAtMs, times, epoch, version } = record;
  const ago = (ms: number): string => `${shortDuration(nowMs - ms)} ago`;
  const often =
    times === 1 ? ago(firstAtMs) : `${times} times, first ${ago(firstAtMs)}, last ${ago(lastAtMs)}`;
  const head = `decision ${clean(id)} of host ${clean(host)}, ${often}, by version ${epoch}.${version}`;
  const parts = [
    explanation === undefined
      ? [`${bold(red("DENIED"))}  ${clean(recordText(record))}`, clean(reason)].join("\n")
      : // What would have admitted it then is of no use where other policies hold now.
        await explanationText(now === undefined ? explanation : justWhy(explanation), [], colours),
    ...(next === undefined ? [] : [clean(next)]),
  ];
  if (now?.verdict === "allowed")
    parts.push(`${bold(green("ALLOWED"))} by the policies that hold now: ${clean(now.reason)}`);
  else if (now !== undefined)
    parts.push(`by the policies that hold now:\n${await explanationText(now, [], colours)}`);
  return [head, ...parts].join("\n\n");
}

const justWhy = (explanation: Explanation): Explanation => ({
  ...explanation,
  admit: [],
  notes: [],
});

function recordText({ from, to, request }: DecisionAnswer["record"]): string {
  const caller = from.identity ?? (from.address === "" ? "a process there" : from.address);
  const called = to.workload ?? (to.address === "" ? "nothing that is known" : to.address);
  const port = to.port === 0 ? "" : ` port ${to.port}`;
  return `${caller} -> ${called}${port}: ${whatText(request, to.serverName)}`;
}

function whatText(request: AskedView["request"], serverName: string | undefined): string {
  if (request !== undefined) return `${request.method} ${request.path} (${request.host})`;
  return serverName === undefined ? "a connection" : `TLS for ${serverName}`;
}

type Result = ExplainAnswer["results"][number];

/** Versions of a service mostly have the same policies: shown once. */
function grouped(results: readonly Result[]): Result[][] {
  const groups = new Map<string, Result[]>();
  for (const result of results) {
    const { verdict, reason, steps, admit } = result.explanation;
    const key = JSON.stringify([verdict, reason, steps, admit]);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [result]);
    else group.push(result);
  }
  return [...groups.values()];
}

export async function explanationText(
  explanation: Explanation,
  also: readonly string[],
  colours: ExplainColours,
): Promise<string> {
  const { verdict, reason, asked, steps, admit, notes } = explanation;
  const { red, green, bold } = colours;
  const word = verdict === "denied" ? red("DENIED") : green("ALLOWED");
  const lines = [`${bold(word)}  ${clean(callText(asked, also))}`, clean(reason), ""];
  for (const step of steps) lines.push(...stepLines(step, colours));
  if (admit.length > 0) lines.push("", bold("to admit it:"));
  for (const change of admit) lines.push(...(await changeLines(change, colours)));
  for (const note of notes) lines.push(`note: ${clean(note)}`);
  return lines.join("\n");
}

function callText({ from, to, request }: AskedView, also: readonly string[]): string {
  const caller = from.identity ?? `plaintext from ${from.address ?? "somewhere"}`;
  const called = [to.workload, ...also].join(", ");
  return `${caller} -> ${called} port ${to.port}: ${whatText(request, to.serverName)}`;
}

function stepLines(
  { kind, name, says, outcome, rules, rulesOmitted }: ExplainStep,
  colours: ExplainColours,
): string[] {
  const { dim } = colours;
  const title = clean(`${kind} ${name ?? "(none: the default)"} ${says}`);
  const head = `  ${title}: ${OUTCOMES[outcome](colours)}`;
  const lines = rules.flatMap((rule) => ruleLines(rule, colours));
  const more = rulesOmitted > 0 ? [dim(`      and ${rulesOmitted} further rules`)] : [];
  return [head, ...lines, ...more];
}

const OUTCOMES: Readonly<Record<ExplainStep["outcome"], (colours: ExplainColours) => string>> = {
  passes: ({ green }) => green("passes"),
  allows: ({ green }) => green("allows it"),
  refuses: ({ red }) => red("refuses it"),
  no_match: ({ dim }) => dim("does not match"),
  counts: ({ yellow }) => yellow("counts it, and lets it pass while there is room"),
  unknown: ({ yellow }) => yellow("not known"),
};

function ruleLines({ path, outcome, clauses }: RuleTrace, { dim, bold }: ExplainColours): string[] {
  if (outcome === "match" && clauses.length === 0) return [`    ${bold(path)} matches`];
  return clauses.map((clause) => `    ${path}${clauseText(clause, dim)}`);
}

function clauseText({ path, has, omitted, asked }: ClauseMiss, dim: Paint): string {
  const listed = has.map(clean).join(", ") || "nothing";
  const more = omitted > 0 ? dim(` and ${omitted} more`) : "";
  return `${path === "" ? "" : `.${clean(path)}`}: has ${listed}${more}; asked ${clean(asked)}`;
}

async function changeLines(change: PolicyChange, colours: ExplainColours): Promise<string[]> {
  const { kind, name, edit, path, value, widens } = change;
  const { green, yellow } = colours;
  const yaml = (await yamlText(edit === "add" ? [value] : value)).trimEnd().split("\n");
  const title = clean(`${kind} ${name}`);
  const head = {
    add: `  in ${title}, at ${path}, add`,
    set: `  in ${title}, at ${path}, write`,
    create: "  apply",
  }[edit];
  return [
    head,
    ...yaml.map((line) => green(`    ${clean(line)}`)),
    ...(widens === undefined ? [] : [yellow(`    this admits ${clean(widens)}`)]),
  ];
}
