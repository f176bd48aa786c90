// The command line as a whole: which commands there are, and the one place where what failed becomes words and an exit code.
// 0: done. 1: failed, or differences found. 2: asked wrongly.
import { Command, CommanderError } from "commander";
import { addAgent } from "./commands/agent.ts";
import { addApply } from "./commands/apply.ts";
import { addCheck } from "./commands/check.ts";
import { addCompletion } from "./commands/completion.ts";
import { addConfig } from "./commands/config.ts";
import { addDashboard } from "./commands/dashboard.ts";
import { addDelete } from "./commands/delete.ts";
import { addDemo } from "./commands/demo.ts";
import { addDiff } from "./commands/diff.ts";
import { addEdges } from "./commands/edges.ts";
import { addExpel } from "./commands/expel.ts";
import { addExplain } from "./commands/explain.ts";
import { addGet } from "./commands/get.ts";
import { addJoin } from "./commands/join.ts";
import { addLeave } from "./commands/leave.ts";
import { addLogin } from "./commands/login.ts";
import { addMembers } from "./commands/members.ts";
import { addRedirect } from "./commands/redirect.ts";
import { addRenew } from "./commands/renew.ts";
import { addServer } from "./commands/server.ts";
import { addStat } from "./commands/stat.ts";
import { addStatus } from "./commands/status.ts";
import { addToken } from "./commands/token.ts";
import { addTop } from "./commands/top.ts";
import { addUpgrade } from "./commands/upgrade.ts";
import { addValidate } from "./commands/validate.ts";
import { addVersion } from "./commands/version.ts";
import { CommandFailure, EXIT_FAILED, EXIT_USAGE } from "./failure.ts";
import { colours } from "./output.ts";
import type { Programs } from "./programs.ts";
import type { AddCommand, Surroundings } from "./surroundings.ts";
import type { Terminal } from "./terminal.ts";
import { COMMIT, VERSION } from "./version.ts";

const COMMANDS: readonly AddCommand[] = [
  addDemo,
  addAgent,
  addServer,
  addJoin,
  addLeave,
  addExpel,
  addLogin,
  addApply,
  addGet,
  addDelete,
  addDiff,
  addValidate,
  addStatus,
  addExplain,
  addCheck,
  addEdges,
  addStat,
  addTop,
  addDashboard,
  addMembers,
  addConfig,
  addRedirect,
  addRenew,
  addUpgrade,
  addToken,
  addVersion,
  addCompletion,
];

/** Words as typed after `meshctl`; resolves to the exit code. */
export async function runCli(
  words: readonly string[],
  terminal: Terminal,
  programs: Programs,
): Promise<number> {
  let exitCode = 0;
  const around: Surroundings = {
    terminal,
    programs,
    setExitCode: (code) => {
      exitCode = code;
    },
  };
  try {
    await programOf(around).parseAsync([...words], { from: "user" });
    return exitCode;
  } catch (error) {
    return tellFailure(error, terminal);
  }
}

function programOf(around: Surroundings): Command {
  const { terminal } = around;
  const program = new Command("meshctl")
    .description("Ironmesh: a service mesh for VMs and bare metal, in Istio's resource language.")
    .version(`meshctl ${VERSION} (${COMMIT})`, "-V, --version")
    .showHelpAfterError("(--help shows what there is)")
    .addHelpText(
      "after",
      "\nExamples:\n  meshctl demo\n  meshctl apply -f canary.yaml --wait\n  meshctl status\n  meshctl config routes",
    );
  for (const add of COMMANDS) add(program, around);
  for (const command of treeOf(program)) {
    command.exitOverride().configureOutput({
      writeOut: (text) => terminal.out(text.trimEnd()),
      writeErr: (text) => terminal.err(text.trimEnd()),
      getOutHasColors: () => terminal.isColour,
      getErrHasColors: () => terminal.isColour,
    });
  }
  return program;
}

const treeOf = (command: Command): Command[] => [command, ...command.commands.flatMap(treeOf)];

/** The one catch of a command. */
export async function tellFailure(error: unknown, terminal: Terminal): Promise<number> {
  // commander has said what is wrong; its own code is 1, ours for wrong usage 2.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
  const { red } = await colours(terminal.isColour);
  if (error instanceof CommandFailure) {
    terminal.err(`${red("error:")} ${error.message}`);
    if (error.next !== undefined) terminal.err(`${error.next}`);
    return error.exitCode;
  }
  if (error instanceof Error && !isBug(error)) {
    terminal.err(`${red("error:")} ${error.message}`);
    if ("next" in error) terminal.err(String(error.next));
  } else terminal.err(`${red("bug:")} ${error instanceof Error ? error.stack : String(error)}`);
  return EXIT_FAILED;
}

/** A plain Error of the agent or the server says in words what is wrong with this host, and so does one that tells what to do
 *  next; TypeErrors and their like are ours. */
const isBug = (error: Error): boolean =>
  error.constructor !== Error && !("code" in error) && !("next" in error);
