import { EXIT_FAILED } from "../failure.ts";
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
import { edgesTable, notesOf, ofNamespace, parseWindow } from "../traffic-tables.ts";

interface EdgesOptions extends OutputOptions, ServerOptions {
  readonly window: number;
  readonly namespace?: string;
  readonly workloads?: true;
}

export const addEdges: AddCommand = (program, around) => {
  const command = program
    .command("edges")
    .summary("who calls whom, how often, how well, and whether by mTLS")
    .description(
      "Shows every edge of the mesh that carried traffic in the last hour, with the figures of the window: what fails comes first. Percentiles are as exact as Istio's histogram buckets. Exit code 1 if an edge is failing.",
    )
    .option("-w, --window <time>", "10s to 1h", parseWindow, 60)
    .option("-n, --namespace <name>", "only edges from or to this namespace (default: all)")
    .option("--workloads", "by workload instead of by service")
    .action((options: EdgesOptions) => edges(around, options));
  withServer(withOutput(command));
  examples(command, "meshctl edges", "meshctl edges -w 1h --workloads", "meshctl edges -o json");
};

async function edges(around: Surroundings, options: EdgesOptions): Promise<void> {
  const by = options.workloads === true ? "workload" : "service";
  const all = await clientOf(around, options).graph(options.window, by);
  const graph = ofNamespace(all, options.namespace);
  if (graph.edges.some(({ health }) => health === "failing")) around.setExitCode(EXIT_FAILED);
  const paint = await colours(around.terminal.isColour);
  await print(around.terminal, options.output, graph, () => edgesTable(graph, paint));
  if (options.output === "table") for (const line of notesOf(graph)) around.terminal.err(line);
}
