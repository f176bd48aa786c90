import { existsSync } from "node:fs";
import { agentOptionLines, parseAgentOptions } from "../agent-options.ts";
import { CommandFailure } from "../failure.ts";
import { sayFarewell } from "../service/farewell.ts";
import { removeFiles, stopAgent } from "../service/remove.ts";
import { isSystemdHost } from "../service/system.ts";
import { AGENT_CONFIG } from "../service/unit-files.ts";
import type { AddCommand, Surroundings } from "../surroundings.ts";
import type { Terminal } from "../terminal.ts";

export const addLeave: AddCommand = (program, around) => {
  program
    .command("leave")
    .summary("take this host out of the mesh")
    .helpOption(false)
    .allowUnknownOption()
    .argument("[options...]")
    .action((words: string[]) =>
      words.includes("--help") || words.includes("-h")
        ? around.terminal.out(help())
        : leave(around, words),
    );
};

const help = (): string =>
  [
    "Usage: meshctl leave [--purge] [options]",
    "",
    "Stops this host's agent, clears the redirect, tells the config server, which forgets the host and frees its name, and on a systemd",
    "host removes the units. Configuration stays, for a host that joins again; give the options that the agent ran with.",
    "",
    "Options:",
    `  ${"--purge".padEnd(28)} also remove keys, configuration, the agent's user and the installed executable`,
    ...agentOptionLines(),
    "",
    "Examples:",
    "  meshctl leave",
    "  meshctl leave --purge",
    "  meshctl leave --purge --state-dir /srv/ironmesh --admin-socket /srv/ironmesh/admin.sock",
  ].join("\n");

async function leave(
  { terminal, programs }: Surroundings,
  words: readonly string[],
): Promise<void> {
  const isPurged = words.includes("--purge");
  const typed = words.filter((word) => word !== "--purge");
  const options = parseAgentOptions([...installedConfig(typed), ...typed]);
  const wasRunning = await stopAgent(options, terminal);
  terminal.out(wasRunning ? "the agent is stopped" : "no agent runs here");
  const outcome = await programs.redirect("remove", options);
  if (outcome.is === "failed")
    throw new CommandFailure(
      `the redirect is still there: ${outcome.reason}`,
      "mend it, then `meshctl leave` again: nothing else was removed",
    );
  terminal.out("the redirect is cleared");
  await tellServer(terminal, options.stateDir);
  const removed = removeFiles(options, isPurged);
  for (const what of removed) terminal.out(`removed ${what}`);
  if (!isPurged && existsSync(options.stateDir))
    terminal.err(`${options.stateDir} stays: it holds the host's old keys; --purge removes it`);
}

/** After the agent has stopped, so that nobody asks in between; before its keys are gone. */
async function tellServer(terminal: Terminal, stateDir: string): Promise<void> {
  const farewell = await sayFarewell(stateDir);
  if (farewell.is === "told") terminal.out(`the config server has forgotten ${farewell.host}`);
  if (farewell.is !== "untold") return;
  terminal.err(`the config server could not be told that this host leaves: ${farewell.why}`);
  terminal.err(
    `next: if \`meshctl status\` still lists it, an operator runs: meshctl expel ${farewell.host}`,
  );
}

/** On a systemd host the agent's options are in its file. */
const installedConfig = (words: readonly string[]): readonly string[] =>
  isSystemdHost() && existsSync(AGENT_CONFIG) && !words.some((word) => word.startsWith("--config"))
    ? ["--config", AGENT_CONFIG]
    : [];
