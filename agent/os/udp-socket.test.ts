import { afterAll, beforeAll, expect, test } from "bun:test";
import type { DatagramSocket } from "../base/datagrams.ts";
import { writeSockaddr } from "./address.ts";
import { DatagramBatch } from "./datagram-batch.ts";
import { AF_INET, SOCK_DGRAM, SOCK_FLAGS } from "./libc.ts";
import { ARGUMENTS_AT, Loop, RECEIVE_AT, RECEIVE_BYTES } from "./loop.ts";
import { localEnd, setOption } from "./socket.ts";
import { UdpSocket } from "./udp-socket.ts";

const EINVAL = 22;
const SOL_UDP = 17;
const UDP_GRO = 104;
const loop = new Loop();
const batch = new DatagramBatch(loop);
const encoder = new TextEncoder();
beforeAll(() => loop.start());
afterAll(() => loop.stop());

interface Heard {
  readonly socket: UdpSocket;
  readonly texts: string[];
  refused: number;
  notSent: number;
}

function open(toPort: number, fromPort: number, isGathered = false): Heard {
  const heard = { texts: [] as string[], refused: 0, notSent: 0 };
  const end = (port: number) => ({ address: "127.0.0.1", port });
  const socket = UdpSocket.open(
    loop,
    batch,
    { to: end(toPort), from: end(fromPort), isGathered },
    {
      onDatagram: (bytes, start, to) => {
        heard.texts.push(new TextDecoder().decode(bytes.subarray(start, to)));
      },
      onRefused: () => void heard.refused++,
      onNotSent: (datagrams) => {
        heard.notSent += datagrams;
      },
    },
  );
  if (typeof socket === "string") throw new Error(socket);
  return Object.assign(heard, { socket });
}

/** Two that hear only each other. */
function pair(isGathered: boolean): [Heard, Heard] {
  const [one, other] = [freePort(), freePort()];
  return [open(other, one), open(one, other, isGathered)];
}

/** The kernel's choice, free again. */
function freePort(): number {
  const fd = bound();
  const { port } = localEnd(loop, fd);
  loop.libc.close(fd);
  return port;
}

function bound(): number {
  const fd = loop.libc.socket(AF_INET, SOCK_DGRAM | SOCK_FLAGS, 0);
  const length = writeSockaddr(loop.arena.bytes, ARGUMENTS_AT, "127.0.0.1", 0);
  expect(loop.libc.bind(fd, loop.at(ARGUMENTS_AT), length)).toBe(0);
  return fd;
}

function say(socket: DatagramSocket, texts: readonly string[]): boolean[] {
  return texts.map((text) => {
    const bytes = encoder.encode(text);
    return socket.send(bytes, 0, bytes.length);
  });
}

async function until(isSo: () => boolean): Promise<void> {
  for (const end = Date.now() + 5_000; !isSo(); ) {
    if (Date.now() > end) throw new Error("it did not come to that within 5 s");
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

const numbered = (count: number, bytes: number): string[] =>
  Array.from({ length: count }, (_, i) => `${i} `.padEnd(bytes, "x"));

const MIXED = [
  ...numbered(5, 100),
  "a shorter one ends those",
  ...numbered(3, 100),
  "",
  ...numbered(2, 1_400),
  "x".repeat(1_401),
  ...numbered(2, 30),
  "y".repeat(60_000),
  ...numbered(200, 700), // more than one call takes, and more than the batch has room for
];

for (const isGathered of [false, true])
  test(`each datagram of a turn comes by itself and in order, received ${isGathered ? "together" : "one by one"}`, async () => {
    const [from, to] = pair(isGathered);
    expect(say(from.socket, MIXED)).not.toContain(false);
    await until(() => to.texts.length >= MIXED.length);
    expect(to.texts).toEqual(MIXED);
    expect([from.notSent, from.refused]).toEqual([0, 0]);
    for (const one of [from, to]) one.socket.close();
  });

test("those of one length leave by one call, as one through the kernel", async () => {
  const receiver = bound();
  setOption(loop, receiver, SOL_UDP, UDP_GRO, 1);
  const from = open(localEnd(loop, receiver).port, freePort());
  const texts = numbered(10, 120);
  say(from.socket, texts);
  await new Promise((resolve) => setTimeout(resolve, 20));
  const received = loop.libc.recv(receiver, loop.at(RECEIVE_AT), RECEIVE_BYTES, 0);
  const bytes = loop.arena.bytes.slice(RECEIVE_AT, RECEIVE_AT + received);
  expect(new TextDecoder().decode(bytes)).toBe(texts.join(""));
  loop.libc.close(receiver);
  from.socket.close();
});

test("what was sent before it was closed leaves", async () => {
  const [from, to] = pair(false);
  say(from.socket, numbered(3, 50));
  from.socket.close();
  expect(say(from.socket, ["late"])).toEqual([false]);
  await until(() => to.texts.length === 3);
  to.socket.close();
});

test("where the kernel cannot take several as one, each leaves by itself, and it is not asked again", async () => {
  const [from, to] = pair(false);
  const calls = withSendmsg(() => -EINVAL);
  try {
    say(from.socket, numbered(4, 80));
    from.socket.flush();
    say(from.socket, numbered(4, 80));
    from.socket.flush();
  } finally {
    calls.restore();
  }
  await until(() => to.texts.length === 8);
  expect([calls.count, from.notSent]).toEqual([1, 0]);
  for (const one of [from, to]) one.socket.close();
});

test("a port that nobody listens on is told, and costs none of those that come after somebody does", async () => {
  const [here, there] = [freePort(), freePort()];
  const from = open(there, here);
  say(from.socket, numbered(3, 80));
  await until(() => from.refused > 0);
  const to = open(here, there);
  say(from.socket, numbered(3, 80));
  await until(() => to.texts.length === 3);
  expect(from.notSent).toBe(0);
  for (const one of [from, to]) one.socket.close();
});

test("an error that an earlier datagram brought is told by the next call, which is made again", async () => {
  const [here, there] = [freePort(), freePort()];
  const from = open(there, here);
  say(from.socket, numbered(1, 80));
  from.socket.flush();
  const to = open(here, there);
  say(from.socket, numbered(3, 80));
  from.socket.flush(); // before the loop could read the error
  await until(() => to.texts.length === 3);
  expect([from.refused, from.notSent]).toEqual([1, 0]);
  for (const one of [from, to]) one.socket.close();
});

test("what the kernel has no room for is counted", () => {
  const from = open(freePort(), freePort());
  const EAGAIN = 11;
  const { libc } = loop;
  const [send, errno] = [libc.send, loop.errno];
  const calls = withSendmsg(() => -EAGAIN);
  Object.assign(libc, { send: () => -1 });
  try {
    say(from.socket, numbered(5, 80));
    from.socket.flush();
  } finally {
    calls.restore();
    Object.assign(libc, { send });
  }
  expect(loop.errno).toBe(errno);
  expect(from.notSent).toBe(5);
  from.socket.close();
});

/** In the kernel's place: what it returns, negative for an errno. */
function withSendmsg(answer: () => number): { readonly count: number; restore(): void } {
  const { libc } = loop;
  const [sendmsg, errno] = [libc.sendmsg, loop.errno];
  const state = {
    count: 0,
    restore(): void {
      Object.assign(libc, { sendmsg });
      Object.assign(loop, { errno });
    },
  };
  Object.assign(libc, {
    sendmsg: () => {
      state.count++;
      return -1;
    },
  });
  Object.assign(loop, { errno: () => -answer() });
  return state;
}
