import { agentHelp, parseAgentOptions } from "../agent-options.ts";
import type { AddCommand } from "../surroundings.ts";

/** main.ts starts `meshctl agent` without loading this; it stands here for --help and completion. */
export const addAgent: AddCommand = (program, { terminal, programs }) => {
  program
    .command("agent")
    .summary("run this host's agent")
    .helpOption(false)
    .allowUnknownOption()
    .argument("[options...]")
    .action(async (words: string[]) => {
      if (words.includes("--help") || words.includes("-h")) terminal.out(agentHelp());
      else await programs.agent(parseAgentOptions(words));
    });
};
