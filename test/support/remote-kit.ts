// A process on another host that runs functions sent to it, one line of JSON each, several at a time. Runs under Node, so that both
// ends of a conversation through the mesh are of somebody else's making.
import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { createServer as createHttpServer } from "node:http";
import { connect, createServer, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { decode, encode } from "dns-packet";

export interface Conversation {
  /** Latin-1. */
  readonly text: string;
  readonly how: "end" | "reset" | "timeout" | "enough" | "refused";
  readonly ms: number;
}

export interface ConverseOptions {
  readonly port: number;
  readonly host: string;
  readonly send?: string;
  /** End our direction after sending. */
  readonly ends?: boolean;
  /** Enough has come when this regular expression matches. */
  readonly until?: string;
  readonly withinMs?: number;
}

/** Connects, says, and listens until enough has come, the other end is done, or the time is over. */
function converse(options: ConverseOptions): Promise<Conversation> {
  const { host, port, send = "", ends = false, until, withinMs = 5_000 } = options;
  const startedMs = performance.now();
  const enough = until === undefined ? undefined : new RegExp(until, "s");
  return new Promise((resolve) => {
    let text = "";
    const socket = connect({ host, port, allowHalfOpen: true });
    const over = (how: Conversation["how"]): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve({ text, how, ms: performance.now() - startedMs });
    };
    const timer = setTimeout(() => over("timeout"), withinMs);
    socket.setNoDelay(true);
    socket.on("connect", () => {
      if (send !== "") socket.write(Buffer.from(send, "latin1"));
      if (ends) socket.end();
    });
    socket.on("data", (bytes) => {
      text += bytes.toString("latin1");
      if (enough?.test(text)) over("enough");
    });
    socket.on("end", () => over("end"));
    socket.on("error", (error: NodeJS.ErrnoException) =>
      over(error.code === "ECONNREFUSED" ? "refused" : "reset"),
    );
  });
}

const udpSockets = new Map<string, UdpSocket>();
let lastQuestion = 0;

/** Asks for a name's IPv4 address; `socket` names one that is kept and used again. The address, or how it went. */
function query(
  server: string,
  name: string,
  socketName?: string,
  withinMs = 1_000,
): Promise<string> {
  lastQuestion = (lastQuestion + 1) % 65_536;
  const id = lastQuestion;
  const socket = udpSockets.get(socketName ?? "") ?? createSocket("udp4");
  if (socketName !== undefined && !udpSockets.has(socketName)) {
    socket.on("error", () => {}); // also between two questions
    udpSockets.set(socketName, socket);
  }
  return new Promise((resolve) => {
    const over = (answer: string): void => {
      clearTimeout(timer);
      socket.off("message", read);
      socket.off("error", failed);
      if (socketName === undefined) socket.close();
      resolve(answer);
    };
    const read = (bytes: Buffer): void => {
      const reply = decode(bytes);
      if (reply.id !== id) return;
      const found = reply.answers?.find((one) => one.type === "A");
      over(found?.type === "A" ? found.data : "none");
    };
    const failed = (error: Error): void => over(error.message);
    const timer = setTimeout(() => over("timeout"), withinMs);
    socket.on("message", read);
    socket.on("error", failed);
    socket.send(
      encode({ type: "query", id, flags: 0x100, questions: [{ type: "A", name }] }),
      53,
      server,
    );
  });
}

/** What a name of kit.names leads to. */
export interface NameAnswers {
  readonly addresses: readonly string[];
  readonly ttl: number;
  /** The resolver says SERVFAIL instead. */
  readonly fails?: boolean;
}

/** A resolver that answers every name under example.org with one address, those of kit.names as these say by then, and knows no other.
 *  Counts what it is asked, by name and type. */
