// A process of the namespace tests: listens, dials and asks as it is told on stdin, one JSON object a line, and answers each
// with one line. It runs as whatever user it was started as.
import { randomInt } from "node:crypto";
import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { connect, createServer, type Socket } from "node:net";
import { createInterface } from "node:readline";
import { decode, encode, streamEncode } from "dns-packet";
import { SILENT_LOG } from "../../agent/base/log.ts";
import { ForwardSocket, openInPlaceOf, ResolverSocket } from "../../agent/os/dns-sockets.ts";
import { Loop } from "../../agent/os/loop.ts";
import { RawAnswers } from "../../agent/os/raw-answers.ts";
import { DnsLease } from "../../agent/os/redirect/lease.ts";
import { hostRunner } from "../../agent/os/redirect/runner.ts";
import { isLocalAddress } from "../../agent/os/route.ts";
import { connectTcp } from "../../agent/os/socket.ts";
import { TcpStream } from "../../agent/os/tcp.ts";
import { listenOn } from "../../agent/os/tcp-listener.ts";
import { openTransparent, UdpListener } from "../../agent/os/udp-listener.ts";
import { NameServer } from "../../agent/proxy/names.ts";
import { forwardOverTcp, NameStreams } from "../../agent/proxy/names-stream.ts";

type Order = { act: string } & Record<string, unknown>;
const seen: Record<string, number> = {};
let loop: Loop | undefined;
const held = new Map<string, Socket | UdpSocket>();

async function ourLoop(): Promise<Loop> {
  if (loop === undefined) {
    loop = new Loop();
    await loop.start();
  }
  return loop;
}

const note = (what: string): void => {
  seen[what] = (seen[what] ?? 0) + 1;
};

/** Listens as the agent does, and notes `PORT <- ORIGINAL DESTINATION`. */
async function listenRedirected({ address, port }: Order): Promise<unknown> {
  const own = await ourLoop();
  listenOn(own, address as string, port as number, {
    onAccept(stream, original) {
      note(`${port} <- ${original?.address}:${original?.port}`);
      stream.close();
    },
  });
  return "listening";
}

/** Takes datagrams as the agent does, notes `udp PORT <- ORIGINAL DESTINATION`, and sends each back as if from there. */
async function listenDatagrams({ address, port }: Order): Promise<unknown> {
  const own = await ourLoop();
  const answers = new RawAnswers(own);
  const at = address as string;
  const opened = openTransparent(own, at, port as number);
  if (!opened.ok) throw new Error(`${at} ${port}: ${opened.error}`);
  new UdpListener(own, opened.value, at.includes(":"), {
    onDatagram({ from, to, bytes, start, end }) {
      note(`udp ${port} <- ${to.address}:${to.port}`);
      answers.answerer(to, from).send(bytes, start, end);
    },
  });
  return "listening";
}

/** Servers that wait for an answer of their own now: two that echo each other's echoes would never end. */
const asking = new Set<UdpSocket>();

/** An ordinary server of datagrams that notes them, and echoes. */
function echoDatagrams({ port }: Order): Promise<unknown> {
  const socket = createSocket("udp6");
  socket.on("message", (bytes, from) => {
    if (asking.has(socket)) return;
    note(`udp ${port}`);
    socket.send(bytes, from.port, from.address);
  });
  held.set(`udp ${port}`, socket);
  return new Promise((resolve) => {
    socket.on("error", (error) => resolve(error.message));
    socket.bind(port as number, "::", () => resolve("listening"));
  });
}

/** One datagram there and back within half a second; `by` names a server's socket to send from. Unless `by` is given it is a connected
 *  socket, so an answer from elsewhere is not heard. */
function datagram({ address, port, text, by }: Order): Promise<unknown> {
  const isIpv6 = (address as string).includes(":");
  const known = held.get(by as string) as UdpSocket | undefined;
  return new Promise((resolve) => {
    const socket = known ?? createSocket(isIpv6 ? "udp6" : "udp4");
    const end = (outcome: string): void => {
      clearTimeout(timer);
      if (known === undefined) socket.close();
      asking.delete(socket);
      resolve(outcome);
    };
    const timer = setTimeout(() => end("silence"), 500);
    const answered = (bytes: Buffer, from: { address: string; port: number }): void =>
      end(isFrom(from) ? bytes.toString() : `answered by ${from.address} port ${from.port}`);
    const isFrom = (from: { address: string; port: number }): boolean =>
      from.port === port && from.address.replace(/^::ffff:/, "") === address;
    socket.once("message", answered);
    if (known !== undefined) {
      asking.add(socket);
      socket.send(
        text as string,
        port as number,
        isIpv6 ? (address as string) : `::ffff:${address}`,
      );
      return;
    }
    socket.once("error", (error: NodeJS.ErrnoException) => end(error.code ?? "error"));
    socket.connect(port as number, address as string, () => socket.send(text as string));
  });
}

