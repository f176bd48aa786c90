// The data path on real sockets of this machine's loopback, with send buffers so small that writes are short and sockets full, and with
// clients and apps that reset, end, stall and take their time, from a seed. At the end no descriptor, buffer, slot or connection is
// left, and who did nothing wrong got exactly his answer.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import {
  type AddressInfo,
  createConnection,
  createServer,
  type Server,
  type Socket,
} from "node:net";
import { countLent } from "../../test/support/buffers-lent.ts";
import { endpoint, snapshot, VIP, workload } from "../../test/support/mesh-fixture.ts";
import { SeededRandom } from "../base/clock.ts";
import { SILENT_LOG } from "../base/log.ts";
import type { Network } from "../base/net.ts";
import { SharedSlots } from "../base/slots.ts";
import { AccessLog } from "../observe/access-log.ts";
import { DecisionBook } from "../observe/decision-book.ts";
import { SeriesTable } from "../observe/series.ts";
import { SOL_SOCKET } from "../os/libc.ts";
import { Loop, SCRATCH_AT } from "../os/loop.ts";
import { connectTcp, localEnd, setOption } from "../os/socket.ts";
import { SCRATCH_END, TcpStream } from "../os/tcp.ts";
import { listenOn, type TcpListener } from "../os/tcp-listener.ts";
import { webSocketKeys } from "../os/websocket-keys.ts";
import { sharedByThread } from "../protocol/http2/shared-by-thread.ts";
import { bucketMemory, KeyedBuckets } from "../resilience/keyed-buckets.ts";
import { DATA_PLANE_DEFAULTS } from "./config.ts";
import { DataPlane } from "./data-plane.ts";

const SO_SNDBUF = 7;
/** The kernel's least: 4,608 bytes. */
const SMALLEST = 1;
const EXCHANGES = Number(process.env["FAULT_EXCHANGES"] ?? 300);
const SEED = Number(process.env["FAULT_SEED"] ?? Date.now() % 2 ** 31);
const AT_ONCE = 24;
const BODY = "0123456789abcdef".repeat(4_096);
const QUICK = {
  headerTimeoutMs: 300,
  bodyTimeoutMs: 300,
  streamIdleTimeoutMs: 400,
  appIdleTimeoutMs: 200,
  lingerMs: 50,
};

const descriptors = (): number => readdirSync("/proc/self/fd").length;

