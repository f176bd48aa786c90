import { existsSync } from "node:fs";
import type { Command } from "commander";
import { findingsOf } from "../check/all-checks.ts";
import { NO_AGENT } from "../check/checks/agent.ts";
import { countsOf, type Finding } from "../check/finding.ts";
import { readFacts } from "../check/read-facts.ts";
import { reportText } from "../check/report.ts";
import { EXIT_FAILED } from "../failure.ts";
import { print } from "../output.ts";
import { AGENT_CONFIG } from "../service/unit-files.ts";
import {
  type AddCommand,
  examples,
  type OutputOptions,
  type Surroundings,
  withOutput,
} from "../surroundings.ts";

interface CheckOptions extends OutputOptions {
  readonly stateDir?: string;
  readonly adminSocket?: string;
  readonly config?: string;
  readonly token?: string;
  readonly problems?: true;
}

export const addCheck: AddCommand = (program, around) => {
  const command: Command = program
    .command("check")
    .summary("what is wrong with this host, and what to do")
    .description(
      "Looks at this host, its kernel, firewall, clock, names and keys, its agent and its config server; changes nothing, takes at most 3 s. Each finding that is not ok says what to do. Exit code 1 if there is an error. Also on a host that has not joined, and without root: what could not be looked at is told.",
    )
    .option(
      "--token <token>",
      "before joining: also look at the config server of this token (- for standard input)",
    )
    .option("--problems", "tell only what is not ok, and counts")
    .option("--state-dir <dir>", "of an agent that runs with another one")
    .option("--admin-socket <path>", "of an agent that runs with another one")
    .option(
      "--config <file>",
      `options of the agent (default: what runs here, else ${AGENT_CONFIG})`,
    )
    .action((options: CheckOptions) => check(around, options));
  withOutput(command);
  examples(
    command,
    "meshctl check",
    "meshctl check --token im1.eyJ...",
    "meshctl check --problems",
    "meshctl check -o json",
  );
};

async function check(around: Surroundings, options: CheckOptions): Promise<void> {
  const { terminal } = around;
  const token = options.token === "-" ? (await terminal.readStdin()).trim() : options.token;
  const findings = await findingsHere(around, wordsOf(options), token);
  const counts = countsOf(findings);
  if (counts.error > 0) around.setExitCode(EXIT_FAILED);
  const isTable = options.output === "table";
  if (!isTable)
    return print(terminal, options.output, { findings, counts }, () => ({
      columns: [],
      rows: [],
      empty: "",
    }));
  const onlyProblems = options.problems === true;
  terminal.out(await reportText(findings, { onlyProblems, isColour: terminal.isColour }));
}

/** As options of `meshctl agent`. */
const wordsOf = ({ stateDir, adminSocket, config }: CheckOptions): readonly string[] => [
  ...(config === undefined ? [] : ["--config", config]),
  ...(stateDir === undefined ? [] : ["--state-dir", stateDir]),
  ...(adminSocket === undefined ? [] : ["--admin-socket", adminSocket]),
];

async function findingsHere(
  around: Pick<Surroundings, "programs" | "terminal">,
  typed: readonly string[],
  token: string | undefined,
): Promise<readonly Finding[]> {
  const isInstalled = typed.length === 0 && existsSync(AGENT_CONFIG);
  const words = isInstalled ? ["--config", AGENT_CONFIG] : typed;
  const facts = await readFacts(around, { words, ...(token === undefined ? {} : { token }) });
  return findingsOf(facts);
}

/** After joining: only what is not ok, and a line of counts. `agent`: whether one should be running by now. A check that itself
 *  fails takes nothing back of the join. */
export async function tellProblems(
  around: Pick<Surroundings, "programs" | "terminal">,
  typed: readonly string[],
  agent: "here" | "to_come",
): Promise<void> {
  const { terminal } = around;
  try {
    const all = await findingsHere(around, typed, undefined);
    const findings = agent === "here" ? all : all.filter(({ check }) => check !== NO_AGENT);
    const text = await reportText(findings, { onlyProblems: true, isColour: terminal.isColour });
    terminal.err(`this host was checked: ${text}`);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    terminal.err(`this host has joined, but could not be checked: ${why}; try \`meshctl check\``);
  }
}
