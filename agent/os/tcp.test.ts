import { afterAll, beforeAll, expect, test } from "bun:test";
import { createConnection, createServer } from "node:net";
import type { CloseReason, Stream, StreamHandler } from "../base/net.ts";
import { Loop } from "./loop.ts";
import { connectTcp, localEnd } from "./socket.ts";
import { listenOn, TcpStream } from "./tcp.ts";

const loop = new Loop();
beforeAll(() => loop.start());
afterAll(() => loop.stop());

const quiet: StreamHandler = {
  onOpen() {},
  onData() {},
  onWritable() {},
  onEnd() {},
  onClose() {},
};

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
    const socket = createConnection({ port: server.port, host: "127.0.0.1", allowHalfOpen: true });
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
