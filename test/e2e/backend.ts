// The app behind the mesh: knows nothing of it. HTTP on 8080, TCP servers beside it.
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createTcpServer, type Socket } from "node:net";
import { BACKEND } from "./ports.ts";

const PIECE = Buffer.alloc(65_536, "0123456789abcdef");

/** As much as was asked for, as fast as it is taken. */
function download(response: ServerResponse, bytes: number): void {
  let left = bytes;
  const push = (): void => {
    while (left > 0) {
      const piece = left >= PIECE.length ? PIECE : PIECE.subarray(0, left);
      left -= piece.length;
      if (!response.write(piece)) return void response.once("drain", push);
    }
    response.end();
  };
  push();
}

function answer(request: IncomingMessage, response: ServerResponse): void {
  const [, verb = "", argument = ""] = (request.url ?? "").split(/[/?]/);
  switch (verb) {
    case "size":
      response.setHeader("content-length", argument);
      download(response, Number(argument));
      return;
    case "chunked":
      download(response, Number(argument));
      return;
    case "status":
      response.writeHead(Number(argument));
      return void response.end(argument === "204" ? undefined : `status ${argument}\n`);
    case "slow":
      return void setTimeout(() => response.end("slow\n"), Number(argument));
    case "early":
      // Answered while the request is still coming in.
      response.writeHead(413, { connection: "close" });
      return void response.end("too much\n");
    case "count": {
      let count = 0;
      request.on("data", (bytes: Buffer) => {
        count += bytes.length;
      });
      return void request.on("end", () => response.end(`${count}\n`));
    }
    case "echo":
      response.setHeader("x-tag", String(request.headers["x-tag"] ?? ""));
      request.on("error", () => {});
      return void request.pipe(response);
    case "mirror": {
      // The same, once the request is whole.
      response.setHeader("x-tag", String(request.headers["x-tag"] ?? ""));
      const parts: Buffer[] = [];
      request.on("error", () => {});
      request.on("data", (bytes: Buffer) => void parts.push(bytes));
      return void request.on("end", () => response.end(Buffer.concat(parts)));
    }
    default:
      response.setHeader("content-type", "application/json");
      response.end(
        JSON.stringify({
          url: request.url,
          from: request.socket.remoteAddress,
          ...request.headers,
        }),
      );
  }
}

const web = createServer(answer);
web.on("upgrade", (request: IncomingMessage, socket: Socket, head: Buffer) => {
  socket.write(
    `HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: ${request.headers.upgrade}\r\n\r\n`,
  );
  if (head.length > 0) socket.write(head);
  socket.on("error", () => {});
  socket.pipe(socket);
});
web.requestTimeout = 0;
web.listen(BACKEND.http, "::");

const serve = (port: number, each: (socket: Socket) => void): void => {
  createTcpServer({ allowHalfOpen: true }, (socket) => {
    socket.on("error", () => {});
    each(socket);
  }).listen(port, "::");
};
serve(BACKEND.echo, (socket) => socket.pipe(socket));
serve(BACKEND.banner, (socket) => {
  socket.write("220 ready\r\n");
  socket.on("data", (bytes) => socket.write(`250 ${bytes.toString().trim()}\r\n`));
  socket.on("end", () => socket.end("221 bye\r\n"));
});
// Tells how much came before the other end was done, and only then: who loses a half-close waits for ever.
serve(BACKEND.counter, (socket) => {
  let count = 0;
  socket.on("data", (bytes) => {
    count += bytes.length;
  });
  socket.on("end", () => socket.end(`${count}\n`));
});
