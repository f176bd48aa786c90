// Node's own parser (llhttp) as one more reader of what was forwarded: it knows nothing of ours, and it is what many apps and clients
// around the agent read with.
import { takeMessage } from "../support/naive-exchange.ts";

/** Bytes as they left the agent, Latin-1: one message. */
export interface Shown {
  readonly kind: "request" | "response";
  /** Of a response, the request's: an answer to HEAD has no body. */
  readonly method: string;
  readonly text: string;
}

/** Runs in node. Reads JSON, a list of what is shown; answers with the messages that llhttp finds in each, or its error. */
const READER = `
const { HTTPParser, methods } = require("_http_common");
const NO_BODY = 1;
let input = "";
process.stdin.on("data", (piece) => { input += piece; });
process.stdin.on("end", () => {
  const all = JSON.parse(input).map((shown) => {
    const found = [];
    let now;
    const parser = new HTTPParser();
    parser.initialize(shown.kind === "request" ? HTTPParser.REQUEST : HTTPParser.RESPONSE, {});
    parser[HTTPParser.kOnHeaders | 0] = () => {};
    parser[HTTPParser.kOnHeadersComplete | 0] = (major, minor, fields, method, url, status) => {
      now = [shown.kind === "request" ? methods[method] + " " + url : String(status), ""];
      return shown.kind === "response" && shown.method === "HEAD" ? NO_BODY : 0;
    };
    parser[HTTPParser.kOnBody | 0] = (bytes) => { now[1] += bytes.toString("latin1"); };
    parser[HTTPParser.kOnMessageComplete | 0] = () => { found.push(now); };
    const result = parser.execute(Buffer.from(shown.text, "latin1"));
    if (result instanceof Error) return result.code;
    const end = parser.finish();
    return end instanceof Error ? end.code : found;
  });
  process.stdout.write(JSON.stringify(all));
});
`;

/** llhttp has a list of methods and refuses others, which is no matter of framing. */
const METHODS = /^(GET|HEAD|POST|PUT|OPTIONS)$/;

/** What llhttp reads otherwise than the naive reader does. */
export function readOtherwise(all: readonly Shown[]): unknown[] {
  const shown = all.filter(({ kind, method }) => kind === "response" || METHODS.test(method));
  const node = Bun.spawnSync(["node", "-e", READER], { stdin: Buffer.from(JSON.stringify(shown)) });
  if (node.exitCode !== 0) throw new Error(`node failed: ${node.stderr}`);
  const read: unknown[] = JSON.parse(node.stdout.toString());
  return shown
    .map((one, i) => ({ one, found: read[i], wanted: [readNaively(one)] }))
    .filter(({ found, wanted }) => !Bun.deepEquals(found, wanted));
}

function readNaively({ kind, method, text }: Shown): readonly string[] {
  const taken = takeMessage(text, kind, method);
  const [first = "", second = ""] = taken?.line ?? [];
  return [kind === "request" ? `${first} ${second}` : second, taken?.content ?? ""];
}
