// Small HTTP servers of the main thread: the admin socket (unix, for its group only) and the metrics port.
import { chmodSync, chownSync, mkdirSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { dirname } from "node:path";
import { CannotListen } from "./cannot-listen.ts";

export interface LocalAnswer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}
export type Answerer = (method: string, target: string) => LocalAnswer;

const HEADERS_MS = 5_000;
const CONNECTIONS_MAX = 64;

function serverOf(answer: Answerer): Server {
  const server = createServer((request, response) => {
    request.resume(); // bodies are not read here
    const { status, contentType, body } = answer(request.method ?? "", request.url ?? "/");
    response.writeHead(status, {
      "content-type": contentType,
      "content-length": Buffer.byteLength(body),
    });
    response.end(request.method === "HEAD" ? "" : body);
  });
  server.headersTimeout = HEADERS_MS;
  server.requestTimeout = HEADERS_MS;
  server.maxConnections = CONNECTIONS_MAX;
  return server;
}

/** 0660, so only its owner and group talk to it. `groupId` undefined: the agent's own group. */
export async function serveUnix(
  path: string,
  groupId: number | undefined,
  answer: Answerer,
): Promise<Server> {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  rmSync(path, { force: true }); // left by an agent that was killed
  const server = serverOf(answer);
  const before = process.umask(0o117);
  try {
    await listening(server, () => server.listen(path));
  } finally {
    process.umask(before);
  }
  chmodSync(path, 0o660);
  if (groupId !== undefined) chownSync(path, process.getuid?.() ?? 0, groupId);
  return server;
}

/** Throws CannotListen when the port is taken. */
export async function serveTcp(address: string, port: number, answer: Answerer): Promise<Server> {
  const server = serverOf(answer);
  try {
    await listening(server, () => server.listen(port, address));
  } catch (error) {
    throw new CannotListen(address, port, (error as { code?: string }).code ?? String(error));
  }
  return server;
}

function listening(server: Server, listen: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.once("listening", () => resolve());
    listen();
  });
}
