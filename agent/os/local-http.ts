// Small HTTP servers of the main thread, for the admin socket and the metrics port, on listening sockets of ours
// (listening-socket.ts), so that a successor can be given them. It loads the runtime's HTTP server, which takes 20 ms: a start imports it
// when traffic flows.
import { createServer } from "node:http";
import { createServer as createListener, type Socket } from "node:net";

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
   *  asked already is answered, and so is who has connected and not asked yet: the question may be on its way. A unix socket's path
   *  stays: it may be a successor's. */
  close(): void;
}

/** From the connection, or the last answer, to a whole request. */
const REQUEST_MS = 5_000;
const CONNECTIONS_MAX = 64;

/** On a listening socket, which is the server's from here on. This runtime's HTTP server listens on no file descriptor, but its
 *  connections may come from a listener that does. Its own time-outs do not run for those: the deadline here does. */
export function serveLocally(fd: number, answer: Answerer): LocalServer {
  /** Of connections that wait for a request. */
  const deadlines = new Map<Socket, ReturnType<typeof setTimeout>>();
  /** Those that have had an answer, and could do without another. */
  const served = new WeakSet<Socket>();
  let isClosed = false;
  const limit = (socket: Socket): void => {
    if (isClosed && served.has(socket)) socket.end();
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
    served.add(socket);
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
  listener.listen({ fd });
  return {
    fd,
    close: () => {
      isClosed = true;
      listener.close();
      for (const socket of deadlines.keys()) if (served.has(socket)) socket.end();
    },
  };
}
