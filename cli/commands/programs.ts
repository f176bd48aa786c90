// Commands that are programs of their own: their words go on as they are, and each knows its own --help.
import type { Program, ProgramName } from "../programs.ts";
import type { AddCommand } from "../surroundings.ts";

const ABOUT: Readonly<Record<ProgramName, string>> = {
  demo: "run a whole mesh on this machine to try it",
  agent: "run this host's agent",
  server: "run the config server",
  join: "make this host a member of the mesh, by a join token",
  redirect: "plan, apply, compare or remove this host's redirect rules",
};
const NAMES: readonly ProgramName[] = ["demo", "agent", "server", "join", "redirect"];

export const addPrograms: AddCommand = (program, around) => {
  for (const name of NAMES) {
    const run: Program = around.programs[name];
    program
      .command(name)
      .summary(ABOUT[name])
      .helpOption(false)
      .allowUnknownOption()
      .argument("[words...]")
      .action(async (words: string[]) => around.setExitCode(await run(words)));
  }
};
