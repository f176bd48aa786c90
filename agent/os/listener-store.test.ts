import { afterAll, expect, test } from "bun:test";
import { createSocket } from "node:dgram";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { openInPlaceOf, ResolverSocket } from "./dns-sockets.ts";
import { mapArena } from "./ffi.ts";
import { closeLeftBehind } from "./left-behind.ts";
import { openLibc } from "./libc.ts";
import { endListeners, keptFor } from "./listener-names.ts";
import { ListenerStore } from "./listener-store.ts";
import { Loop } from "./loop.ts";
import { localEnd } from "./socket.ts";
import { TcpListener } from "./tcp-listener.ts";
import { openTransparent, UdpListener } from "./udp-listener.ts";

const loops: Loop[] = [];
const newLoop = (): Loop => {
  const loop = new Loop();
  loops.push(loop);
  return loop;
};
afterAll(() => {
  for (const loop of loops) loop.stop();
});

const dup = (fd: number): number => {
  const copy = openLibc().fcntl(fd, 0, 0); // F_DUPFD: what the manager holds
  expect(copy).toBeGreaterThan(0);
  return copy;
};
const store = (kept: { fd: number; name: string }[] = [], loop = newLoop(), thread = 0) => ({
  loop,
  store: new ListenerStore({ thread, notifySocket: undefined, kept }, loop),
});
const listens = (port: number): number =>
  readFileSync("/proc/self/net/tcp", "utf8").split(
    `0100007F:${port.toString(16).toUpperCase().padStart(4, "0")} 00000000:0000 0A`,
  ).length - 1;
const connected = (port: number) =>
  new Promise<{ ended: Promise<string> }>((resolve) => {
    const client = connect(port, "127.0.0.1");
    const ended = new Promise<string>((end) => {
      client.on("data", (data) => end(data.toString()));
      client.on("error", (error: NodeJS.ErrnoException) => end(error.code ?? "error"));
    });
    client.once("connect", () => resolve({ ended }));
  });
const onAccept = (answer: string) => ({
  onAccept(stream: import("./tcp.ts").TcpStream): void {
    stream.write(Buffer.from(answer), 0, answer.length);
    stream.close();
  },
});

test("who connects while the process is away waits, and is answered by the next one", async () => {
  const first = store();
  const fd = first.store.open("outbound", "127.0.0.1", 0);
  const { port } = localEnd(first.loop, fd);
  const copy = dup(fd);
  new TcpListener(first.loop, fd, onAccept("first")).close();
  first.loop.libc.close(fd);
  const { ended } = await connected(port);
  const next = store([{ fd: copy, name: "t0" }]);
  expect(next.store.open("outbound", "127.0.0.1", port)).toBe(copy);
  const listener = new TcpListener(next.loop, copy, onAccept("next"));
  await next.loop.start();
  expect(await ended).toBe("next");
  listener.retire();
  expect(listens(port)).toBe(0);
});

test("a workload's listener is taken up for that workload only; the rest is ended, for every copy", async () => {
  const first = store();
  const fd = first.store.open({ workload: "default/reviews" }, "127.0.0.1", 0);
  const { port } = localEnd(first.loop, fd);
  const name = "t0.730bd76c";
  const copies = [dup(fd), dup(fd)];
  const same = store([{ fd: dup(fd), name }]);
  const again = same.store.open({ workload: "default/reviews" }, "127.0.0.1", port);
  expect(localEnd(same.loop, again).port).toBe(port);
  expect(listens(port)).toBe(1);
  same.loop.libc.close(again);
  first.loop.libc.close(fd);
  const { ended } = await connected(port);
  const next = store([{ fd: copies[0] ?? -1, name }]);
  const other = next.store.open({ workload: "default/ratings" }, "127.0.0.1", port);
  expect(copies).not.toContain(other);
  next.store.retireRest("connections");
  expect(await ended).toBe("ECONNRESET");
  expect(listens(port)).toBe(1);
  next.loop.libc.close(other);
  endListeners([{ fd: copies[1] ?? -1, name }]);
});

test("what was kept for a thread that dies before it takes it up is ended with it", async () => {
  const first = store();
  const fd = first.store.open("inbound", "127.0.0.1", 0);
  const { port } = localEnd(first.loop, fd);
  const dying = store([{ fd: dup(fd), name: "t0" }]);
  first.loop.libc.close(fd);
  expect(listens(port)).toBe(1);
  expect(closeLeftBehind(dying.loop.descriptors)).toBe(1);
  expect(listens(port)).toBe(0);
});

