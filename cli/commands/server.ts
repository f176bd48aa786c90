import { Command, InvalidArgumentError, Option } from "commander";
import { wordsOfConfigFile } from "../config-file.ts";
import { usage } from "../failure.ts";
import type { ServerOptions } from "../programs.ts";
import { type AddCommand, examples } from "../surroundings.ts";

const STATE_DIR = "/var/lib/ironmesh/server";

/** As registry/ca/issuer.ts has them. */
const LIFETIME_SECONDS = { min: 10, max: 86_400 };

interface Given extends Omit<ServerOptions, "isNewEpoch" | "certificateLifetimeMs"> {
  readonly newEpoch?: true;
  readonly certificateLifetime?: number;
}
interface GivenByFile {
  readonly config?: string;
  readonly checkConfig?: string;
}

export const addServer: AddCommand = (program, { programs, setExitCode, terminal }) => {
  const command = addOptions(program.command("server"))
    .summary("run the config server")
    .description(
      "Runs the config server until it is told to stop. It makes the mesh's CA and the first operator's token at its first start, and prints how to log in.",
    )
    .option(
      "--config <file>",
      "read options from it first, one a line without the dashes; the command line wins",
    )
    .option(
      "--check-config <file>",
      "say whether the server would take this file of options, and start nothing",
    )
    .action(async ({ config, checkConfig, ...given }: Given & GivenByFile, own: Command) => {
      if (checkConfig !== undefined) {
        refuseStrayConsulOptions(optionsIn(checkConfig));
        terminal.out(`${checkConfig} is a valid file of options`);
        return;
      }
      const fromFile = config === undefined ? {} : optionsIn(config);
      const isDefault = (name: string): boolean => own.getOptionValueSource(name) === "default";
      const typed = Object.entries(given).filter(
        ([name]) => !(isDefault(name) && name in fromFile),
      );
      const { newEpoch, certificateLifetime, ...options }: Given = {
        ...given,
        ...fromFile,
        ...Object.fromEntries(typed),
      };
      refuseStrayConsulOptions(options);
      setExitCode(
        await programs.server({
          ...options,
          isNewEpoch: newEpoch === true,
          ...(certificateLifetime === undefined
            ? {}
            : { certificateLifetimeMs: 1_000 * certificateLifetime }),
        }),
      );
    });
  examples(
    command,
    "meshctl server",
    "meshctl server --advertise mesh-1.example.com --state-dir /srv/ironmesh",
    "meshctl server --config /etc/ironmesh/server.conf",
    "meshctl server --registry consul --consul-address https://consul:8501 --consul-token-file /etc/ironmesh/consul-token",
  );
};

/** What a file of options says, without defaults. */
function optionsIn(path: string): Partial<Given> {
  const words = wordsOfConfigFile(path);
  const parser = addOptions(new Command())
    .exitOverride()
    .configureOutput({ writeErr() {} });
  try {
    parser.parse(words, { from: "user" });
  } catch (error) {
    const reason = error instanceof Error ? error.message.replace(/^error: /, "") : String(error);
    throw usage(`${path}: ${reason}`, "`meshctl server --help` lists the options");
  }
  const given = Object.entries(parser.opts<Given>());
  return Object.fromEntries(
    given.filter(([name]) => parser.getOptionValueSource(name) === "cli"),
  ) as Partial<Given>;
}

const addOptions = (command: Command): Command =>
  command
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
      new Option(
        "--certificate-lifetime <seconds>",
        "of every certificate, its own included; for tests: 10 at least (default: 86400, a day)",
      ).argParser(parseLifetime),
    )
    .addOption(
      new Option("--registry <where>", "where the mesh's state and other catalog's services are")
        .choices(["embedded", "consul"])
        .default("embedded"),
    )
    .option(
      "--consul-address <url>",
      "with --registry consul: http://HOST:PORT or https://HOST:PORT (default: http://127.0.0.1:8500)",
    )
    .option("--consul-token-file <file>", "file with Consul's token, readable by its owner alone")
    .option("--consul-ca-file <file>", "PEM roots that vouch for an https Consul")
    .addOption(
      new Option("--log-level <level>").choices(["error", "warn", "info", "debug"]).default("info"),
    );

/** What would be ignored is refused. */
function refuseStrayConsulOptions(options: Partial<Given>): void {
  const { registry, consulAddress, consulTokenFile, consulCaFile } = options;
  const isConsul = registry === "consul";
  if (!isConsul && (consulAddress ?? consulTokenFile ?? consulCaFile) !== undefined)
    throw usage("--consul-* options need --registry consul", "add it, or leave them out");
  if (consulCaFile !== undefined && consulAddress?.startsWith("https:") !== true)
    throw usage(
      "--consul-ca-file is for an https Consul",
      "write --consul-address https://HOST:PORT",
    );
}

/** People paste URLs; what is advertised is HOST:PORT. */
const withoutScheme = (text: string): string => text.replace(/^https:\/\//, "").replace(/\/$/, "");

function parseLifetime(text: string): number {
  const { min, max } = LIFETIME_SECONDS;
  const seconds = Number(text);
  if (!/^[0-9]+$/.test(text) || seconds < min || seconds > max)
    throw new InvalidArgumentError(`It takes whole seconds from ${min} to ${max}.`);
  return seconds;
}
