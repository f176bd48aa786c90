// `meshctl demo`: its words. What they start is in session.ts.
import { Command, InvalidArgumentError, Option } from "commander";
import { servePart } from "./parts/parts.ts";
import { runSession, type SessionOptions } from "./session.ts";

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
    .action(async ({ check = false, part = ALL_STEPS, keep = false }: DemoOptions) => {
      const options: SessionOptions = { isCheck: check, steps: part, keepsFailed: keep };
      code = await runSession(options);
    });
  command
    .command("part <name> <input>", { hidden: true })
    .action((name: string, input: string) => servePart(name, input));
  await command.parseAsync([...args], { from: "user" });
  return code;
}

const ALL_STEPS = [1, 2, 3, 4, 5];

function parseParts(text: string): readonly number[] {
  const parts = text.split(",").map(Number);
  if (parts.some((part) => !Number.isInteger(part) || part < 1 || part > 5))
    throw new InvalidArgumentError("It takes numbers from 1 to 5, as in --part 2,3.");
  return parts;
}
