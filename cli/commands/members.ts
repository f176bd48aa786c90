import { ADMIN_SOCKET } from "../../agent/api/admin.ts";
import type { MemberReport, MembersAnswer } from "../../agent/api/gossip.ts";
import { AdminClient } from "../admin-client.ts";
import { EXIT_FAILED } from "../failure.ts";
import { print, shortDuration, type Table } from "../output.ts";
import {
  type AddCommand,
  clientOf,
  examples,
  type OutputOptions,
  type ServerOptions,
  type Surroundings,
  withOutput,
  withServer,
} from "../surroundings.ts";

interface MembersOptions extends OutputOptions, ServerOptions {
  readonly agent?: true;
  readonly admin?: string;
}

export const addMembers: AddCommand = (program, around) => {
  const command = program
    .command("members")
    .summary("who of the gossip pool is alive")
    .description(
      "Shows the gossip pool as the config server sees it; exit code 1 if somebody should get no traffic. With --agent: as the agent of this host sees it, which is what its balancers go by.",
    )
    .option("--agent", "ask this host's agent instead of the config server")
    .option("--admin <path>", `its admin socket (default: ${ADMIN_SOCKET})`)
    .action((options: MembersOptions) => members(around, options));
  withServer(withOutput(command));
  examples(command, "meshctl members", "meshctl members -o json", "meshctl members --agent");
};

async function members(around: Surroundings, options: MembersOptions): Promise<void> {
  const asksAgent = options.agent === true || options.admin !== undefined;
  const answer = asksAgent
    ? await new AdminClient(options.admin).members()
    : await clientOf(around, options).members();
  if (answer.members.some(({ isDown }) => isDown)) around.setExitCode(EXIT_FAILED);
  await print(around.terminal, options.output, answer, () =>
    membersTable(answer, around.terminal.nowMs()),
  );
}

function membersTable({ observer, members }: MembersAnswer, nowMs: number): Table {
  return {
    columns: ["member", "address", "state", "since", "round trip", `traffic from ${observer}`],
    rows: members.map((member) => [
      member.name,
      member.address,
      member.status,
      member.sinceMs === undefined ? "-" : shortDuration(nowMs - member.sinceMs),
      member.rttMs === undefined ? "-" : `${member.rttMs} ms`,
      trafficOf(member),
    ]),
    empty: `${observer} knows of no other member: has another host joined, and is port 15946 open (UDP and TCP)?`,
  };
}

const trafficOf = ({ isDown, status }: MemberReport): string =>
  isDown ? "NO" : status === "unheard" ? "yes, never heard" : "yes";
