// `meshctl demo`: its words. What they start is in session.ts.
import { Command, InvalidArgumentError, Option } from "commander";
import { STEP_NUMBERS } from "./checks/run-checks.ts";
import { servePart } from "./parts/parts.ts";
import { runSession, type SessionOptions } from "./session.ts";

interface DemoOptions {
  readonly check?: boolean;
  readonly part?: readonly number[];
  readonly keep?: boolean;
  readonly registry: SessionOptions["registry"];
  readonly runtime: SessionOptions["runtime"];
  readonly slack: number;
  readonly powerLosses: number;
  readonly consulAway: number;
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
      new Option(
        "--part <n[,m]>",
        `with --check: only these steps (${STEP_NUMBERS.join(", ")})`,
      ).argParser(parseParts),
    )
    .addOption(
      new Option("--slack <n>", "with --check: times by which a figure may miss its limit")
        .argParser(parseSlack)
        .default(1)
        .hideHelp(),
    )
    .addOption(
      new Option("--power-losses <n>", "with --check: how often a host loses power in step 6")
        .argParser(parseUpTo(100))
        .default(1),
    )
    .addOption(
      new Option("--consul-away <seconds>", "with --check: how long step 12's Consul stays dead")
        .argParser(parseUpTo(600))
        .default(1),
    )
    .addOption(
      new Option(
        "--registry <where>",
        "keep the mesh's state here; step 12 of the check has its own",
      )
        .choices(["embedded", "consul"])
        .default("embedded"),
    )
    .addOption(
      new Option("--runtime <name>", "what config server and agents run under; see record 32")
        .choices(["bun", "deno"])
        .default("bun"),
    )
    .option("--keep", "after a failure leave everything running, until Ctrl-C")
    .addHelpText(
      "after",
      "\nExamples:\n  meshctl demo\n  meshctl demo --check\n  meshctl demo --check --part 3,5\n  meshctl demo --registry consul",
    )
    .action(async (given: DemoOptions) => {
      const { check = false, part, keep = false, slack, registry, runtime } = given;
      const effort = { powerLosses: given.powerLosses, consulAwaySeconds: given.consulAway };
      const steps =
        part ?? (registry === "consul" ? STEP_NUMBERS.filter((n) => n !== 12) : STEP_NUMBERS);
      const options: SessionOptions = {
        isCheck: check,
        steps,
        slack,
        effort,
        registry,
        runtime,
        keepsFailed: keep,
      };
      code = await runSession(options);
    });
  command
    .command("part <name> <input>", { hidden: true })
    .action((name: string, input: string) => servePart(name, input));
  await command.parseAsync([...args], { from: "user" });
  return code;
}

function parseParts(text: string): readonly number[] {
  const parts = text.split(",").map(Number);
  if (parts.some((part) => !STEP_NUMBERS.includes(part)))
    throw new InvalidArgumentError(`It takes ${STEP_NUMBERS.join(", ")}, as in --part 2,3.`);
  return parts;
}

const parseUpTo =
  (most: number) =>
  (text: string): number => {
    const number = Number(text);
    if (!(Number.isInteger(number) && number >= 1 && number <= most))
      throw new InvalidArgumentError(`It takes a whole number from 1 to ${most}.`);
    return number;
  };

/** A shared machine has moments in which nothing is fast: tests there give figures room, and say so by this. */
function parseSlack(text: string): number {
  const slack = Number(text);
  if (!(slack >= 1 && slack <= 10))
    throw new InvalidArgumentError("It takes a number from 1 to 10.");
  return slack;
}
