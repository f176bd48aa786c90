// Findings as people read them: by group, what to do under each, and a line of counts.
import { colours } from "../output.ts";
import { countsOf, type Finding, GROUPS, type Level } from "./finding.ts";

const WORDS: Readonly<Record<Level, string>> = { ok: "ok", warning: "warning", error: "ERROR" };

/** `onlyProblems`: what is ok is counted and not told. */
export async function reportText(
  findings: readonly Finding[],
  { onlyProblems, isColour }: { readonly onlyProblems: boolean; readonly isColour: boolean },
): Promise<string> {
  const { bold, green, yellow, red } = await colours(isColour);
  const paint = { ok: green, warning: yellow, error: red };
  const told = onlyProblems ? findings.filter(({ level }) => level !== "ok") : findings;
  const lines = GROUPS.flatMap((group) => {
    const ofGroup = told.filter((one) => one.group === group);
    if (ofGroup.length === 0) return [];
    return [
      bold(group),
      ...ofGroup.flatMap(({ level, found, next }) => [
        `  ${paint[level](WORDS[level].padEnd(8))}${clean(found)}`,
        ...(next === undefined ? [] : [`  ${" ".repeat(8)}next: ${clean(next)}`]),
      ]),
    ];
  });
  const counts = countsText(findings);
  return (onlyProblems ? [counts, ...lines] : [...lines, counts]).join("\n");
}

export function countsText(findings: readonly Finding[]): string {
  const { ok, warning, error } = countsOf(findings);
  return `${ok} ok, ${warning} ${warning === 1 ? "warning" : "warnings"}, ${error} ${error === 1 ? "error" : "errors"}`;
}

/** Command lines and rules of others must not steer the reader's terminal. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
const clean = (text: string): string => text.replaceAll(/[\x00-\x1f\x7f-\x9f]/g, " ");
