import { existsSync, readFileSync } from "node:fs";
import { contextsFile, writeContext } from "../contexts.ts";
import { CommandFailure, usage } from "../failure.ts";
import { ServerClient } from "../server-client.ts";
import { fetchRoot, parseServerUrl } from "../server-connection.ts";
import { type AddCommand, examples, type Surroundings } from "../surroundings.ts";

interface LoginOptions {
  readonly caSha256: string;
  readonly tokenFile: string;
  readonly context?: string;
}

export const addLogin: AddCommand = (program, around) => {
  const command = program
    .command("login")
    .summary("remember a config server and prove to be its operator")
    .description(
      "Checks that the server's CA is the one you were told, then keeps its address, CA and your operator token as a context. The server prints all three when it starts for the first time.",
    )
    .argument("<server>", "https://HOST:15010")
    .requiredOption("--ca-sha256 <hash>", "SHA-256 of the mesh's root certificate, 64 hex digits")
    .option(
      "--token-file <file>",
      "file that holds the operator token; - for standard input (never a word on the command line, where others see it)",
      "-",
    )
    .option("--context <name>", "name to remember it by (default: the server's host name)")
    .action((server: string, options: LoginOptions) => login(around, server, options));
  examples(
    command,
    "meshctl login https://mesh-1:15010 --ca-sha256 5e0f... --token-file /var/lib/ironmesh/server/operator-token",
    "pass mesh/operator | meshctl login https://mesh-1:15010 --ca-sha256 5e0f... --context prod",
  );
};

async function login(
  { terminal }: Surroundings,
  server: string,
  options: LoginOptions,
): Promise<void> {
  const url = parseServerUrl(server);
  const caSha256 = options.caSha256.replaceAll(":", "").toLowerCase();
  if (!/^[0-9a-f]{64}$/.test(caSha256))
    throw usage("--ca-sha256 must be 64 hex digits", "the server prints it when it starts");
  const name = options.context ?? url.hostname;
  if (options.tokenFile === "-" && process.stdin.isTTY) terminal.err("operator token:");
  const token = (await readToken(options.tokenFile, () => terminal.readStdin())).trim();
  if (!/^[\x21-\x7e]{8,4096}$/.test(token))
    throw new CommandFailure(
      "that is no operator token",
      "the first one lies in the server's state directory, in operator-token",
    );
  const caPem = await fetchRoot(url, caSha256);
  const context = { server: url.href.replace(/\/$/, ""), caPem, token };
  const { operator } = await new ServerClient(context).login();
  const file = contextsFile(terminal.env);
  writeContext(file, name, context);
  terminal.out(
    `logged in to ${url.host} as ${operator}; context ${name} is now the one in use (${file})`,
  );
}

async function readToken(from: string, readStdin: () => Promise<string>): Promise<string> {
  if (from === "-") return readStdin();
  if (!existsSync(from))
    throw usage(`there is no file ${from}`, "--token-file names a file that holds the token, or -");
  return readFileSync(from, "utf8");
}
