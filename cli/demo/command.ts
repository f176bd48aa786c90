// `meshctl demo`: makes the lab, keeps a gentle load running until Ctrl-C, and takes everything down again; with --check runs the
// story unattended instead.
import { Command, InvalidArgumentError, Option } from "commander";
import { runChecks } from "./checks/run-checks.ts";
import { rememberContexts } from "./context.ts";
import { Demo } from "./demo.ts";
import { meshctlCommand } from "./executable.ts";
import { RUN_DIRECTORY } from "./layout.ts";
import { servePart } from "./parts/parts.ts";
import { Progress } from "./progress.ts";
import { missingRequirements } from "./requirements.ts";
import { runningDemo } from "./run-directory.ts";
import { tour } from "./tour.ts";

const CHECK_CONTEXTS = `${RUN_DIRECTORY}/contexts.json`;

interface DemoOptions {
  readonly check?: boolean;
  readonly part?: readonly number[];
  readonly keep?: boolean;
}

/** `args`: the words behind `meshctl demo`. Resolves to the exit code. */
export async function demo(args: readonly string[]): Promise<number> {
  let code = 0;
  const command = new Command("meshctl demo")
    .description(
      "Run five hosts, a bookstore and a mesh on this machine (Linux, root), until Ctrl-C.",
    )
    .option("--check", "run the demo's story unattended and say what holds")
    .addOption(
      new Option("--part <n[,m]>", "with --check: only these steps, 1 to 5").argParser(parseParts),
    )
    .option("--keep", "after a failure leave everything running, until Ctrl-C")
    .addHelpText(
      "after",
      "\nExamples:\n  meshctl demo\n  meshctl demo --check\n  meshctl demo --check --part 3,5",
    )
    .action(async (options: DemoOptions) => {
      code = await runDemo(options);
    });
  command
    .command("part <name> <input>", { hidden: true })
    .action((name: string, input: string) => servePart(name, input));
  await command.parseAsync([...args], { from: "user" });
  return code;
}

function parseParts(text: string): readonly number[] {
  const parts = text.split(",").map(Number);
  if (parts.some((part) => !Number.isInteger(part) || part < 1 || part > 5))
    throw new InvalidArgumentError("It takes numbers from 1 to 5, as in --part 2,3.");
  return parts;
}

async function runDemo(options: DemoOptions): Promise<number> {
  const missing = await missingRequirements();
  const other = runningDemo();
  if (other !== undefined)
    missing.push(
      `A demo already runs here (process ${other}): end it with Ctrl-C or kill ${other}.`,
    );
  if (missing.length > 0) {
    process.stderr.write(`${missing.join("\n")}\n`);
    return 1;
  }
  const progress = new Progress(process.stdout);
  const isCheck = options.check === true;
  // The check must not touch the operator's own file, the tour has to.
  const demo = new Demo(meshctlCommand(), progress, isCheck ? CHECK_CONTEXTS : undefined);
  const restoreContexts = isCheck ? () => undefined : rememberContexts();
  const { promise: interrupted, resolve: interrupt } = Promise.withResolvers<"interrupted">();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
    process.on(signal, () => interrupt("interrupted"));
  const outcome = Promise.race([
    isCheck
      ? runChecks(demo, progress, options.part ?? [1, 2, 3, 4, 5])
      : tour(demo, progress, interrupted),
    interrupted.then(() => (isCheck ? 130 : 0)),
  ]);
  try {
    const code = await outcome.catch((cause: unknown) => {
      progress.line(`The demo failed: ${cause instanceof Error ? cause.message : String(cause)}`);
      demo.keepLogs();
      return 1;
    });
    if (code === 1 && options.keep === true) {
      progress.line("Everything is left running (--keep); Ctrl-C removes it.");
      await interrupted;
    }
    return code;
  } finally {
    progress.step("removing every namespace, rule and process");
    restoreContexts();
    await demo.stop();
    progress.clear();
  }
}
