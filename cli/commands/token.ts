import { parseDuration } from "../../agent/api/duration.ts";
import { isGrantableAccount, isHostName } from "../../agent/api/join-token.ts";
import { DEFAULT_NAMESPACE } from "../../agent/api/resource.ts";
import { usage } from "../failure.ts";
import { print } from "../output.ts";
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

interface TokenOptions extends OutputOptions, ServerOptions {
  readonly host: string;
  readonly serviceAccount: readonly string[];
  readonly ttl: number;
  readonly address?: string;
}

export const addToken: AddCommand = (program, around) => {
  const token = program.command("token").description("Invite hosts into the mesh.");
  const create = token
    .command("create")
    .summary("make a join token for a host")
    .description(
      "Makes a token with which one host joins once. It carries the server's address, the hash of the mesh's CA and the service accounts the host may hold; treat it as a password until it is used.",
    )
    .requiredOption("--host <name>", "name of the host in the mesh")
    .option<readonly string[]>(
      "--service-account <namespace/account>",
      "service account the host may hold (namespace default if left out); may be repeated",
      (text, before) => [...before, parseAccount(text)],
      [],
    )
    .option("--ttl <duration>", "how long it can be used", parseTtl, 3_600_000)
    .option(
      "--address <ip>",
      "address the host's services are reached at (default: where it joins from)",
    )
    .action((options: TokenOptions) => createToken(around, options));
  withServer(withOutput(create));
  examples(
    create,
    "meshctl token create --host db-1 --service-account default/ratings",
    "ssh db-1 meshctl join $(meshctl token create --host db-1 --service-account ratings)",
  );
};

function parseAccount(text: string): string {
  const account = text.includes("/") ? text : `${DEFAULT_NAMESPACE}/${text}`;
  if (!isGrantableAccount(account))
    throw usage(`${JSON.stringify(text)} is no service account`, "write NAMESPACE/ACCOUNT");
  return account;
}

function parseTtl(text: string): number {
  const parsed = parseDuration(text);
  if (!parsed.ok) throw usage(`--ttl ${parsed.error}`);
  if (parsed.value < 1000) throw usage("--ttl must be at least 1s");
  return parsed.value;
}

async function createToken(around: Surroundings, options: TokenOptions): Promise<void> {
  if (!isHostName(options.host))
    throw usage(`${JSON.stringify(options.host)} is no host name`, "use a-z, 0-9, - and .");
  const created = await clientOf(around, options).createToken({
    host: options.host,
    serviceAccounts: options.serviceAccount,
    ttlSeconds: Math.floor(options.ttl / 1000),
    ...(options.address === undefined ? {} : { address: options.address }),
  });
  const table = () => ({ columns: [], rows: [], empty: created.token });
  await print(around.terminal, options.output, created, table);
  if (options.output === "table")
    around.terminal.err(`run on ${options.host}, within its time and once: meshctl join TOKEN`);
}
