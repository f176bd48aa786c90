import { parseAgentOptions, STATE_DIR } from "../agent-options.ts";
import { CommandFailure } from "../failure.ts";
import { type AddCommand, examples } from "../surroundings.ts";

export const addJoin: AddCommand = (program, { terminal, programs }) => {
  const command = program
    .command("join")
    .summary("make this host a member of the mesh")
    .description(
      "Makes this host a member by a token of `meshctl token create`: proves the server by the token's CA hash, makes the host's key here and gets its first certificate. Then `meshctl agent` runs.",
    )
    .argument("<token>", "the token; - for standard input")
    .option("--state-dir <dir>", "where the host's keys and state are kept", STATE_DIR)
    .option("--run", "then go on as the host's agent, until stopped")
    .action(async (word: string, { stateDir, run }: { stateDir: string; run?: true }) => {
      const token = (word === "-" ? await terminal.readStdin() : word).trim();
      const joined = await programs.join(token, stateDir);
      if (!joined.ok)
        throw new CommandFailure(joined.error.message, joined.error.next || undefined);
      const { host, trustDomain } = joined.value;
      terminal.out(`${host} has joined ${trustDomain}`);
      if (run === true) {
        await programs.agent(parseAgentOptions(["--state-dir", stateDir]));
        return;
      }
      const where = stateDir === STATE_DIR ? "" : ` --state-dir ${stateDir}`;
      terminal.err(`next: meshctl agent${where}`);
    });
  examples(
    command,
    "meshctl join im1.eyJ...",
    "meshctl join - < token",
    "meshctl join im1.eyJ... --run",
  );
};
