import { colours, print } from "../output.ts";
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
import { notesOf, ofNamespace, parseWindow, statTable } from "../traffic-tables.ts";

interface StatOptions extends OutputOptions, ServerOptions {
  readonly window: number;
  readonly namespace?: string;
}

export const addStat: AddCommand = (program, around) => {
  const command = program
    .command("stat")
    .summary("every service: rate, success, latency")
    .description("Shows what arrives at each service in the window, from all callers together.")
    .option("-w, --window <time>", "10s to 1h", parseWindow, 60)
    .option("-n, --namespace <name>", "only of this namespace (default: all)")
    .action((options: StatOptions) => stat(around, options));
  withServer(withOutput(command));
  examples(command, "meshctl stat", "meshctl stat -w 15m -n shop", "meshctl stat -o yaml");
};

async function stat(around: Surroundings, options: StatOptions): Promise<void> {
  const all = await clientOf(around, options).graph(options.window, "service");
  const graph = ofNamespace(all, options.namespace);
  const { atMs, windowSeconds, nodes, notes } = graph;
  const paint = await colours(around.terminal.isColour);
  const value = { atMs, windowSeconds, nodes, notes };
  await print(around.terminal, options.output, value, () => statTable(graph, paint));
  if (options.output === "table") for (const line of notesOf(graph)) around.terminal.err(line);
}
