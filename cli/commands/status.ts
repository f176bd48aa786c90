import type { AgentStatus } from "../../agent/api/admin.ts";
import { ADMIN_SOCKET } from "../../agent/api/admin.ts";
import type { HostStatus, MeshStatus } from "../../agent/api/operator-api.ts";
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

interface StatusOptions extends OutputOptions, ServerOptions {
  readonly agent?: true;
  readonly admin?: string;
}

export const addStatus: AddCommand = (program, around) => {
  const command = program
    .command("status")
    .summary("who is in the mesh and runs what")
    .description(
      "Shows every host, whether it is connected and whether it runs the latest version; exit code 1 if a connected agent refused it. With --agent: the agent of this host, also when the server is away.",
    )
    .option("--agent", "ask this host's agent instead of the config server")
    .option("--admin <path>", `its admin socket (default: ${ADMIN_SOCKET})`)
    .action((options: StatusOptions) =>
      options.agent === true || options.admin !== undefined
        ? agentStatus(around, options)
        : meshStatus(around, options),
    );
  withServer(withOutput(command));
  examples(command, "meshctl status", "meshctl status -o json", "meshctl status --agent");
};

async function meshStatus(around: Surroundings, options: StatusOptions): Promise<void> {
  const status = await clientOf(around, options).status();
  const nowMs = around.terminal.nowMs();
  if (status.hosts.some((h) => h.isConnected && h.nack !== undefined))
    around.setExitCode(EXIT_FAILED);
  await print(around.terminal, options.output, status, () => ({
    columns: ["host", "address", "connected", "agent", "version", "certificate"],
    rows: status.hosts.map((host) => [
      host.name,
      host.address ?? "-",
      host.isConnected ? "yes" : "no",
      host.agentVersion ?? "-",
      versionOf(host, status),
      host.certificateExpiresAtMs === undefined ? "-" : expiry(host.certificateExpiresAtMs - nowMs),
    ]),
    empty: "no host has joined yet; `meshctl token create --host NAME` invites one",
  }));
}

const expiry = (leftMs: number): string =>
  leftMs > 0 ? `${shortDuration(leftMs)} left` : "EXPIRED";

function versionOf({ ackedVersion, nack }: HostStatus, { version }: MeshStatus): string {
  if (nack !== undefined)
    return `${ackedVersion ?? "none"}, REFUSED ${nack.version}: ${nack.reasons.join("; ")}`;
  if (ackedVersion === undefined) return "none";
  return ackedVersion >= version ? String(ackedVersion) : `${ackedVersion}, behind ${version}`;
}

async function agentStatus(around: Surroundings, options: StatusOptions): Promise<void> {
  const status = await new AdminClient(options.admin).status();
  if (status.problems.length > 0) around.setExitCode(EXIT_FAILED);
  await print(around.terminal, options.output, status, () => agentTable(status));
}

function agentTable(status: AgentStatus): Table {
  const { server, redirect } = status;
  const rows: [string, string][] = [
    ["host", status.host],
    [
      "agent",
      `${status.agentVersion}, pid ${status.pid}, up ${shortDuration(status.uptimeSeconds * 1000)}`,
    ],
    [
      "configuration",
      status.version === undefined
        ? "none yet"
        : `version ${status.version} (epoch ${status.epoch}), from ${status.snapshotFrom ?? "nowhere"}`,
    ],
    [
      "server",
      `${server.url} ${server.isConnected ? "connected" : `NOT connected: ${server.lastError ?? "trying"}`}`,
    ],
    [
      "traffic",
      `${status.openConnections} open connections, ${status.workers} ${status.workers === 1 ? "thread" : "threads"}, by ${status.io}`,
    ],
    [
      "redirect",
      `${redirect.mode} by ${redirect.backend}, ${redirect.isApplied ? "applied" : "NOT applied"}${redirect.problem === undefined ? "" : `: ${redirect.problem}`}`,
    ],
    ...(redirect.missing ?? []).map((one): [string, string] => ["MISSING", one]),
    ...status.problems.map((problem): [string, string] => ["PROBLEM", problem]),
  ];
  return { columns: [], rows, empty: "" };
}
