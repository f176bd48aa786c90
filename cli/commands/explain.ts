import { ADMIN_SOCKET } from "../../agent/api/admin.ts";
import type { ExplainAnswer, ExplainQuestion } from "../../agent/api/explain.ts";
import { AdminClient } from "../admin-client.ts";
import { answerText } from "../explain-text.ts";
import { CommandFailure, EXIT_FAILED, usage } from "../failure.ts";
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

interface ExplainOptions extends OutputOptions, ServerOptions {
  readonly from?: string;
  readonly to?: string;
  readonly port?: number;
  readonly method?: string;
  readonly path?: string;
  readonly host?: string;
  readonly header: readonly (readonly [name: string, value: string])[];
  readonly address?: string;
  readonly tcp?: true;
  readonly agent?: true;
  readonly admin?: string;
}

export const addExplain: AddCommand = (program, around) => {
  const command = program
    .command("explain")
    .summary("why a call is refused, and the line that would admit it")
    .description(
      "Asks the mesh's policies about a call, by the code that enforces them, and shows each rule with the clause that fails first. Exit code 1: the call is denied.",
    )
    .option("--from <caller>", "workload, namespace/name, service, SPIFFE ID, host, or `plaintext`")
    .option("--to <called>", "service, workload, namespace/name or SPIFFE ID")
    .option(
      "--port <n>",
      "port of the service (default: the only one, or the one for HTTP)",
      parsePort,
    )
    .option("--method <method>", "of the request (default: GET)")
    .option("--path <path>", "of the request (default: /)")
    .option("--host <authority>", "its Host field (default: the service's name)")
    .option("--header <name=value>", "a field of it; may be repeated", addHeader, [])
    .option("--address <ip>", "where the caller's connection comes from (default: its host)")
    .option("--tcp", "an opaque connection, where the port could be either")
    .option("--agent", "ask this host's agent, about its own workloads, by what it runs now")
    .option("--admin <path>", `its admin socket (default: ${ADMIN_SOCKET})`)
    .action((options: ExplainOptions) => explain(around, options));
  withServer(withOutput(command));
  examples(
    command,
    "meshctl explain --from productpage --to reviews --method POST --path /reviews/0",
    "meshctl explain --from plaintext --to shop/cart --port 8080",
    "meshctl explain --from ratings --to redis --tcp -o json",
  );
};

async function explain(around: Surroundings, options: ExplainOptions): Promise<void> {
  const { terminal } = around;
  const answer = await ask(around, questionOf(options), options);
  const isDenied = answer.results.some(({ explanation }) => explanation.verdict === "denied");
  if (isDenied) around.setExitCode(EXIT_FAILED);
  if (options.output === "table")
    terminal.out(await answerText(answer, await colours(terminal.isColour)));
  else await print(terminal, options.output, answer, () => ({ columns: [], rows: [], empty: "" }));
}

async function ask(
  around: Surroundings,
  question: ExplainQuestion,
  options: ExplainOptions,
): Promise<ExplainAnswer> {
  if (options.agent !== true && options.admin === undefined)
    return clientOf(around, options).explain(question);
  const [{ answerQuestion }, { snapshotDirectory }] = await Promise.all([
    import("../../agent/policy/answer-question.ts"),
    import("../../agent/policy/snapshot-directory.ts"),
  ]);
  const snapshot = await new AdminClient(options.admin).snapshot();
  const answer = answerQuestion(snapshotDirectory(snapshot), question);
  if (answer.ok) return answer.value;
  throw new CommandFailure(answer.error.message, answer.error.next);
}

function questionOf(options: ExplainOptions): ExplainQuestion {
  const { from, to, port, method, path, host, header, address, tcp } = options;
  if (from === undefined || to === undefined)
    throw usage("say who calls whom: --from CALLER --to CALLED");
  return {
    from,
    to,
    ...(port === undefined ? {} : { port }),
    ...(method === undefined ? {} : { method }),
    ...(path === undefined ? {} : { path }),
    ...(host === undefined ? {} : { host }),
    ...(header.length === 0 ? {} : { headers: header }),
    ...(address === undefined ? {} : { address }),
    ...(tcp === undefined ? {} : { isTcp: true }),
  };
}

function parsePort(text: string): number {
  const port = Number(text);
  if (!/^[0-9]{1,5}$/.test(text) || port < 1 || port > 65_535)
    throw usage(`${JSON.stringify(text)} is no port; write a number from 1 to 65535`);
  return port;
}

function addHeader(text: string, before: ExplainOptions["header"]): ExplainOptions["header"] {
  const at = text.indexOf("=");
  if (at < 1) throw usage(`--header ${JSON.stringify(text)}: write NAME=VALUE`);
  return [...before, [text.slice(0, at), text.slice(at + 1)]];
}
