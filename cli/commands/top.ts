// `meshctl top`: the edges, again and again. On a terminal the screen is redrawn in place; into a pipe each round is printed once
// with its time, so that a script can read it.
import { usage } from "../failure.ts";
import { colours, print, tableText } from "../output.ts";
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
import { edgesTable, ofNamespace, parseWindow } from "../traffic-tables.ts";

interface TopOptions extends OutputOptions, ServerOptions {
  readonly window: number;
  readonly namespace?: string;
  readonly every: number;
  readonly rounds?: number;
}

const HOME_AND_CLEAR = "\x1b[H\x1b[J";

export const addTop: AddCommand = (program, around) => {
  const command = program
    .command("top")
    .summary("the busiest and the failing edges, live")
    .description(
      "Shows the edges as `meshctl edges` does and refreshes until Ctrl-C. With -o json each round is one line.",
    )
    .option("-w, --window <time>", "10s to 1h", parseWindow, 30)
    .option("-n, --namespace <name>", "only edges from or to this namespace (default: all)")
    .option("--every <seconds>", "time between two rounds, from 1", positive, 2)
    .option("--rounds <count>", "end after so many (default: never)", positive)
    .action((options: TopOptions) => top(around, options));
  withServer(withOutput(command));
  examples(
    command,
    "meshctl top",
    "meshctl top -n shop --every 5",
    "meshctl top -o json --rounds 1",
  );
};

function positive(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1 || value > 86_400)
    throw usage(`${JSON.stringify(text)} must be a whole number from 1`);
  return value;
}

async function top(around: Surroundings, options: TopOptions): Promise<void> {
  const { terminal } = around;
  const client = clientOf(around, options);
  const paint = await colours(terminal.isColour);
  for (let round = 1; ; round++) {
    const all = await client.graph(options.window, "service");
    const graph = ofNamespace(all, options.namespace);
    if (options.output === "json") terminal.out(JSON.stringify(graph));
    else if (options.output === "yaml")
      await print(terminal, "yaml", graph, () => edgesTable(graph));
    else {
      const table = await tableText(edgesTable(graph, paint), terminal.isColour);
      const time = new Date(graph.atMs).toISOString().slice(11, 19);
      const title = `${time} UTC   last ${graph.windowSeconds} s   ${client.server}`;
      terminal.out(`${terminal.isColour ? HOME_AND_CLEAR : ""}${title}\n${table}`);
    }
    if (options.rounds !== undefined && round >= options.rounds) return;
    await terminal.sleep(options.every * 1_000);
  }
}
