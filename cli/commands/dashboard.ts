import { X509Certificate } from "node:crypto";
import { print } from "../output.ts";
import {
  type AddCommand,
  clientOf,
  contextOf,
  examples,
  type OutputOptions,
  type ServerOptions,
  type Surroundings,
  withOutput,
  withServer,
} from "../surroundings.ts";

interface DashboardOptions extends OutputOptions, ServerOptions {
  readonly token?: true;
  readonly ca?: true;
}

export const addDashboard: AddCommand = (program, around) => {
  const command = program
    .command("dashboard")
    .summary("where the server's page is, and how to log in")
    .description(
      "Asks the server for its page and shows its address, and how a browser comes to trust it: its certificate is of the mesh's own CA, so import that once (--ca), or compare its SHA-256 with what the browser shows.",
    )
    .option("--token", "print this context's operator token, to paste into the page")
    .option("--ca", "print the CA's certificate, to import into a browser")
    .action((options: DashboardOptions) => dashboard(around, options));
  withServer(withOutput(command));
  examples(
    command,
    "meshctl dashboard",
    "meshctl dashboard --token",
    "meshctl dashboard --ca > mesh-ca.pem",
  );
};

async function dashboard(around: Surroundings, options: DashboardOptions): Promise<void> {
  const { terminal } = around;
  const { token, caPem } = contextOf(around, options);
  if (options.token === true) terminal.out(token);
  if (options.ca === true) terminal.out(caPem.trimEnd());
  if (options.token === true || options.ca === true) return;
  const url = await clientOf(around, options).dashboard();
  const caSha256 = new X509Certificate(caPem).fingerprint256.replaceAll(":", "").toLowerCase();
  await print(terminal, options.output, { url, caSha256 }, () => ({
    columns: [],
    rows: [
      ["dashboard", url],
      ["CA SHA-256", caSha256],
      ["log in", "with an operator token: meshctl dashboard --token"],
      ["trust it", "meshctl dashboard --ca > mesh-ca.pem, and import that into the browser"],
    ],
    empty: "",
  }));
}
