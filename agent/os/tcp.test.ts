import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { connect, createConnection, createServer, type Socket } from "node:net";
import type { CloseReason, Stream, StreamHandler } from "../base/net.ts";
import { Loop, RECEIVE_AT } from "./loop.ts";
import { connectTcp, localEnd } from "./socket.ts";
import { TcpStream } from "./tcp.ts";
import { listenOn } from "./tcp-listener.ts";

const quiet: StreamHandler = {
  onOpen() {},
  onData() {},
  onWritable() {},
  onEnd() {},
  onClose() {},
};

const hasUring = new Loop().batch !== undefined;
if (!hasUring) console.error("SKIPPED: this kernel refuses io_uring, so only epoll is tested");

describe("each call by itself", () => suite(false));
describe.skipIf(!hasUring)("small calls through io_uring", () => suite(true));

function suite(usesUring: boolean): void {
  const loop = new Loop({ usesUring });
  beforeAll(() => loop.start());
  afterAll(() => loop.stop());

  /** Sends everything back, keeping what the kernel does not take; pauses its peer meanwhile. */
  function echo(stream: Stream): void {
    let left: Uint8Array = new Uint8Array(0);
    let hasEnded = false;
    const flush = (): void => {
      left = left.slice(stream.write(left, 0, left.length));
      if (left.length > 0) return;
      stream.resume();
      if (hasEnded) stream.endWrite();
    };
    stream.handler = {
      ...quiet,
      onData(_s, bytes, start, end) {
        const taken = stream.write(bytes, start, end);
        if (taken === end - start) return;
        left = bytes.slice(start + taken, end);
        stream.pause();
      },
      onWritable: flush,
      onEnd() {
        hasEnded = true;
        flush();
      },
    };
  }

  function echoServer(): { port: number; close(): void } {
    let port = 0;
    const listener = listenOn(loop, "127.0.0.1", 0, { onAccept: echo });
    port = localEnd(loop, (listener as unknown as { fd: number }).fd).port;
    return { port, close: () => listener.close() };
  }

  test("10 MB come back unchanged through an echo with backpressure and half-close", async () => {
    const server = echoServer();
    const sent = new Uint8Array(10_000_000).map((_, i) => (i * 31) & 255);
    const got: Uint8Array[] = [];
    await new Promise<void>((resolve, reject) => {
      const socket = createConnection({
        port: server.port,
        host: "127.0.0.1",
        allowHalfOpen: true,
      });
      socket.on("data", (chunk) => got.push(Buffer.from(chunk)));
      socket.on("end", () => resolve());
      socket.on("error", reject);
      socket.end(sent);
    });
    expect(Buffer.concat(got).equals(Buffer.from(sent))).toBe(true);
    server.close();
  });

  test("a refused connection is told with its errno's name", async () => {
    const reason = await new Promise<CloseReason>((resolve) => {
      const fd = connectTcp(loop, "127.0.0.1", 1, undefined);
      if (!fd.ok) throw new Error(fd.error);
      const stream = new TcpStream(loop, fd.value, quiet, { address: "127.0.0.1", port: 1 }, true);
      stream.handler = { ...quiet, onClose: (_s, r) => resolve(r) };
    });
    expect(reason).toEqual({ is: "connect_failed", code: "ECONNREFUSED" });
  });

  test("an answer that a peer sent before its reset is read before the reset is told", async () => {
    const server = createServer((socket) => {
      socket.once("data", () => {
        socket.write("early answer", () => socket.resetAndDestroy());
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const port = (server.address() as { port: number }).port;
    const fd = connectTcp(loop, "127.0.0.1", port, undefined);
    if (!fd.ok) throw new Error(fd.error);
    let text = "";
    const reason = await new Promise<CloseReason>((resolve) => {
      const stream = new TcpStream(loop, fd.value, quiet, { address: "127.0.0.1", port }, true);
      stream.handler = {
        ...quiet,
        onOpen: () => stream.write(new Uint8Array(10), 0, 10),
        onData: (_s, bytes, start, end) => {
          text += Buffer.from(bytes.slice(start, end)).toString();
        },
        onClose: (_s, r) => resolve(r),
      };
    });
    expect(text).toBe("early answer");
    expect(reason.is).toBe("failed");
    server.close();
  });

  test.each(["once the end was told", "together with it"])(
    "a reset behind the end of the peer's direction is told, %s, though nobody writes",
    async (when) => {
      const isTogether = when === "together with it";
      const accepted: Socket[] = [];
      const server = createServer({ allowHalfOpen: true }, (socket) => {
        accepted.push(socket);
        socket.end("bye");
        if (isTogether) socket.once("finish", () => socket.resetAndDestroy());
      });
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      const port = (server.address() as { port: number }).port;
      const fd = connectTcp(loop, "127.0.0.1", port, undefined);
      if (!fd.ok) throw new Error(fd.error);
      const reason = await new Promise<CloseReason>((resolve) => {
        const stream = new TcpStream(loop, fd.value, quiet, { address: "127.0.0.1", port }, true);
        stream.handler = {
          ...quiet,
          onEnd: () => {
            if (!isTogether) accepted[0]?.resetAndDestroy();
          },
          onClose: (_s, r) => resolve(r),
        };
      });
      expect(reason.is).toBe("failed");
      server.close();
    },
  );

  test("data and end that arrive together are both told", async () => {
    const server = createServer((socket) => socket.end("bye"));
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const port = (server.address() as { port: number }).port;
    for (let round = 0; round < 50; round++) {
      const fd = connectTcp(loop, "127.0.0.1", port, undefined);
      if (!fd.ok) throw new Error(fd.error);
      let text = "";
      await new Promise<void>((resolve) => {
        const stream = new TcpStream(loop, fd.value, quiet, { address: "127.0.0.1", port }, true);
        stream.handler = {
          ...quiet,
          onData: (_s, bytes, start, end) => {
            text += Buffer.from(bytes.slice(start, end)).toString();
          },
          onEnd: () => {
            stream.close();
            resolve();
          },
        };
      });
      expect(text).toBe("bye");
    }
    server.close();
  });

  /** A listener of ours and one accepted stream, its node client not reading yet. */
  async function accepted(): Promise<{ stream: Stream; client: Socket }> {
    let listener: { close(): void } | undefined;
    const stream = new Promise<Stream>((resolve) => {
      listener = listenOn(loop, "127.0.0.1", 0, {
        onAccept: (one) => {
          one.handler = { ...quiet };
          resolve(one);
        },
      });
    });
    const { port } = localEnd(loop, (listener as unknown as { fd: number }).fd);
    const client = connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    client.pause();
    const one = await stream;
    listener?.close();
    return { stream: one, client };
  }

  const PIECE = 1_000;
  /** Writes numbered pieces until the kernel takes no more; how many bytes write() took. */
  function fill(stream: Stream): number {
    let taken = 0;
    for (let piece = 0; ; piece++) {
      const bytes = new Uint8Array(PIECE).fill(piece & 255);
      const count = stream.write(bytes, 0, PIECE);
      taken += count;
      if (count < PIECE) return taken;
    }
  }

  async function readAll(client: Socket): Promise<Buffer> {
    const got: Buffer[] = [];
    client.on("data", (chunk) => got.push(Buffer.from(chunk)));
    client.resume();
    await new Promise<void>((resolve, reject) => {
      client.once("end", resolve);
      client.once("error", reject);
    });
    return Buffer.concat(got);
  }

  for (const how of ["close", "endWrite"] as const) {
    test(`what write() took from a peer that does not read arrives whole and in order after ${how}()`, async () => {
      const { stream, client } = await accepted();
      const taken = fill(stream);
      expect(taken).toBeGreaterThan(PIECE);
      stream[how]();
      // A thread that ends now would take with it what the kernel has not taken.
      expect(loop.leftovers).toBe(how === "close" && usesUring ? 1 : 0);
      const got = await readAll(client);
      expect(loop.leftovers).toBe(0);
      expect(got.length).toBe(taken);
      expect(got.every((byte, i) => byte === (Math.floor(i / PIECE) & 255))).toBe(true);
      client.destroy();
      stream.close();
    });
  }

  test("a stream that another one's event pauses shows nothing until it is resumed, and then all of it", async () => {
    const pairs = await Promise.all(Array.from({ length: 8 }, accepted));
    const shown = pairs.map(() => "");
    let isFirst = true;
    const resumed = Promise.withResolvers<void>();
    pairs.forEach(({ stream }, i) => {
      stream.handler = {
        ...quiet,
        onData(_s, bytes, start, end) {
          shown[i] += Buffer.from(bytes.slice(start, end)).toString();
          if (isFirst) {
            isFirst = false;
            for (const other of pairs) if (other.stream !== stream) other.stream.pause();
            loop.wheel.after(50, () => resumed.resolve());
          }
        },
      };
    });
    await Promise.all(
      pairs.map(({ client }, i) => new Promise((resolve) => client.write(`hello ${i}`, resolve))),
    );
    await resumed.promise;
    expect(shown.filter((text) => text !== "")).toHaveLength(1);
    const rest = pairs.map(
      ({ stream }, i) =>
        new Promise<void>((resolve) => {
          const { handler } = stream;
          stream.handler = {
            ...handler,
            onData: (s, bytes, start, end) => {
              handler.onData(s, bytes, start, end);
              if (shown[i] === `hello ${i}`) resolve();
            },
          };
          if (shown[i] !== "") resolve();
        }),
    );
    for (const { stream } of pairs) stream.resume();
    await Promise.all(rest);
    expect(shown).toEqual(pairs.map((_, i) => `hello ${i}`));
    for (const { stream, client } of pairs) {
      stream.close();
      client.destroy();
    }
  });

  test("200 conversations at once, of messages small and large, never see another's byte", async () => {
    const server = echoServer();
    const talk = async (tag: number): Promise<void> => {
      const socket = connect({ port: server.port, host: "127.0.0.1" });
      for (const bytes of [1, 300, 4_095, 4_096, 4_097, 9_000, 70_000, 5]) {
        socket.write(Buffer.alloc(bytes, tag));
        let left = bytes;
        while (left > 0) {
          const chunk: Buffer | null = socket.read();
          if (chunk === null) {
            await new Promise<void>((resolve, reject) => {
              socket.once("readable", resolve);
              socket.once("close", () => reject(new Error("closed early")));
            });
            continue;
          }
          expect(chunk.every((byte) => byte === tag)).toBe(true);
          left -= chunk.length;
        }
        expect(left).toBe(0);
      }
      socket.destroy();
    };
    await Promise.all(Array.from({ length: 200 }, (_, i) => talk(i + 1)));
    server.close();
  });

  test("what a turn said has left when its end is told: whoever hears of it may end the thread", async () => {
    let hasSaid = false;
    const listener = listenOn(loop, "127.0.0.1", 0, {
      onAccept: (stream) => {
        stream.handler = {
          ...quiet,
          onData(_s, bytes, start, end) {
            stream.write(bytes, start, end);
            stream.close();
            hasSaid = true;
          },
        };
      },
    });
    const { port } = localEnd(loop, (listener as unknown as { fd: number }).fd);
    const fd = connectTcp(loop, "127.0.0.1", port, undefined);
    if (!fd.ok) throw new Error(fd.error);
    const client = new TcpStream(loop, fd.value, quiet, { address: "127.0.0.1", port }, true);
    const arrived = new Promise<number>((resolve) => {
      loop.onTurnEnd = () => {
        if (!hasSaid) return;
        loop.onTurnEnd = () => {};
        resolve(loop.libc.recv(client.fd, loop.at(RECEIVE_AT), 100, 0));
      };
    });
    client.handler = {
      ...quiet,
      onOpen() {
        client.pause();
        client.write(new TextEncoder().encode("hello"), 0, 5);
      },
    };
    expect(await arrived).toBe(5);
    client.close();
    listener.close();
  });

  test("a peer that is gone when a queued message leaves is told as a failure", async () => {
    const { stream, client } = await accepted();
    const told = new Promise<CloseReason>((resolve) => {
      stream.handler = { ...quiet, onClose: (_s, reason) => resolve(reason) };
    });
    client.resetAndDestroy();
    const again = (): void => {
      if (!stream.isOpen) return;
      stream.write(new Uint8Array(10), 0, 10);
      setImmediate(again);
    };
    again();
    expect((await told).is).toBe("failed");
  });
}
