import { Option } from "commander";
import type { ServerOptions } from "../programs.ts";
import { type AddCommand, examples } from "../surroundings.ts";

const STATE_DIR = "/var/lib/ironmesh/server";

interface Given extends Omit<ServerOptions, "isNewEpoch"> {
  readonly newEpoch?: true;
}

export const addServer: AddCommand = (program, { programs, setExitCode }) => {
  const command = program
    .command("server")
    .summary("run the config server")
    .description(
      "Runs the config server until it is told to stop. It makes the mesh's CA and the first operator's token at its first start, and prints how to log in.",
    )
    .option("--state-dir <dir>", "its database, CA and operator token; back it up", STATE_DIR)
    .option("--listen <address:port>", "where it listens (default: every address, port 15010)")
    .option<readonly string[]>(
      "--advertise <name>",
      "name or address hosts reach it by, perhaps with :PORT; may be repeated (default: this host's addresses)",
      (text, before = []) => [...before, withoutScheme(text)],
    )
    .option("--trust-domain <name>", "set once: part of every identity (default: mesh.local)")
    .addOption(
      new Option(
        "--outbound-policy <policy>",
        "what agents in mode `all` do with traffic to nobody the mesh knows",
      ).choices(["allow_any", "registry_only"]),
    )
    .option(
      "--new-epoch",
      "after the state was restored from a backup: agents accept its older versions",
    )
    .addOption(
      new Option("--log-level <level>").choices(["error", "warn", "info", "debug"]).default("info"),
    )
    .action(async ({ newEpoch, ...options }: Given) =>
      setExitCode(await programs.server({ ...options, isNewEpoch: newEpoch === true })),
    );
  examples(
    command,
    "meshctl server",
    "meshctl server --advertise mesh-1.example.com --state-dir /srv/ironmesh",
  );
};

/** People paste URLs; what is advertised is HOST:PORT. */
const withoutScheme = (text: string): string => text.replace(/^https:\/\//, "").replace(/\/$/, "");
