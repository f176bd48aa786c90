import { canonicalJson, refOf, titleOf } from "../../agent/api/resource.ts";
import type { ResourceDocument } from "../../agent/api/session.ts";
import { EXIT_FAILED } from "../failure.ts";
import { lineDiff } from "../line-diff.ts";
import { colours, yamlText } from "../output.ts";
import { readValidFiles } from "../resource-files.ts";
import {
  type AddCommand,
  clientOf,
  examples,
  type FileOptions,
  type ServerOptions,
  type Surroundings,
  withFiles,
  withServer,
} from "../surroundings.ts";

type DiffOptions = FileOptions & ServerOptions;

export const addDiff: AddCommand = (program, around) => {
  const command = program
    .command("diff")
    .summary("what apply would change")
    .description(
      "Shows how resources in files differ from those the server holds. Exit code 0: not at all; 1: they differ (or it failed).",
    )
    .action((options: DiffOptions) => diff(around, options));
  withServer(withFiles(command));
  examples(command, "meshctl diff -f mesh/", "meshctl diff -f canary.yaml && echo up to date");
};

async function diff(around: Surroundings, options: DiffOptions): Promise<void> {
  const { terminal } = around;
  const { resources: wanted } = await readValidFiles(options.filename, terminal);
  const { resources } = await clientOf(around, options).list({});
  const stored = new Map(resources.map((doc) => [refOf(doc), doc]));
  const { red, green, bold } = await colours(terminal.isColour);
  const paint = (line: string): string =>
    line.startsWith("-") ? red(line) : line.startsWith("+") ? green(line) : line;
  for (const doc of wanted) {
    const before = stored.get(refOf(doc));
    if (before !== undefined && canonicalJson(before) === canonicalJson(doc)) continue;
    around.setExitCode(EXIT_FAILED);
    terminal.out(bold(`${titleOf(doc)}${before === undefined ? " (new)" : ""}`));
    const lines = lineDiff(before === undefined ? "" : await sorted(before), await sorted(doc));
    for (const line of lines) terminal.out(paint(line));
  }
}

/** In one order of fields, so that only what means something differs. */
const sorted = (doc: ResourceDocument): Promise<string> => yamlText(JSON.parse(canonicalJson(doc)));
