import { agentOptionLines, parseAgentOptions } from "../agent-options.ts";
import { CommandFailure, EXIT_FAILED, usage } from "../failure.ts";
import type { RedirectVerb } from "../programs.ts";
import type { AddCommand, Surroundings } from "../surroundings.ts";

const VERBS: readonly { readonly verb: RedirectVerb; readonly prose: string }[] = [
  {
    verb: "plan",
    prose: "print the rules, sets and routes that this host should have; change nothing",
  },
  { verb: "apply", prose: "make it so: all of it or nothing" },
  { verb: "status", prose: "compare the host with the plan; exit code 1 if they differ" },
  { verb: "remove", prose: "take away everything of ours, and nothing else" },
];

export const addRedirect: AddCommand = (program, around) => {
  const redirect = program
    .command("redirect")
    .description(
      "This host's redirect rules. The agent keeps them itself; this is to look, and for repairs.",
    );
  for (const { verb, prose } of VERBS) {
    redirect
      .command(verb)
      .description(prose)
      .helpOption(false)
      .allowUnknownOption()
      .argument("[options...]")
      .action((words: string[]) =>
        words.includes("--help") || words.includes("-h")
          ? around.terminal.out(helpOf(verb, prose))
          : run(around, verb, words),
      );
  }
};

const helpOf = (verb: RedirectVerb, prose: string): string =>
  [
    `Usage: meshctl redirect ${verb} [options]`,
    "",
    `${prose}. Give the options that the agent runs with.`,
    "",
    "Options:",
    ...(verb === "apply"
      ? [
          `  ${"--boot".padEnd(28)} the host's network is not up yet: reckon with IPv6 addresses to come`,
        ]
      : []),
    ...agentOptionLines(),
    "",
    "Examples:",
    `  meshctl redirect ${verb}`,
    `  meshctl redirect ${verb} --state-dir /srv/ironmesh --redirect nft`,
  ].join("\n");

async function run(
  { terminal, programs, setExitCode }: Surroundings,
  verb: RedirectVerb,
  words: readonly string[],
): Promise<void> {
  const isBoot = verb === "apply" && words.includes("--boot");
  const options = parseAgentOptions(isBoot ? words.filter((word) => word !== "--boot") : words);
  if (options.redirect === "none")
    throw usage("--redirect none: there is nothing to do", "give auto, iptables or nft");
  const outcome = await programs.redirect(verb, options, isBoot);
  switch (outcome.is) {
    case "failed":
      throw new CommandFailure(outcome.reason);
    case "done":
      terminal.out(outcome.text.trimEnd());
      return;
    case "differences":
      for (const line of outcome.lines) terminal.out(line);
      setExitCode(EXIT_FAILED);
  }
}
