import { ADMIN_SOCKET } from "../../agent/api/admin.ts";
import type { ExplainAnswer, ExplainQuestion } from "../../agent/api/explain.ts";
import { AdminClient } from "../admin-client.ts";
import { answerText, decisionText } from "../explain-text.ts";
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
  readonly sni?: string;
  readonly tcp?: true;
  readonly agent?: true;
  readonly admin?: string;
}

export const addExplain: AddCommand = (program, around) => {
  const command = program
    .command("explain [id]")
    .summary("why a call is refused, and the line that would admit it")
    .description(
      "With an id (x-ironmesh-decision of an answer, `decision` in an agent's log): why that call was refused, from the host that refused it. With --from and --to: whether a call would pass, by the code that enforces the policies. Shows each rule with the clause that fails first. Exit code 1: not found, or --from may not call --to.",
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
    .option("--sni <name>", "server name of its ClientHello, where the app terminates TLS")
    .option("--tcp", "an opaque connection, where the port could be either")
    .option("--agent", "ask this host's agent, about its own workloads, by what it runs now")
    .option("--admin <path>", `its admin socket (default: ${ADMIN_SOCKET})`)
    .action((id: string | undefined, options: ExplainOptions) =>
      id === undefined ? explain(around, options) : explainDecision(around, id, options),
    );
  withServer(withOutput(command));
  examples(
    command,
    "meshctl explain 3h7k2q-0a1b2-c",
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
  else await print(terminal, options.output, answer, NO_TABLE);
}

async function explainDecision(
  around: Surroundings,
  id: string,
  options: ExplainOptions,
): Promise<void> {
  if (options.from !== undefined || options.to !== undefined)
    throw usage("an id says who called whom: leave --from and --to out");
  const { terminal } = around;
  const answer = isLocal(options)
    ? await new AdminClient(options.admin).decision(id)
    : await clientOf(around, options).decision(id);
  if (options.output === "table") {
    const paint = await colours(terminal.isColour);
    terminal.out(await decisionText(answer, terminal.nowMs(), paint));
  } else await print(terminal, options.output, answer, NO_TABLE);
}

const NO_TABLE = () => ({ columns: [], rows: [], empty: "" });
const isLocal = ({ agent, admin }: ExplainOptions): boolean =>
  agent === true || admin !== undefined;

async function ask(
  around: Surroundings,
  question: ExplainQuestion,
  options: ExplainOptions,
): Promise<ExplainAnswer> {
  if (!isLocal(options)) return clientOf(around, options).explain(question);
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
  const { from, to, port, method, path, host, header, address, sni, tcp } = options;
  if (from === undefined || to === undefined)
    throw usage("say who calls whom, --from CALLER --to CALLED, or give the id of a decision");
  return {
    from,
    to,
    ...(port === undefined ? {} : { port }),
    ...(method === undefined ? {} : { method }),
    ...(path === undefined ? {} : { path }),
    ...(host === undefined ? {} : { host }),
    ...(header.length === 0 ? {} : { headers: header }),
    ...(address === undefined ? {} : { address }),
    ...(sni === undefined ? {} : { serverName: sni }),
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
