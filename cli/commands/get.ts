import { KINDS } from "../../agent/api/resource.ts";
import type { ResourceDocument } from "../../agent/api/session.ts";
import { CommandFailure, usage } from "../failure.ts";
import { parseTarget } from "../kinds.ts";
import { print, yamlText } from "../output.ts";
import type { ResourceFilter } from "../server-client.ts";
import { summaryOf } from "../summary.ts";
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

interface GetOptions extends OutputOptions, ServerOptions {
  readonly namespace?: string;
}

export const addGet: AddCommand = (program, around) => {
  const command = program
    .command("get")
    .summary("show resources as they are stored")
    .description(
      "Shows resources. KIND is `all`, a kind, its plural or short form: " +
        `${Object.entries(KINDS)
          .map(([kind, { shortNames }]) => `${kind} (${shortNames.join(", ")})`)
          .join(", ")}.`,
    )
    .argument("<kind>", "KIND, KIND/NAME or all")
    .argument("[name]", "only the one of that name")
    .option("-n, --namespace <name>", "only of this namespace (default: all)")
    .action((kind: string, name: string | undefined, options: GetOptions) =>
      get(around, kind, name, options),
    );
  withServer(withOutput(command));
  examples(
    command,
    "meshctl get all",
    "meshctl get vs",
    "meshctl get virtualservice reviews -o yaml > reviews.yaml",
  );
};

async function get(
  around: Surroundings,
  first: string,
  second: string | undefined,
  options: GetOptions,
): Promise<void> {
  const filter = filterOf(first, second, options);
  const { resources } = await clientOf(around, options).list(filter);
  const { name } = filter;
  if (name !== undefined && resources.length === 0)
    throw new CommandFailure(
      `there is no ${first.split("/")[0]} ${name}${options.namespace ? ` in ${options.namespace}` : ""}`,
      "`meshctl get all` shows what there is",
    );
  // One by name is printed as itself; several in a form that `apply` takes back.
  if (options.output === "yaml") {
    const texts = await Promise.all(resources.map((doc) => yamlText(doc)));
    if (texts.length > 0) around.terminal.out(texts.join("---\n").trimEnd());
    return;
  }
  const value =
    name !== undefined && resources.length === 1
      ? resources[0]
      : { apiVersion: "v1", kind: "List", items: resources };
  await print(around.terminal, options.output, value, () => tableOf(resources));
}

function filterOf(
  first: string,
  second: string | undefined,
  { namespace }: GetOptions,
): ResourceFilter {
  const where = namespace === undefined ? {} : { namespace };
  if (first === "all") {
    if (second !== undefined) throw usage("give a KIND with a name");
    return where;
  }
  const { kind, name } = parseTarget(first, second);
  return { kind, ...where, ...(name === undefined ? {} : { name }) };
}

const tableOf = (resources: readonly ResourceDocument[]) => ({
  columns: ["kind", "namespace", "name", "what"],
  rows: resources.map((doc) => [
    doc.kind,
    doc.metadata.namespace,
    doc.metadata.name,
    summaryOf(doc),
  ]),
  empty: "no resources",
});
