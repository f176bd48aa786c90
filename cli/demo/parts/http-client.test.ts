import { afterEach, expect, test } from "bun:test";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { askOnce, HttpConnection, TrafficError } from "./http-client.ts";

const servers: Server[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

/** A server that gives each connection to `serve`. */
async function listening(serve: (socket: Socket) => void): Promise<{ host: string; port: number }> {
  const server = createServer((socket) => {
    socket.on("error", () => socket.destroy());
    serve(socket);
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { host: "127.0.0.1", port: (server.address() as AddressInfo).port };
}
const question = { path: "/", host: "shop" };
const failureOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "none",
    (cause: unknown) => (cause instanceof TrafficError ? cause.failure : String(cause)),
  );

test("bodies are read by length, in chunks and to the connection's end", async () => {
  const answers = [
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\nhello",
  ];
  for (const answer of answers) {
    const target = await listening((socket) => socket.once("data", () => socket.end(answer)));
    expect(await askOnce(target, question)).toMatchObject({ status: 200, body: "hello" });
  }
});

test("a connection is kept for the next question", async () => {
  let connections = 0;
  const target = await listening((socket) => {
    connections += 1;
    socket.on("data", () => socket.write("HTTP/1.1 204 No Content\r\n\r\n"));
  });
  const connection = await HttpConnection.open(target, 1_000);
  for (let i = 0; i < 3; i++) expect((await connection.ask(question)).status).toBe(204);
  connection.close();
  expect(connections).toBe(1);
});

test("a connection whose server said close is not used again, though its end has not come yet", async () => {
  const target = await listening((socket) =>
    socket.on("data", () => socket.write("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")),
  );
  const connection = await HttpConnection.open(target, 1_000);
  expect(connection.isUsable).toBe(true);
  await connection.ask(question);
  expect(connection.isUsable).toBe(false);
  connection.close();
});

test("every way to get no answer has its name, and nothing is tried twice", async () => {
  let connections = 0;
  const counted = (serve: (socket: Socket) => void) =>
    listening((socket) => {
      connections += 1;
      serve(socket);
    });
  const reset = await counted((socket) => socket.once("data", () => socket.resetAndDestroy()));
  const cut = await counted((socket) =>
    socket.once("data", () => socket.end("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhel")),
  );
  const silent = await counted((socket) => socket.resume());
  const other = await counted((socket) => socket.once("data", () => socket.end("SSH-2.0\r\n\r\n")));
  expect(await failureOf(askOnce(reset, question))).toBe("reset");
  expect(await failureOf(askOnce(cut, question))).toBe("closed");
  expect(await failureOf(askOnce(silent, question, 50))).toBe("timeout");
  expect(await failureOf(askOnce(other, question))).toBe("garbage");
  expect(connections).toBe(4);
  const { port } = silent;
  for (const server of servers.splice(0)) await new Promise((resolve) => server.close(resolve));
  expect(await failureOf(askOnce({ host: "127.0.0.1", port }, question))).toBe("refused");
});
