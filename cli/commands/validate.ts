import type { Problem } from "../../agent/base/result.ts";
import { EXIT_FAILED } from "../failure.ts";
import { print } from "../output.ts";
import { readFiles, tellProblems } from "../resource-files.ts";
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

interface ValidateOptions extends FileOptions, OutputOptions, ServerOptions {
  readonly server?: true;
}

export const addValidate: AddCommand = (program, around) => {
  const command = program
    .command("validate")
    .summary("check files")
    .description(
      "Checks resources in files without a server, every problem at once; with --server it is also compiled against what the server holds, as the agents would.",
    )
    .option("--server", "ask the config server too")
    .action((options: ValidateOptions) => validate(around, options));
  withServer(withOutput(withFiles(command)));
  examples(command, "meshctl validate -f mesh/", "meshctl validate -f canary.yaml --server");
};

async function validate(around: Surroundings, options: ValidateOptions): Promise<void> {
  const { terminal } = around;
  const { resources, problems: local, locate } = await readFiles(options.filename, terminal);
  const problems: Problem[] = [...local];
  if (options.server === true && !hasErrors(problems))
    problems.push(...(await clientOf(around, options).validate(resources)).problems.map(locate));
  if (hasErrors(problems)) around.setExitCode(EXIT_FAILED);
  if (options.output === "table") await tellProblems(problems, terminal);
  const isValid = !hasErrors(problems);
  await print(terminal, options.output, { isValid, problems }, () => ({
    columns: [],
    rows: [],
    empty: isValid
      ? `${resources.length} ${resources.length === 1 ? "resource is" : "resources are"} valid`
      : "not valid",
  }));
}

const hasErrors = (problems: readonly Problem[]): boolean =>
  problems.some((p) => p.severity === "error");
