import { agentHelp, checkAgentConfig, parseAgentOptions } from "../agent-options.ts";
import { usage } from "../failure.ts";
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
      const [first, file] = words;
      if (words.includes("--help") || words.includes("-h")) terminal.out(agentHelp());
      else if (first === "--check-config") {
        if (file === undefined || words.length > 2)
          throw usage("--check-config FILE stands alone", "meshctl agent --check-config FILE");
        checkAgentConfig(file);
        terminal.out(`${file} is a valid file of options`);
      } else await programs.agent(parseAgentOptions(words));
    });
};
