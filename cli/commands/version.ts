import { print } from "../output.ts";
import { type AddCommand, examples, type OutputOptions, withOutput } from "../surroundings.ts";
import { COMMIT, VERSION } from "../version.ts";

export const addVersion: AddCommand = (program, { terminal }) => {
  const command = program
    .command("version")
    .description("Shows which version this is.")
    .action(({ output }: OutputOptions) =>
      print(terminal, output, { version: VERSION, commit: COMMIT }, () => ({
        columns: [],
        rows: [],
        empty: `meshctl ${VERSION} (${COMMIT})`,
      })),
    );
  withOutput(command);
  examples(command, "meshctl version", "meshctl version -o json");
};
