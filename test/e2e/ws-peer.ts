// A WebSocket server and client, `ws` on Node: `ws-peer serve PORT` echoes and serves an empty page beside it, `ws-peer call URL` opens several at once
// and prints what became of them.
import { createServer } from "node:http";
import { WebSocket, WebSocketServer } from "ws";

export interface ChatOutcome {
  readonly protocol: string;
  /** Extensions that both agreed to. */
  readonly extensions: string;
  /** Messages that came back as they were sent. */
  readonly same: number;
  readonly pongs: number;
  readonly code: number;
  readonly reason: string;
}

const SIZES = [0, 1, 125, 126, 65_535, 65_536, 1_000_000];
const SOCKETS = 20;

function serve(port: number): void {
  const server = createServer((_, response) => {
    response.setHeader("content-type", "text/html");
    response.end("<!doctype html><title>chat</title>");
  });
  const sockets = new WebSocketServer({ server, perMessageDeflate: true });
  sockets.on("connection", (socket) => {
    socket.on("message", (bytes, isBinary) => {
      if (String(bytes) === "bye") socket.close(4_001, "as you wish");
      else socket.send(bytes as Buffer, { binary: isBinary });
    });
  });
  server.listen(port, "::", () => console.log("serving"));
}

function chat(url: string, perMessageDeflate: boolean): Promise<ChatOutcome> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, "chat", { perMessageDeflate });
    const sent: (string | Buffer)[] = SIZES.flatMap((size, i) => [
      "t".repeat(size),
      Buffer.alloc(size, i + 1),
    ]);
    let same = 0;
    let seen = 0;
    let pongs = 0;
    socket.on("open", () => {
      for (const message of sent) {
        socket.ping();
        // In frames of their own: the first half, an empty one, the rest.
        const half = Math.floor(message.length / 2);
        socket.send(message.slice(0, half), { fin: false });
        socket.send("", { fin: false });
        socket.send(message.slice(half), { fin: true });
      }
    });
    socket.on("pong", () => {
      pongs++;
    });
    socket.on("message", (bytes: Buffer, isBinary) => {
      const wanted = sent[seen++];
      if (isBinary ? Buffer.isBuffer(wanted) && bytes.equals(wanted) : String(bytes) === wanted)
        same++;
      if (seen === sent.length) socket.send("bye");
    });
    socket.on("close", (code, reason) =>
      resolve({
        protocol: socket.protocol,
        extensions: socket.extensions,
        same,
        pongs,
        code,
        reason: String(reason),
      }),
    );
    socket.on("error", reject);
  });
}

const [, , verb = "", to = ""] = process.argv;
if (verb === "serve") serve(Number(to));
else {
  const all = await Promise.all(Array.from({ length: SOCKETS }, (_, i) => chat(to, i % 2 === 0)));
  console.log(JSON.stringify(all));
  process.exit(0);
}