/** An ordinary server that notes what it reads, and echoes. */
function listenPlain({ address, port }: Order): Promise<unknown> {
  return new Promise((resolve) => {
    const server = createServer((socket) => {
      note(`accepted ${port}`);
      socket.on("error", () => {});
      socket.on("data", (data) => socket.write(data));
    });
    server.on("error", (error) => resolve(error.message));
    server.listen(port as number, address as string, () => resolve("listening"));
  });
}

function dialOnce(address: string, port: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect(port, address);
    const end = (outcome: string): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(outcome);
    };
    const timer = setTimeout(() => end("timeout"), 700);
    socket.on("connect", () => {
      socket.write("x");
      end("connected");
    });
    socket.on("error", (error: NodeJS.ErrnoException) => end(error.code ?? "error"));
  });
}

/** Connects, sends and closes at once, many times; counts the outcomes. */
async function dial({ address, port, times = 1 }: Order): Promise<unknown> {
  const outcomes: Record<string, number> = {};
  const one = async (): Promise<void> => {
    const outcome = await dialOnce(address as string, port as number);
    outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
  };
  for (let left = times as number; left > 0; left -= 25) {
    await Promise.all(Array.from({ length: Math.min(25, left) }, one));
  }
  return outcomes;
}

/** A session that stays, as SSH does. */
function hold({ name, address, port }: Order): Promise<unknown> {
  return new Promise((resolve) => {
    const socket = connect(port as number, address as string, () => resolve("connected"));
    socket.on("error", (error) => resolve(error.message));
    held.set(name as string, socket);
  });
}

/** Both directions of the held session, within a second. */
function exchange({ name, text }: Order): Promise<unknown> {
  const socket = held.get(name as string) as Socket;
  return new Promise((resolve) => {
    const timer = setTimeout(() => resolve("silence"), 1_000);
    socket.once("data", (data) => {
      clearTimeout(timer);
      resolve(data.toString());
    });
    socket.write(text as string);
  });
}

const answerOf = (message: Uint8Array): string => {
  const packet = decode(Buffer.from(message));
  const first = packet.answers?.[0];
  return first !== undefined && "data" in first
    ? String(first.data)
    : `no answer (${packet.flags ?? 0})`;
};

/** A query over UDP; `name` keeps the socket for the next one. Connected, so an answer from elsewhere is not heard. */
function query({
  socket: name,
  server,
  question,
  type = "A",
  withinMs = 700,
}: Order): Promise<unknown> {
  const isIpv6 = (server as string).includes(":");
  const known = held.get(name as string) as UdpSocket | undefined;
  return new Promise((resolve) => {
    const socket = known ?? createSocket(isIpv6 ? "udp6" : "udp4");
    if (typeof name === "string") held.set(name, socket);
    const id = randomInt(65_536);
    const end = (outcome: string): void => {
      clearTimeout(timer);
      socket.removeAllListeners("message");
      socket.removeAllListeners("error");
      socket.on("error", () => {});
      if (name === undefined) socket.close();
      resolve(outcome);
    };
    const timer = setTimeout(() => end("silence"), withinMs as number);
    socket.on("message", (message, from) => {
      if (message.readUInt16BE(0) === id)
        end(from.address === server ? answerOf(message) : `answered by ${from.address}`);
    });
    socket.on("error", (error: NodeJS.ErrnoException) => end(error.code ?? "error"));
    const message = encode({
      type: "query",
      id,
      flags: 256,
      questions: [{ name: question as string, type: type as "A" }],
    });
    if (known === undefined) socket.connect(53, server as string, () => socket.send(message));
    else socket.send(message);
  });
}

