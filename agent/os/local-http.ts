// Small HTTP servers of the main thread: the admin socket (unix, for its group only) and the metrics port. Their listening sockets are
// ours, so that a successor can be given them.
import { chmodSync, chownSync, mkdirSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createListener, type Socket } from "node:net";
import { dirname } from "node:path";
import type { Result } from "../base/result.ts";
import { CannotListen } from "./cannot-listen.ts";
import { openTcpSocket, openUnixSocket } from "./listening-socket.ts";

export interface LocalAnswer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}
export type Answerer = (method: string, target: string) => LocalAnswer | Promise<LocalAnswer>;

export interface LocalServer {
  /** The listening socket. */
  readonly fd: number;
  /** Accepts no more and ends idle connections: who keeps one would go on talking to a process that is not the agent any more. What is
   *  asked already is answered. A unix socket's path stays: it may be a successor's. */
  close(): void;
}

/** From the connection, or the last answer, to a whole request. */
const REQUEST_MS = 5_000;
const CONNECTIONS_MAX = 64;

/** This runtime's HTTP server listens on no file descriptor, but its connections may come from a listener that does. Its own time-outs do
 *  not run for those: the deadline here does. */
async function serve(fd: number, answer: Answerer): Promise<LocalServer> {
  /** Of connections that wait for a request. */
  const deadlines = new Map<Socket, ReturnType<typeof setTimeout>>();
  let isClosed = false;
  const limit = (socket: Socket): void => {
    if (isClosed) socket.end();
    else
      deadlines.set(
        socket,
        setTimeout(() => socket.destroy(), REQUEST_MS),
      );
  };
  const unlimit = (socket: Socket): void => {
    clearTimeout(deadlines.get(socket));
    deadlines.delete(socket);
  };
  const http = createServer(async (request, response) => {
    const { socket } = request;
    unlimit(socket);
    request.resume(); // bodies are not read here
    response.once("close", () => {
      if (!socket.destroyed) limit(socket);
    });
    const { status, contentType, body } = await answer(request.method ?? "", request.url ?? "/");
    response.writeHead(status, {
      "content-type": contentType,
      "content-length": Buffer.byteLength(body),
    });
    response.end(request.method === "HEAD" ? "" : body);
  });
  const listener = createListener((socket) => {
    socket.on("error", () => socket.destroy());
    socket.once("close", () => unlimit(socket));
    limit(socket);
    http.emit("connection", socket);
  });
  listener.maxConnections = CONNECTIONS_MAX;
  await new Promise<void>((resolve, reject) => {
    listener.once("error", reject);
    listener.listen({ fd }, () => resolve());
  });
  return {
    fd,
    close: () => {
      isClosed = true;
      listener.close();
      for (const socket of deadlines.keys()) socket.end();
    },
  };
}

/** 0660, so only its owner and group talk to it. `groupId` undefined: the agent's own group. */
export function serveUnix(
  path: string,
  groupId: number | undefined,
  answer: Answerer,
): Promise<LocalServer> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  rmSync(path, { force: true }); // left by an agent that was killed
  const before = process.umask(0o117);
  let opened: Result<number, string>;
  try {
    opened = openUnixSocket(path);
  } finally {
    process.umask(before);
  }
  if (!opened.ok) throw new Error(`cannot listen on ${path}: ${opened.error}`);
  chmodSync(path, 0o660);
  if (groupId !== undefined) chownSync(path, process.getuid?.() ?? 0, groupId);
  return serve(opened.value, answer);
}

/** Throws CannotListen when the port is taken. */
export function serveTcp(address: string, port: number, answer: Answerer): Promise<LocalServer> {
  const opened = openTcpSocket(address, port);
  if (!opened.ok) throw new CannotListen(address, port, opened.error);
  return serve(opened.value, answer);
}

/** On a socket that a predecessor passed on. */
export const serveHanded = (fd: number, answer: Answerer): Promise<LocalServer> =>
  serve(fd, answer);
