// The router's resolver and one ordinary web site: the world outside of the mesh. A host's plain names must go on working, so
// there has to be one to ask for. Knows ORDINARY_NAME and nothing else.
import { createSocket } from "node:dgram";
import { createServer as createWebServer } from "node:http";
import { createServer } from "node:net";
import { type Answer, decode, encode, type Question } from "dns-packet";
import { ORDINARY_NAME } from "../layout.ts";
import { untilTold } from "./relay.ts";

/** One host's view: the site is at the router's address that faces it. */
export interface ResolverConfig {
  /** Where to listen, one address a host. */
  readonly addresses: readonly string[];
}

export async function serveResolver({ addresses }: ResolverConfig): Promise<void> {
  await Promise.all(addresses.flatMap((address) => [listenUdp(address), listenTcp(address)]));
  const site = createWebServer((_request, response) => {
    response.end("an ordinary web site, outside of the mesh\n");
  });
  await new Promise<void>((resolve) => site.listen(80, "0.0.0.0", resolve));
  console.log("ready");
  await untilTold();
}

function listenUdp(address: string): Promise<void> {
  const socket = createSocket("udp4");
  socket.on("error", (cause) => console.error(`resolver: ${cause.message}`));
  socket.on("message", (query, from) => {
    const answer = answerTo(query, address);
    if (answer !== undefined) socket.send(answer, from.port, from.address);
  });
  return new Promise((resolve) => socket.bind(53, address, () => resolve()));
}

function listenTcp(address: string): Promise<void> {
  const server = createServer((socket) => {
    let waiting = Buffer.alloc(0);
    socket.on("error", () => socket.destroy());
    socket.on("data", (bytes: Buffer) => {
      waiting = Buffer.concat([waiting, bytes]);
      if (waiting.length < 2 || waiting.length < 2 + waiting.readUInt16BE(0)) return;
      const answer = answerTo(waiting.subarray(2, 2 + waiting.readUInt16BE(0)), address);
      if (answer === undefined) return void socket.destroy();
      const framed = Buffer.alloc(2 + answer.length);
      framed.writeUInt16BE(answer.length, 0);
      framed.set(answer, 2);
      socket.end(framed);
    });
  });
  return new Promise((resolve) => server.listen(53, address, () => resolve()));
}

const NXDOMAIN = 3;
const AUTHORITATIVE = 0x0400;

function answerTo(query: Uint8Array, address: string): Buffer | undefined {
  try {
    const { id = 0, questions = [] } = decode(Buffer.from(query));
    const [question] = questions as readonly Question[];
    const isKnown = question?.name.toLowerCase() === ORDINARY_NAME;
    const answers: Answer[] =
      isKnown && question.type === "A"
        ? [{ type: "A", name: question.name, ttl: 5, data: address }]
        : [];
    return encode({
      type: "response",
      id,
      flags: AUTHORITATIVE | (isKnown ? 0 : NXDOMAIN),
      questions: questions as Question[],
      answers,
    });
  } catch {
    return undefined; // not a query: nobody waits for an answer
  }
}
