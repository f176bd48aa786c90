// Moderate traffic of every kind for as long as it is told, through the mesh to the app of backend.ts, with what careless and hostile
// clients do among it. Says in the end what came of each kind. Runs on host a under Node.
import { Agent, request as ask } from "node:http";
import { connect } from "node:net";

export interface SoakJob {
  readonly host: string;
  readonly port: number;
  /** Opaque TCP: an echo. */
  readonly echoHost: string;
  readonly echoPort: number;
  readonly seconds: number;
  /** Exchanges begun a second. */
  readonly rate: number;
}
export interface SoakOutcome {
  readonly done: { readonly [kind: string]: number };
  /** Ended otherwise than their kind should: the first few, and how many. */
  readonly wrong: readonly string[];
  readonly wrongs: number;
}

type Kind = (job: SoakJob, agent: Agent) => Promise<string | undefined>;

/** One request through node's client; undefined when it came back as it should. */
const asks =
  (method: string, path: string, status: number, body?: string, bytes?: number): Kind =>
  ({ host, port }, agent) =>
    new Promise((resolve) => {
      const headers =
        body === undefined ? { host: "web" } : { host: "web", "transfer-encoding": "chunked" };
      const sent = ask({ host, port, method, path, agent, headers }, (response) => {
        let got = 0;
        response.on("data", (piece: Buffer) => {
          got += piece.length;
        });
        response.on("error", (error) => resolve(`${path}: ${error.message}`));
        response.on("end", () => {
          const isRight = response.statusCode === status && (bytes === undefined || bytes === got);
          resolve(isRight ? undefined : `${path}: ${response.statusCode}, ${got} bytes`);
        });
      });
      sent.on("error", (error) => resolve(`${path}: ${error.message}`));
      sent.end(body);
    });

/** Raw text on a connection of its own; what comes back must begin and end so. `cutAfter`: reset once so much has come. */
const says =
  (text: string, begins: string, ends: string, cutAfter?: number): Kind =>
  ({ host, port, echoHost, echoPort }) =>
    new Promise((resolve) => {
      const isEcho = begins === text;
      const socket = connect({
        host: isEcho ? echoHost : host,
        port: isEcho ? echoPort : port,
        allowHalfOpen: true,
      });
      let got = "";
      socket.on("error", (error) =>
        resolve(`${JSON.stringify(text.slice(0, 30))}: ${error.message}`),
      );
      socket.on("data", (piece: Buffer) => {
        got += piece.toString("latin1");
        if (cutAfter === undefined || got.length < cutAfter) return;
        socket.resetAndDestroy();
        resolve(undefined);
      });
      socket.on("end", () => {
        const isRight = got.startsWith(begins) && got.endsWith(ends);
        resolve(
          isRight
            ? undefined
            : `${JSON.stringify(text.slice(0, 30))}: ${JSON.stringify(got.slice(0, 80))}`,
        );
        socket.end();
      });
      if (isEcho) socket.end(text);
      else socket.write(text);
    });

const last = (line: string, rest = ""): string =>
  `${line} HTTP/1.1\r\nhost: web\r\nconnection: close\r\n${rest}`;
const OK = "HTTP/1.1 200 ";
const BAD = "HTTP/1.1 400 ";

/** Share of the traffic in percent, name, what it does. */
const KINDS: readonly (readonly [share: number, name: string, kind: Kind])[] = [
  [50, "small", asks("GET", "/size/1024", 200, undefined, 1_024)],
  [8, "large", asks("GET", "/size/200000", 200, undefined, 200_000)],
  [6, "chunked echo", asks("POST", "/echo", 200, "x".repeat(20_000), 20_000)],
  [4, "slow", asks("GET", "/slow/300", 200)],
  [4, "without a body", asks("GET", "/status/204", 204)],
  [4, "an error", asks("GET", "/status/500", 500)],
  [8, "a connection of its own", says(last("GET /size/512", "\r\n"), OK, "f")],
  [
    3,
    "pipelined",
    says(
      "GET /size/16 HTTP/1.1\r\nhost: web\r\n\r\n".repeat(4) + last("GET /size/16", "\r\n"),
      OK,
      "f",
    ),
  ],
  [3, "opaque TCP", says("echo ".repeat(400), "echo ".repeat(400), "echo ")],
  [3, "reset in the middle", says(last("GET /size/5000000", "\r\n"), OK, "", 100_000)],
  [
    2,
    "answered early",
    says(
      last("POST /early", "content-length: 100000\r\n\r\nx"),
      "HTTP/1.1 413 ",
      "too much\n\r\n0\r\n\r\n",
    ),
  ],
  [
    2,
    "two lengths",
    says(last("POST /echo", "content-length: 3\r\ncontent-length: 4\r\n\r\nabc"), BAD, "\n"),
  ],
  [
    2,
    "a bad chunk",
    says(last("POST /count", "transfer-encoding: chunked\r\n\r\n3\r\nabcx"), BAD, "\n"),
  ],
  [1, "no HTTP", says("\x00\x01\x02\r\n\r\n", BAD, "\n")],
];

function pick(point: number): (typeof KINDS)[number] {
  let left = point * 100;
  for (const one of KINDS) {
    left -= one[0];
    if (left < 0) return one;
  }
  throw new Error("the shares do not come to 100");
}

async function soak(job: SoakJob): Promise<SoakOutcome> {
  const agent = new Agent({ keepAlive: true, maxSockets: 24 });
  const done: Record<string, number> = {};
  const wrong: string[] = [];
  let wrongs = 0;
  const under = new Set<Promise<void>>();
  const endMs = performance.now() + job.seconds * 1_000;
  while (performance.now() < endMs) {
    const [, name, kind] = pick(Math.random());
    const one = kind(job, agent).then((how) => {
      under.delete(one);
      done[name] = (done[name] ?? 0) + 1;
      if (how === undefined) return;
      wrongs++;
      if (wrong.length < 10) wrong.push(`${name}: ${how}`);
    });
    under.add(one);
    await new Promise((resolve) => setTimeout(resolve, 1_000 / job.rate));
  }
  await Promise.all(under);
  agent.destroy();
  return { done, wrong, wrongs };
}

const [, , words] = process.argv;
if (words !== undefined)
  process.stdout.write(JSON.stringify(await soak(JSON.parse(words) as SoakJob)));