function serveNames(address: string, data: string): Promise<void> {
  const socket = createSocket("udp4");
  socket.on("message", (bytes, from) => {
    const { id = 0, questions = [] } = decode(bytes);
    const [question] = questions;
    const name = question?.name.toLowerCase() ?? "";
    const asked = `${name} ${question?.type}`;
    kit.counts.set(asked, (kit.counts.get(asked) ?? 0) + 1);
    const known =
      kit.names.get(name) ??
      (name.endsWith("example.org") ? { addresses: [data], ttl: 1 } : undefined);
    const answers = (known?.addresses ?? []).flatMap((one) => {
      const type = one.includes(":") ? ("AAAA" as const) : ("A" as const);
      return type === question?.type ? [{ type, name, ttl: known?.ttl ?? 0, data: one }] : [];
    });
    const flags = known === undefined ? 3 : known.fails === true ? 2 : 0;
    const reply = { type: "response", id, flags, questions, answers } as const;
    socket.send(encode(flags === 2 ? { ...reply, answers: [] } : reply), from.port, from.address);
  });
  return new Promise((resolve) => socket.bind(53, address, () => resolve()));
}

/** Answers each datagram with itself, over both families; counts them by where they came from, and keeps the text of short ones. */
async function echoDatagrams(port: number): Promise<void> {
  const socket = createSocket("udp6");
  socket.on("message", (bytes, from) => {
    const source = `${from.address} ${from.port}`;
    kit.counts.set(source, (kit.counts.get(source) ?? 0) + 1);
    if (bytes.length < 200) kit.texts.push(bytes.toString());
    socket.send(bytes, from.port, from.address);
  });
  await new Promise<void>((resolve) => socket.bind(port, "::", () => resolve()));
}

export interface DatagramsOptions {
  readonly host: string;
  readonly port: number;
  /** Of the payloads; each has bytes of its own. */
  readonly sizes: readonly number[];
  /** Names a socket that is kept and used again. */
  readonly socket?: string;
  readonly withinMs?: number;
  /** Between one and the next. */
  readonly gapMs?: number;
}

/** Sends them one after the other and listens until as many answers have come or the time is over: how long each answer is, in the
 *  order they came, or what is wrong with it. */
async function datagrams(options: DatagramsOptions): Promise<(number | string)[]> {
  const { host, port, sizes, socket: name, withinMs = 2_000, gapMs = 0 } = options;
  const fillingOf = (length: number): number => (length * 7 + 1) & 255;
  const socket = udpSockets.get(name ?? "") ?? createSocket(host.includes(":") ? "udp6" : "udp4");
  if (name !== undefined) udpSockets.set(name, socket);
  const answers: (number | string)[] = [];
  let resolve: () => void = () => {};
  const promise = new Promise<void>((done) => {
    resolve = done;
  });
  const read = (bytes: Buffer, from: { address: string; port: number }): void => {
    const isWhole = bytes.every((byte) => byte === fillingOf(bytes.length));
    if (from.address !== host || from.port !== port)
      answers.push(`${bytes.length} from ${from.address}:${from.port}`);
    else answers.push(isWhole ? bytes.length : `${bytes.length} altered`);
    if (answers.length >= sizes.length) resolve();
  };
  socket.on("message", read);
  socket.on("error", (error) => answers.push(error.message));
  const timer = setTimeout(resolve, withinMs);
  for (const size of sizes) {
    socket.send(Buffer.alloc(size, fillingOf(size)), port, host);
    if (gapMs > 0) await new Promise((done) => setTimeout(done, gapMs));
  }
  await promise;
  clearTimeout(timer);
  socket.removeAllListeners();
  if (name === undefined) socket.close();
  else socket.on("error", () => {}); // also between two calls
  return answers;
}

const kit = {
  connect,
  createServer,
  createHttpServer,
  converse,
  query,
  serveNames,
  echoDatagrams,
  datagrams,
  /** What outlives one function. */
  sockets: new Map<string, Socket>(),
  counts: new Map<string, number>(),
  names: new Map<string, NameAnswers>(),
  texts: [] as string[],
  sleep: (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms)),
};
export type Kit = typeof kit;

createInterface({ input: process.stdin }).on("line", async (line) => {
  const { id, source, args } = JSON.parse(line) as { id: number; source: string; args: unknown[] };
  const answer = (reply: object): void => {
    process.stdout.write(`${JSON.stringify({ id, ...reply })}\n`);
  };
  try {
    const work = new Function(`return (${source})`)() as (k: Kit, ...a: unknown[]) => unknown;
    answer({ value: (await work(kit, ...args)) ?? null });
  } catch (error) {
    answer({ error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  }
});
// A connection that fails while nobody looks is found out by whoever uses it next.
process.on("uncaughtException", (error) => console.error("remote:", error.message));
