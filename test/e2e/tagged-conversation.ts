// A client whose every byte says whose it is: opens many connections, pipelines requests with bodies of its own letter pattern on
// each, resets some in the middle, and looks at every byte that comes back. Every other connection is answered while it still sends
// (/echo), the rest once a request is whole (/mirror). Runs on host a under Node.
import { connect } from "node:net";

export interface TaggedJob {
  readonly host: string;
  readonly port: number;
  readonly connections: number;
  readonly atOnce: number;
  /** On each connection, pipelined. */
  readonly requests: number;
  readonly seed: number;
}
export interface Outcome {
  /** Answered to the last byte. */
  readonly whole: number;
  /** Reset by us, as planned. */
  readonly reset: number;
  /** Ended in order after an answer that said so: it began before its request was whole (as Envoy does). How many is a matter of
   *  timing; none of those that are answered once they are whole may. */
  readonly announced: number;
  /** Ended otherwise. */
  readonly broken: number;
  /** How the first few of those ended. */
  readonly breaks: readonly string[];
  /** What was somebody else's, the first few. */
  readonly foreign: readonly string[];
}

/** Mulberry32: the same seed, the same conversations. */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const bodyOf = (tag: string, bytes: number): string =>
  `<${tag}>`.repeat(Math.ceil(bytes / (tag.length + 2))).slice(0, bytes);

function askOf(path: string, tag: string, body: string, isChunked: boolean): string {
  const head = `POST ${path} HTTP/1.1\r\nhost: web\r\nx-tag: ${tag}\r\n`;
  if (!isChunked) return `${head}content-length: ${body.length}\r\n\r\n${body}`;
  const half = Math.floor(body.length / 2);
  const chunks = [body.slice(0, half), body.slice(half)].filter((one) => one !== "");
  const coded = chunks.map((one) => `${one.length.toString(16)}\r\n${one}\r\n`).join("");
  return `${head}transfer-encoding: chunked\r\n\r\n${coded}0\r\n\r\n`;
}

/** The body of the answer that begins the text, and what follows it; undefined: more is to come. */
interface Answer {
  readonly tag: string;
  readonly body: string;
  /** It says that the connection ends with it. */
  readonly isLast: boolean;
  readonly rest: string;
}
function readAnswer(text: string): Answer | undefined {
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) return undefined;
  const head = text.slice(0, end);
  const tag = /^x-tag: (.*)$/im.exec(head)?.[1]?.trim() ?? `no tag: ${head.slice(0, 60)}`;
  const length = /^content-length: (\d+)/im.exec(head)?.[1];
  const isLast = /^connection: close/im.test(head);
  let at = end + 4;
  if (length !== undefined) {
    if (text.length < at + Number(length)) return undefined;
    const stop = at + Number(length);
    return { tag, body: text.slice(at, stop), isLast, rest: text.slice(stop) };
  }
  let body = "";
  for (;;) {
    const line = text.indexOf("\r\n", at);
    const size = Number.parseInt(text.slice(at, line), 16);
    if (line < 0 || text.length < line + 2 + size + 2) return undefined;
    body += text.slice(line + 2, line + 2 + size);
    at = line + 2 + size + 2;
    if (size === 0) return { tag, body, isLast, rest: text.slice(at) };
  }
}

interface Wanted {
  readonly tag: string;
  readonly body: string;
}
/** Takes whole answers from the text and compares each with what its request wanted. */
function takeAnswers(
  text: string,
  wanted: Wanted[],
  foreign: string[],
): { readonly rest: string; readonly isLast: boolean } {
  let rest = text;
  let isLast = false;
  for (let answer = readAnswer(rest); answer !== undefined; answer = readAnswer(rest)) {
    rest = answer.rest;
    isLast = answer.isLast;
    const want = wanted.shift();
    if (answer.tag !== want?.tag || answer.body !== want.body)
      foreign.push(`${want?.tag} got ${answer.tag} ${answer.body.slice(0, 80)}`.slice(0, 200));
  }
  return { rest, isLast };
}

export async function converseTagged(job: TaggedJob): Promise<Outcome> {
  const random = randomFrom(job.seed);
  const foreign: string[] = [];
  const breaks: string[] = [];
  const counts = { whole: 0, reset: 0, announced: 0, broken: 0 };
  const one = (index: number): Promise<void> => {
    const wanted = Array.from({ length: job.requests }, (_, i) => {
      const tag = `c${index}r${i}`;
      return { tag, body: bodyOf(tag, Math.floor(random() ** 3 * 60_000)) };
    });
    const isEarly = index % 2 === 1;
    const path = isEarly ? "/echo" : "/mirror";
    const sent = wanted.map(({ tag, body }) => askOf(path, tag, body, random() < 0.5)).join("");
    const resetsAfter = random() < 0.25 ? Math.floor(random() * sent.length) : undefined;
    return new Promise((resolve) => {
      let text = "";
      let isLast = false;
      let at = 0;
      const socket = connect({ host: job.host, port: job.port });
      const over = (how: keyof typeof counts): void => {
        counts[how]++;
        socket.removeAllListeners("close");
        socket.on("error", () => {});
        if (how === "reset") socket.resetAndDestroy();
        else socket.destroy();
        resolve();
      };
      const broke = (why: string): void => {
        breaks.push(`c${index}r${job.requests - wanted.length} ${why}: ${text.slice(0, 200)}`);
        over("broken");
      };
      socket.on("data", (bytes) => {
        text += bytes.toString("latin1");
        if (resetsAfter !== undefined && text.length >= resetsAfter) return over("reset");
        const taken = takeAnswers(text, wanted, foreign);
        text = taken.rest;
        isLast ||= taken.isLast;
        if (wanted.length === 0) over("whole");
      });
      socket.on("error", (error) => broke(`${error.message}`));
      socket.on("close", () =>
        isEarly && isLast && text === "" ? over("announced") : broke("closed"),
      );
      // In pieces that end anywhere.
      const push = (): void => {
        if (socket.destroyed || at >= sent.length) return;
        const size = 1 + Math.floor(random() * 40_000);
        socket.write(sent.slice(at, at + size), "latin1");
        at += size;
        setImmediate(push);
      };
      push();
    });
  };
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < job.connections) await one(next++);
  };
  await Promise.all(Array.from({ length: job.atOnce }, lane));
  return { ...counts, breaks: breaks.slice(0, 5), foreign: foreign.slice(0, 5) };
}

if (process.argv[2] !== undefined)
  process.stdout.write(JSON.stringify(await converseTagged(JSON.parse(process.argv[2]))));
