// What commands print: a table for people, JSON or YAML for programs. Packages load when they are used.
import { usage } from "./failure.ts";
import type { Terminal } from "./terminal.ts";

export const FORMATS = ["table", "json", "yaml"] as const;
export type Format = (typeof FORMATS)[number];

export function parseFormat(text: string): Format {
  const found = FORMATS.find((format) => format === text);
  if (found === undefined)
    throw usage(`${JSON.stringify(text)} is no output format; known are ${FORMATS.join(", ")}`);
  return found;
}

export interface Table {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
  /** Colour of a row; undefined: none. */
  readonly paint?: (row: number) => ((cell: string) => string) | undefined;
  /** Printed instead of a table without rows. */
  readonly empty: string;
}

/** `value` is what programs get, `table` what people do. */
export async function print(
  terminal: Terminal,
  format: Format,
  value: unknown,
  table: () => Table,
): Promise<void> {
  if (format === "json") terminal.out(JSON.stringify(value, undefined, 2));
  else if (format === "yaml") terminal.out((await yamlText(value)).trimEnd());
  else terminal.out(await tableText(table(), terminal.isColour));
}

export async function yamlText(value: unknown): Promise<string> {
  const { stringify } = await import("./yaml-package.ts");
  return stringify(value, { lineWidth: 0, aliasDuplicateObjects: false });
}

const NO_BORDERS = {
  top: "",
  "top-mid": "",
  "top-left": "",
  "top-right": "",
  bottom: "",
  "bottom-mid": "",
  "bottom-left": "",
  "bottom-right": "",
  left: "",
  "left-mid": "",
  mid: "",
  "mid-mid": "",
  right: "",
  "right-mid": "",
  middle: "  ",
};

export async function tableText(table: Table, isColour: boolean): Promise<string> {
  if (table.rows.length === 0) return table.empty;
  const [{ CliTable }, { bold }] = await Promise.all([
    import("./table-package.ts"),
    colours(isColour),
  ]);
  const drawn = new CliTable({
    // None for a list of facts.
    head: table.columns.map((name) => bold(name.toUpperCase())),
    chars: NO_BORDERS,
    style: { "padding-left": 0, "padding-right": 0, head: [], border: [] },
  });
  drawn.push(...table.rows.map((row, i) => row.map(clean).map(table.paint?.(i) ?? plain)));
  return drawn
    .toString()
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n");
}

const plain = (text: string): string => text;

/** What others wrote must not steer the reader's terminal (escape sequences), nor break the table's lines. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
export const clean = (text: string): string => text.replaceAll(/[\x00-\x1f\x7f-\x9f]/g, " ");

export async function colours(isColour: boolean) {
  const { picocolors } = await import("./colour-package.ts");
  return picocolors.createColors(isColour);
}

/** `3d`, `4h`, `12m`, `40s`: to compare at a glance. */
export function shortDuration(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)}m`;
  if (seconds < 172_800) return `${Math.round(seconds / 3600)}h`;
  return `${Math.round(seconds / 86_400)}d`;
}
