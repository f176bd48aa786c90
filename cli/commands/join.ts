import { existsSync } from "node:fs";
import { AdminClient } from "../admin-client.ts";
import { parseAgentOptions, STATE_DIR } from "../agent-options.ts";
import { CommandFailure } from "../failure.ts";
import { installService, refuseInstall } from "../service/install.ts";
import { isRoot, isSystemdHost } from "../service/system.ts";
import { AGENT_CONFIG, AGENT_UNIT } from "../service/unit-files.ts";
import { type AddCommand, examples, type Surroundings } from "../surroundings.ts";
import { tellProblems } from "./check.ts";

interface Given {
  readonly stateDir: string;
  readonly run?: true;
  readonly service: boolean;
  readonly check: boolean;
}

/** From the start of the service to its first version served. */
const SERVING_MAX_MS = 15_000;

export const addJoin: AddCommand = (program, around) => {
  const command = program
    .command("join")
    .summary("make this host a member of the mesh")
    .description(
      "Makes this host a member by a token of `meshctl token create`: proves the server by the token's CA hash, makes the host's key here and gets its first certificate. As root on a systemd host it then installs this executable, the agent's units and its user, and starts the agent. Elsewhere `meshctl agent` runs it.",
    )
    .argument("<token>", "the token; - for standard input")
    .option("--state-dir <dir>", "where the host's keys and state are kept", STATE_DIR)
    .option("--run", "then go on as the host's agent, until stopped; installs nothing")
    .option("--no-service", "install and start nothing")
    .option("--no-check", "do not look at the host afterwards (`meshctl check`)")
    .action((word: string, given: Given) => join(around, word, given));
  examples(
    command,
    "meshctl join im1.eyJ...",
    "meshctl join - < token",
    "meshctl join im1.eyJ... --run",
  );
};

async function join(around: Surroundings, word: string, given: Given): Promise<void> {
  const { terminal, programs } = around;
  const { stateDir, run } = given;
  const begunMs = terminal.nowMs();
  const installs =
    given.service && run !== true && stateDir === STATE_DIR && isSystemdHost() && isRoot();
  // The token is good for one use: what can be known against this host is told before.
  if (installs) await refuse(around);
  const token = (word === "-" ? await terminal.readStdin() : word).trim();
  const joined = await programs.join(token, stateDir);
  if (!joined.ok) throw new CommandFailure(joined.error.message, joined.error.next || undefined);
  const { host, trustDomain } = joined.value;
  terminal.out(`${host} has joined ${trustDomain}`);
  if (run === true) {
    if (given.check) await tellProblems(around, ["--state-dir", stateDir], "to_come");
    await programs.agent(parseAgentOptions(["--state-dir", stateDir]));
    return;
  }
  if (installs) {
    installService(stateDir);
    terminal.out(
      `${await untilServing(around)} ${seconds(terminal.nowMs() - begunMs)} after the start`,
    );
    if (given.check) await tellProblems(around, [], "here");
    terminal.err("next: meshctl status --agent, or apply a Workload that names this host");
    return;
  }
  if (given.check) await tellProblems(around, ["--state-dir", stateDir], "to_come");
  const where = stateDir === STATE_DIR ? "" : ` --state-dir ${stateDir}`;
  terminal.err(`next: meshctl agent${where}`);
}

async function refuse({ programs }: Surroundings): Promise<void> {
  const refusal = refuseInstall();
  if (refusal !== undefined) throw refusal;
  const config = existsSync(AGENT_CONFIG) ? ["--config", AGENT_CONFIG] : [];
  const known = await programs.refuseHost(parseAgentOptions(config));
  if (known !== undefined)
    throw new CommandFailure(
      known,
      `options of the agent belong into ${AGENT_CONFIG}, one a line without dashes (\`no-dns\`); the token is still good`,
    );
}

/** Up is not yet serving: the first version comes from the server. */
async function untilServing({ terminal }: Surroundings): Promise<string> {
  const untilMs = terminal.nowMs() + SERVING_MAX_MS;
  const config = parseAgentOptions(["--config", AGENT_CONFIG]);
  const admin = new AdminClient(config.adminSocket);
  for (;;) {
    const { epoch, version, redirect, server } = await admin.status();
    const isRedirected = redirect.isApplied || redirect.backend === "none";
    if (version !== undefined && isRedirected)
      return `its agent is up and serves version ${epoch}.${version},`;
    if (terminal.nowMs() > untilMs)
      throw new CommandFailure(
        `the agent runs but serves nothing: ${redirect.problem ?? server.lastError ?? "no version has come"}`,
        `\`journalctl -u ${AGENT_UNIT} -n 50\` says more; it goes on trying`,
      );
    await terminal.sleep(20);
  }
}

const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`;