function queryTcp({ server, question, type = "A" }: Order): Promise<unknown> {
  return new Promise((resolve) => {
    const socket = connect(53, server as string);
    let got = Buffer.alloc(0);
    const timer = setTimeout(() => resolve("silence"), 3_000);
    socket.on("connect", () => {
      socket.write(
        streamEncode({
          type: "query",
          id: 7,
          flags: 256,
          questions: [{ name: question as string, type: type as "A" }],
        }),
      );
    });
    socket.on("data", (data: Buffer) => {
      got = Buffer.concat([got, data]);
      if (got.length < 2 || got.length < 2 + got.readUInt16BE(0)) return;
      clearTimeout(timer);
      resolve(answerOf(got.subarray(2)));
      socket.destroy();
    });
    socket.on("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? "error"));
  });
}

/** The world's resolver: every name is `data`, over UDP and TCP. */
async function resolver({ addresses, data }: Order): Promise<unknown> {
  const reply = (message: Buffer): Buffer => {
    const { id, questions } = decode(message);
    const name = questions?.[0]?.name ?? "";
    note(`resolved ${name}`);
    return encode({
      type: "response",
      id: id ?? 0,
      flags: 0x180,
      questions: questions ?? [],
      answers: [{ type: "A", name, ttl: 1, data: data as string }],
    });
  };
  for (const address of addresses as string[]) {
    const udp = createSocket(address.includes(":") ? "udp6" : "udp4");
    udp.on("message", (message, from) => udp.send(reply(message), from.port, from.address));
    await new Promise<void>((resolve) => udp.bind(53, address, () => resolve()));
    const tcp = createServer((socket) => {
      socket.on("data", (bytes: Buffer) => {
        const answer = reply(bytes.subarray(2));
        socket.write(
          Buffer.concat([Buffer.from([answer.length >> 8, answer.length & 255]), answer]),
        );
      });
      socket.on("error", () => {});
    });
    await new Promise<void>((resolve) => tcp.listen(53, address, () => resolve()));
  }
  return "resolving";
}

/** The agent's resolver, wired as the agent wires it. */
async function capture({ backend, resolvers, vip4, vip6 }: Order): Promise<unknown> {
  const own = await ourLoop();
  const names = new NameServer(
    { resolvers: resolvers as string[], hasIpv6: true },
    {
      resolveName: (name) =>
        name === "reviews" ? { vip4: vip4 as string, vip6: vip6 as string } : "not_ours",
      timers: own.wheel,
      randomId: () => randomInt(65_536),
      forwarders: {
        open(to, transport, events) {
          if (transport === "udp") return ForwardSocket.open(own, to, events);
          return forwardOverTcp(
            { scratch: { bytes: own.arena.bytes, start: 0, end: 0 }, dial: dialPlain(own) },
            to,
            events,
          );
        },
      },
    },
  );
  const streams = new NameStreams(names, own.wheel);
  for (const resolver of resolvers as string[]) {
    const events = {
      onQuery: (message: Uint8Array, asked: string, reply: (answer: Uint8Array) => void) =>
        names.answer(message, "udp", asked, reply),
    };
    new ResolverSocket(own, resolver, events, openInPlaceOf(own, resolver)).begin();
  }
  for (const address of ["127.0.0.1", "::1"]) {
    listenOn(own, address, 15_053, {
      onAccept: (stream, original) => streams.accept(stream, original?.address),
    });
  }
  await new DnsLease(
    { backend: backend as "nft", resolvers: resolvers as string[] },
    { runner: hostRunner(), timers: own.wheel, log: SILENT_LOG },
  ).start();
  return "capturing";
}

const dialPlain =
  (own: Loop): Parameters<typeof forwardOverTcp>[0]["dial"] =>
  (target, handler) => {
    const fd = connectTcp(own, target.address, target.port, undefined);
    if (!fd.ok) throw new Error(fd.error);
    return new TcpStream(own, fd.value, handler, target, true);
  };

const acts: Record<string, (order: Order) => Promise<unknown> | unknown> = {
  hello: () => "hello",
  seen: () => seen,
  listenRedirected,
  listenPlain,
  listenDatagrams,
  echoDatagrams,
  datagram,
  dial,
  hold,
  exchange,
  query,
  queryTcp,
  resolver,
  capture,
  isLocal: async ({ address }) => isLocalAddress(await ourLoop(), address as string),
};

for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line) as Order;
  let answer: unknown;
  try {
    answer = await acts[order.act]?.(order);
  } catch (error) {
    answer = { failed: String(error) };
  }
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
process.exit(0);