test("kept listeners go to the thread they were kept for", () => {
  const kept = [
    { fd: 3, name: "t0" },
    { fd: 4, name: "t1.12345678" },
    { fd: 5, name: "t12" },
    { fd: 6, name: "stranger" },
  ];
  expect(keptFor(1, kept).map(({ fd }) => fd)).toEqual([4]);
  expect(keptFor(0, kept).map(({ fd }) => fd)).toEqual([3]);
});

/** Of this host's own, and of no resolver's. */
const RESOLVER = "127.9.9.53";
const datagramsOf = { datagramsOf: "default/client 15101" };
const shout = (port: number, text: string): Promise<void> => {
  const socket = createSocket("udp4");
  return new Promise((resolve) =>
    socket.send(text, port, "127.0.0.1", () => {
      socket.close();
      resolve();
    }),
  );
};
/** Reads what comes to `fd`, and says when `count` have come. */
function hear(loop: Loop, fd: number, count: number) {
  const texts: string[] = [];
  const all = Promise.withResolvers<readonly string[]>();
  const listener = new UdpListener(loop, fd, false, {
    onDatagram({ bytes, start, end }) {
      texts.push(Buffer.from(bytes.slice(start, end)).toString());
      if (texts.length === count) all.resolve(texts);
    },
  });
  return { listener, all: all.promise };
}

/** As the manager notices (epoll_ctl(2), events 0: only EPOLLERR and EPOLLHUP are told). */
function hungUp(fd: number): boolean {
  const libc = openLibc();
  const memory = mapArena(4_096);
  const epoll = libc.epoll_create1(0);
  libc.epoll_ctl(epoll, 1, fd, memory.base);
  const events = libc.epoll_wait(epoll, memory.base, 1, 0);
  libc.close(epoll);
  return events === 1 && ((memory.words[0] ?? 0) & EPOLLHUP) !== 0;
}
const EPOLLHUP = 0x10;

// CI is root; without, no socket is transparent.
if (process.getuid?.() === 0) {
  test("datagrams that come while the process is away wait, and are read by the next one, in their order", async () => {
    const first = store();
    const fd = first.store.open(datagramsOf, "127.0.0.1", 0, openTransparent);
    const { port } = localEnd(first.loop, fd);
    const { name } = first.store.describe(fd);
    expect(name).toMatch(/^t0\.[0-9a-f]{8}\.udp$/);
    const copy = dup(fd);
    new UdpListener(first.loop, fd, false, { onDatagram() {} }).close();
    for (const text of ["one", "two", "three"]) await shout(port, text);
    const next = store([{ fd: copy, name }]);
    next.store.retireRest("connections");
    expect(next.store.open(datagramsOf, "127.0.0.1", port, openTransparent)).toBe(copy);
    const heard = hear(next.loop, copy, 3);
    await next.loop.start();
    expect(await heard.all).toEqual(["one", "two", "three"]);
    heard.listener.retire();
  });

  test("names that are asked for while the process is away wait, and are answered by the next one", async () => {
    const first = store();
    const fd = first.store.keep("resolver", openInPlaceOf(first.loop, RESOLVER));
    const { name } = first.store.describe(fd);
    expect(name).toBe("t0.resolver");
    const copy = dup(fd);
    const answersWith = (text: string) => ({
      onQuery: (_query: Uint8Array, _resolver: string, reply: (answer: Uint8Array) => void) =>
        reply(Buffer.from(text)),
    });
    const asked = new ResolverSocket(first.loop, RESOLVER, answersWith("first"), fd);
    asked.begin();
    await first.loop.start();
    const client = createSocket("udp4");
    const heard = (): Promise<string> =>
      new Promise((resolve) => client.once("message", (answer) => resolve(answer.toString())));
    const ask = (): void => client.send("name?", 53, RESOLVER);
    let answer = heard();
    ask();
    expect(await answer).toBe("first");
    asked.giveAway();
    first.loop.libc.close(fd);
    answer = heard();
    ask();
    const next = store([{ fd: copy, name }]);
    expect(next.store.take("resolver", RESOLVER, 53)).toBe(copy);
    const again = new ResolverSocket(next.loop, RESOLVER, answersWith("next"), copy);
    next.store.retireRest("connections");
    again.begin();
    await next.loop.start();
    expect(await answer).toBe("next");
    client.close();
    again.close();
  });

  test("a datagram socket that is taken up for nobody is ended for every copy, whose holder sees it", async () => {
    const first = store();
    const fd = first.store.open(datagramsOf, "127.0.0.1", 0, openTransparent);
    const { name } = first.store.describe(fd);
    const managers = dup(fd);
    const next = store([{ fd: dup(fd), name }]);
    next.store.retireRest("datagrams");
    expect(hungUp(managers)).toBe(true);
    first.loop.libc.close(fd);
    first.loop.libc.close(managers);
  });
} else console.error("SKIPPED datagrams of kept listeners: only root opens transparent sockets");