async function until(claim: () => boolean, what: () => string): Promise<void> {
  const endMs = performance.now() + 10_000;
  while (!claim()) {
    if (performance.now() > endMs) throw new Error(`does not hold after 10 s: ${what()}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

describe.each([
  ["epoll alone", false],
  ["io_uring, where the kernel has it", true],
] as const)("%s", (_name, usesUring) => {
  const loop = new Loop({ usesUring });
  const random = new SeededRandom(SEED);
  const bugs: unknown[] = [];
  const slots = new SharedSlots(new ArrayBuffer(4096));
  let plane: DataPlane;
  let listener: TcpListener;
  let app: Server;
  const appSockets = new Set<Socket>();

  beforeAll(async () => {
    await loop.start();
    app = createServer({ allowHalfOpen: true }, (socket) => {
      appSockets.add(socket);
      socket.on("close", () => appSockets.delete(socket));
      socket.on("error", () => {});
      serveBadly(socket, random);
    });
    await new Promise<void>((resolve) => app.listen(0, "127.0.0.1", resolve));
    plane = new DataPlane(
      { ...DATA_PLANE_DEFAULTS, ...QUICK, poisonsBuffers: true },
      {
        network: smallBuffers(loop),
        http2: sharedByThread(DATA_PLANE_DEFAULTS.headersMax, {
          soon: (task) => loop.again({ onReady: task }),
          now: () => loop.nowMs(),
          arrivals: loop,
          timers: loop.wheel,
          stage: { bytes: new Uint8Array(32_768), start: 0, end: 32_768 },
          webSocketKeys,
          bug: (error) => bugs.push(error),
          count: () => {},
        }),
        clock: loop,
        wheel: loop.wheel,
        random,
        slots,
        buckets: new KeyedBuckets([1, 2], bucketMemory(64)),
        metrics: new SeriesTable({ cells: 16_384 }, () => {}),
        accessLog: new AccessLog({ mode: "off", batchCharsMax: 1 }, { write: () => {} }),
        decisions: new DecisionBook(
          { nonce: 1, hashSeed: 2 },
          { wallMs: Date.now, log: SILENT_LOG },
        ),
        log: SILENT_LOG,
        isLocalAddress: () => false,
        useName: () => {},
        bug: (error) => bugs.push(error),
      },
    );
    const { port } = app.address() as AddressInfo;
    const here = endpoint(0, { mesh: undefined, address: "127.0.0.1", port, id: "app" });
    plane.swap(snapshot("10.0.0.1", { workloads: [workload("client")], endpoints: [here] }));
    listener = listenOn(loop, "127.0.0.1", 0, {
      onAccept(stream) {
        setOption(loop, stream.fd, SOL_SOCKET, SO_SNDBUF, SMALLEST);
        plane.acceptOutbound(stream, { address: VIP, port: 80 }, 0);
      },
    });
  });
  afterAll(() => {
    listener.close();
    app.close();
    loop.stop();
  });

  test(`${EXCHANGES} exchanges of every temper, seed ${SEED}`, async () => {
    const { port } = localEnd(loop, listener.fd);
    const before = descriptors();
    const lent = countLent(plane.context.buffers);
    let served = 0;
    let left = EXCHANGES;
    const one = async (): Promise<void> => {
      while (left-- > 0) if (await askSomehow(port, random)) served++;
    };
    await Promise.all(Array.from({ length: AT_ONCE }, one));
    expect(bugs).toEqual([]);
    // Some did nothing wrong, and met an app that did nothing wrong.
    expect(served).toBeGreaterThan(EXCHANGES / 10);
    await until(
      () => plane.openConnections === 0 && slots.read(12) === 0 && slots.read(100) === 0,
      () => `${plane.openConnections} connections, ${slots.read(12)} requests`,
    );
    plane.drain();
    for (const socket of appSockets) socket.destroy();
    await until(
      () => descriptors() <= before,
      () => `${descriptors()} descriptors, ${before} before`,
    );
    expect([0, 10, 11, 12, 13, 100].map((slot) => slots.read(slot))).toEqual([0, 0, 0, 0, 0, 0]);
    expect(lent()).toBe(0);
    expect(bugs).toEqual([]);
  }, 60_000);
});

/** The real network, whose sockets take little at a time. */
function smallBuffers(loop: Loop): Network {
  const { bytes } = loop.arena;
  return {
    scratch: { bytes, start: SCRATCH_AT, end: SCRATCH_END },
    dial(target, handler) {
      const fd = connectTcp(loop, target.address, target.port, undefined);
      if (!fd.ok) throw new Error(fd.error);
      setOption(loop, fd.value, SOL_SOCKET, SO_SNDBUF, SMALLEST);
      return new TcpStream(loop, fd.value, handler, target, true);
    },
  };
}

/** Reads requests by their heads and bodies, roughly; answers well, or not. */
function serveBadly(socket: Socket, random: SeededRandom): void {
  let text = "";
  const later = (ms: number, run: () => void): void => void setTimeout(run, random.unit() * ms);
  const well = (): void => {
    socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${BODY.length}\r\n\r\n`);
    socket.write(BODY);
  };
  const moods = [
    () => socket.resetAndDestroy(),
    () => socket.end("HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\npart"),
    () => socket.end(),
    () => {},
    () => later(30, () => socket.resetAndDestroy()),
    () => socket.end(`HTTP/1.1 200 OK\r\n\r\n${BODY}`),
  ];
  socket.on("data", (piece) => {
    text += piece.toString("latin1");
    if (random.unit() < 0.05) {
      socket.pause();
      later(50, () => socket.resume());
    }
    const at = text.indexOf("\r\n\r\n");
    const length = Number(/content-length: ([0-9]+)/.exec(text)?.[1] ?? 0);
    if (at < 0 || text.length < at + 4 + length) return;
    text = "";
    (random.unit() < 0.7 ? well : (moods[Math.floor(random.unit() * moods.length)] ?? well))();
  });
}

/** One connection with one request; whether it got its answer whole. */
function askSomehow(port: number, random: SeededRandom): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = createConnection({ port, host: "127.0.0.1", allowHalfOpen: true });
    let text = "";
    let isOver = false;
    const finish = (): void => {
      if (isOver) return;
      isOver = true;
      socket.destroy();
      resolve(text.startsWith("HTTP/1.1 200") && text.endsWith(BODY));
    };
    const later = (ms: number, run: () => void): void => void setTimeout(run, random.unit() * ms);
    socket.on("error", finish);
    socket.on("close", finish);
    socket.on("end", finish);
    socket.on("data", (piece) => {
      text += piece.toString("latin1");
      if (text.endsWith(BODY)) finish();
      else if (random.unit() < 0.1) {
        socket.pause();
        later(20, () => socket.resume());
      }
    });
    const hasBody = random.unit() < 0.5;
    const head = "POST / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n";
    socket.write(hasBody ? `${head}content-length: ${BODY.length}\r\n\r\n` : `${head}\r\n`);
    const moods = [
      () => later(20, () => socket.resetAndDestroy()),
      () => socket.end(BODY.slice(0, 1_000)),
      () => later(20, () => socket.end()),
      () => {},
    ];
    if (hasBody && random.unit() < 0.8) socket.write(BODY);
    if (random.unit() < 0.3) moods[Math.floor(random.unit() * moods.length)]?.();
  });
}
