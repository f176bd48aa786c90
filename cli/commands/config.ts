import { ADMIN_SOCKET, type LookedUpName } from "../../agent/api/admin.ts";
import type { Snapshot } from "../../agent/policy/snapshot.ts";
import { AdminClient } from "../admin-client.ts";
import { print, shortDuration, type Table } from "../output.ts";
import { endpointsTable, policiesTable, routesTable, servicesTable } from "../snapshot-tables.ts";
import {
  type AddCommand,
  examples,
  type OutputOptions,
  type Surroundings,
  withOutput,
} from "../surroundings.ts";

interface ConfigOptions extends OutputOptions {
  readonly admin: string;
}

interface View {
  readonly name: string;
  readonly prose: string;
  /** What programs get. */
  pick(snapshot: Snapshot, names: readonly LookedUpName[]): unknown;
  draw(snapshot: Snapshot, names: readonly LookedUpName[]): Table;
}

const VIEWS: readonly View[] = [
  {
    name: "services",
    prose: "names this host can call, with their virtual IPs",
    pick: (snapshot) => snapshot.services,
    draw: servicesTable,
  },
  {
    name: "routes",
    prose: "where requests for each service go",
    pick: (snapshot) => snapshot.services.map(({ host, ports }) => ({ host, ports })),
    draw: routesTable,
  },
  {
    name: "endpoints",
    prose:
      "addresses behind each service and subset, how they are balanced, and what host names led to them",
    pick: ({ clusters, endpoints }, names) => ({ clusters, endpoints, names }),
    draw: endpointsTable,
  },
  {
    name: "policies",
    prose: "who may call the workloads of this host",
    pick: (snapshot) => snapshot.workloads,
    draw: policiesTable,
  },
];

export const addConfig: AddCommand = (program, around) => {
  const config = program
    .command("config")
    .description("Shows what this host's agent runs: compiled, as it decides by it.");
  for (const view of VIEWS) {
    const command = viewCommand(config.command(view.name).description(view.prose)).action(
      (options: ConfigOptions) => show(around, view, options),
    );
    examples(command, `meshctl config ${view.name}`, `meshctl config ${view.name} -o json`);
  }
  const certs = viewCommand(config.command("certs"))
    .description("identities this agent holds certificates for")
    .action((options: ConfigOptions) => showCertificates(around, options));
  examples(certs, "meshctl config certs");
};

const viewCommand = (command: ReturnType<Parameters<AddCommand>[0]["command"]>) =>
  withOutput(command).option("--admin <path>", "the agent's admin socket", ADMIN_SOCKET);

async function show({ terminal }: Surroundings, view: View, options: ConfigOptions): Promise<void> {
  const admin = new AdminClient(options.admin);
  const snapshot = await admin.snapshot();
  // An agent of before there were any would not know the question.
  const hasNames = snapshot.endpoints.some(({ lookup }) => lookup !== undefined);
  const names = hasNames ? await admin.names() : [];
  await print(terminal, options.output, view.pick(snapshot, names), () =>
    view.draw(snapshot, names),
  );
}

async function showCertificates({ terminal }: Surroundings, options: ConfigOptions): Promise<void> {
  const certificates = await new AdminClient(options.admin).certificates();
  const nowMs = terminal.nowMs();
  await print(terminal, options.output, certificates, () => ({
    columns: ["identity", "valid", "renews"],
    rows: certificates.map(({ identity, issuedAtMs, notAfterMs }) => [
      identity,
      notAfterMs > nowMs ? `${shortDuration(notAfterMs - nowMs)} left` : "EXPIRED",
      // Renewal begins at half of its life, with jitter.
      `in about ${shortDuration((issuedAtMs + notAfterMs) / 2 - nowMs)}`,
    ]),
    empty: "no certificates yet",
  }));
}
