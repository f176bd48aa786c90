// Node's own parser (llhttp) as one more reader of what was forwarded: it knows nothing of ours, and it is what many apps behind the
// agent read with.
import { takeMessage } from "../support/naive-exchange.ts";

/** Runs in node. Reads JSON, a list of Latin-1 texts; answers with the messages that llhttp finds in each, or its error. */
const READER = `
const { HTTPParser, methods } = require("_http_common");
let input = "";
process.stdin.on("data", (piece) => { input += piece; });
process.stdin.on("end", () => {
  const all = JSON.parse(input).map((text) => {
    const found = [];
    const parser = new HTTPParser();
    parser.initialize(HTTPParser.REQUEST, {});
    let now;
    parser[HTTPParser.kOnHeaders | 0] = (fields, url) => { if (now && now.body === undefined) now.url += url; };
    parser[HTTPParser.kOnHeadersComplete | 0] = (major, minor, fields, method, url) => {
      now = { method: methods[method], url, body: "" };
      return 0;
    };
    parser[HTTPParser.kOnBody | 0] = (bytes) => { now.body += bytes.toString("latin1"); };
    parser[HTTPParser.kOnMessageComplete | 0] = () => { found.push([now.method, now.url, now.body]); };
    const result = parser.execute(Buffer.from(text, "latin1"));
    return result instanceof Error ? result.code : found;
  });
  process.stdout.write(JSON.stringify(all));
});
`;

export interface Read {
  readonly text: string;
  readonly found: unknown;
  readonly wanted: unknown;
}

/** llhttp has a list of methods and refuses others, which is no matter of framing. */
const METHODS = /^(GET|HEAD|POST|OPTIONS) /;

/** Each text holds one request. */
export function readByLlhttp(all: readonly string[]): Read[] {
  const texts = all.filter((text) => METHODS.test(text));
  const node = Bun.spawnSync(["node", "-e", READER], { stdin: Buffer.from(JSON.stringify(texts)) });
  if (node.exitCode !== 0) throw new Error(`node failed: ${node.stderr}`);
  const read: unknown[] = JSON.parse(node.stdout.toString());
  return texts.map((text, i) => {
    const taken = takeMessage(text, "request");
    return { text, found: read[i], wanted: [[taken?.line[0], taken?.line[1], taken?.content]] };
  });
}
