import { parseDuration } from "../../agent/api/duration.ts";
import type { ApplyResponse } from "../../agent/api/operator-api.ts";
import { usage } from "../failure.ts";
import { print } from "../output.ts";
import { readValidFiles, tellProblems } from "../resource-files.ts";
import { Refusal } from "../server-client.ts";
import {
  type AddCommand,
  clientOf,
  examples,
  type FileOptions,
  type OutputOptions,
  type ServerOptions,
  type Surroundings,
  withFiles,
  withOutput,
  withServer,
} from "../surroundings.ts";
import { waitForAgents } from "../wait-for-agents.ts";

const DEFAULT_WAIT_MS = 30_000;

interface ApplyOptions extends FileOptions, OutputOptions, ServerOptions {
  readonly dryRun?: true;
  /** True: with the default bound. */
  readonly wait?: number | true;
}

export const addApply: AddCommand = (program, around) => {
  const command = program
    .command("apply")
    .summary("create or change resources")
    .description(
      "Creates or changes resources from files, all of them or none. What is wrong is told with file and line before anything is sent.",
    )
    .option(
      "--dry-run",
      "let the server check everything and tell what would change; store nothing",
    )
    .option(
      "--wait [duration]",
      "return when all connected agents run it (default bound: 30s)",
      parseWait,
    )
    .action((options: ApplyOptions) => apply(around, options));
  withServer(withOutput(withFiles(command)));
  examples(
    command,
    "meshctl apply -f canary.yaml --wait",
    "meshctl apply -f mesh/ --dry-run",
    "cat policy.yaml | meshctl apply -f -",
  );
};

function parseWait(text: string): number {
  const parsed = parseDuration(text);
  if (!parsed.ok) throw usage(`--wait ${parsed.error}`);
  return parsed.value;
}

async function apply(around: Surroundings, options: ApplyOptions): Promise<void> {
  const { terminal } = around;
  const { resources, locate } = await readValidFiles(options.filename, terminal);
  const client = clientOf(around, options);
  const isDryRun = options.dryRun === true;
  const applied = await client.apply(resources, isDryRun).catch((error: unknown) => {
    throw error instanceof Refusal ? error.located(locate) : error;
  });
  await tellProblems(applied.warnings.map(locate), terminal);
  await print(terminal, options.output, applied, () => tableOf(applied, isDryRun));
  if (isDryRun || options.wait === undefined) return;
  const timeoutMs = options.wait === true ? DEFAULT_WAIT_MS : options.wait;
  const { agents, tookMs, away } = await waitForAgents(
    client,
    applied.version,
    timeoutMs,
    terminal,
  );
  terminal.err(
    `${agents} connected ${agents === 1 ? "agent runs" : "agents run"} version ${applied.version} after ${tookMs} ms`,
  );
  if (away.length > 0)
    terminal.err(`not connected, they get it when they are back: ${away.join(", ")}`);
}

const tableOf = ({ results }: ApplyResponse, isDryRun: boolean) => ({
  columns: ["kind", "namespace", "name", "change"],
  rows: results.map(({ ref, change }) => {
    const [, kind = "", namespace = "", name = ""] = ref.split("/");
    return [kind, namespace, name, isDryRun ? `${change} (dry run)` : change];
  }),
  empty: "nothing to do",
});
