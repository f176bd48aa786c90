// HTTP/2 with peers that nobody here wrote: curl, and Node's own client and server (nghttp2), through two data planes on real sockets.
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

setDefaultTimeout(60_000);

const PAIR = fileURLToPath(new URL("../support/plane-pair.ts", import.meta.url));
const children: ChildProcess[] = [];

/** Starts a program and returns the first line it says. */
async function start(command: string, args: readonly string[]): Promise<string> {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
  children.push(child);
  if (child.stdout === null) throw new Error("the child has no output");
  const [line] = await once(child.stdout, "data");
  return String(line).trim();
}

async function output(command: string, args: readonly string[]): Promise<string> {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] });
  if (child.stdout === null) throw new Error("the child has no output");
  let text = "";
  for await (const piece of child.stdout.setEncoding("latin1")) text += piece;
  return text;
}

const node = (script: string, ...args: string[]): [string, string[]] => [
  "node",
  ["-e", script, ...args],
];

/** Says what it was asked, as trailers too; `/big/N` answers N bytes. Works as HTTP/1.1 app and as HTTP/2 app. */
const APP = `const serve = (q, r) => {
  let bytes = 0;
  q.on("data", (piece) => { bytes += piece.length; });
  q.on("end", () => {
    const big = /^\\/big\\/(\\d+)/.exec(q.url);
    r.setHeader("x-spoken", q.httpVersion);
    if (big) return r.end(Buffer.alloc(Number(big[1]), 97));
    r.write(JSON.stringify({ url: q.url, method: q.method, bytes, trailers: q.trailers, te: q.headers.te ?? "" }));
    r.addTrailers({ "x-sum": String(bytes) });
    r.end();
  });
};
const kind = process.argv[1] === "http2" ? require("http2") : require("http");
const server = kind.createServer({ settings: { enableConnectProtocol: true } }, serve);
// WebSockets: greets by a text frame, answers a close by a close and its end, a ping by a reset, and what is no frame by itself.
const open = (stream, reset) => {
  stream.write(Buffer.from([0x81, 5, 104, 101, 108, 108, 111]));
  stream.on("error", () => {});
  stream.on("data", (d) => {
    if (d[0] === 0x88) stream.end(Buffer.from([0x88, 0]));
    else if (d[0] === 0x89) reset();
    else stream.write(d);
  });
  stream.on("end", () => stream.end("bye"));
};
server.on("upgrade", (q, socket) => {
  const accept = require("crypto").createHash("sha1")
    .update(q.headers["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest("base64");
  socket.write("HTTP/1.1 101 Switching Protocols\\r\\nconnection: upgrade\\r\\nupgrade: websocket\\r\\n"
    + "sec-websocket-protocol: " + q.headers["sec-websocket-protocol"] + "\\r\\n"
    + "sec-websocket-accept: " + accept + "\\r\\n\\r\\n");
  open(socket, () => socket.resetAndDestroy());
});
server.on("connect", (q, { stream }) => {
  if (q.headers[":protocol"] !== "websocket") return stream.respond({ ":status": 501 }, { endStream: true });
  stream.respond({ ":status": 200, "sec-websocket-protocol": q.headers["sec-websocket-protocol"] });
  open(stream, () => stream.close(8));
});
server.listen(0, "127.0.0.1", function () { console.log(this.address().port); });`;

/** Asks N times at once with content and trailers, then says what came back. */
const CLIENT = `const client = require("http2").connect("http://127.0.0.1:" + process.argv[1]);
const ask = (i) => new Promise((done, fail) => {
  const s = client.request({ ":method": "POST", ":path": "/n" + i, te: "trailers" }, { waitForTrailers: true });
  let text = "", sum;
  s.on("wantTrailers", () => s.sendTrailers({ "x-end": String(i) }));
  s.on("trailers", (t) => { sum = t["x-sum"]; });
  s.on("data", (d) => { text += d; });
  s.on("end", () => done({ ...JSON.parse(text), sum }));
  s.on("error", fail);
  s.write("x".repeat(1000)); s.end("y".repeat(i));
});
Promise.all(Array.from({ length: 200 }, (_, i) => ask(i))).then((all) => {
  console.log(JSON.stringify(all));
  client.close();
});`;

/** Asks for a WebSocket by extended CONNECT, says what it is told on its command line, and then tells what it saw. */
const TUNNEL = `const client = require("http2").connect("http://127.0.0.1:" + process.argv[1]);
client.on("remoteSettings", ({ enableConnectProtocol }) => {
  const s = client.request({ ":method": "CONNECT", ":protocol": "websocket", ":path": "/chat",
    "sec-websocket-version": "13", "sec-websocket-protocol": "chat" }, { endStream: false });
  const seen = { enableConnectProtocol, bytes: 0, text: "", error: "" };
  s.on("response", (h) => {
    seen.status = h[":status"];
    seen.protocol = h["sec-websocket-protocol"];
    if (process.argv[2] === "ping") return s.write(Buffer.from([0x89, 0]));
    s.write(Buffer.alloc(Number(process.argv[2]), 97));
    s.end("!");
  });
  s.on("data", (d) => { seen.bytes += d.length; seen.text = (seen.text + d.toString("latin1")).slice(-4); });
  s.on("error", ({ code }) => { seen.error = code; });
  s.on("close", () => { console.log(JSON.stringify({ ...seen, reset: s.rstCode })); client.close(); });
});`;

const port: { http1: string; http2: string } = { http1: "", http2: "" };

beforeAll(async () => {
  for (const kind of ["http1", "http2"] as const) {
    const app = await start(...node(APP, kind));
    port[kind] = await start(process.execPath, [PAIR, app, kind]);
  }
});
afterAll(() => {
  for (const child of children) child.kill("SIGKILL");
});

test("200 requests at once with content and trailers come to the app and back, whatever it speaks", async () => {
  for (const kind of ["http1", "http2"] as const) {
    const all = JSON.parse(await output(...node(CLIENT, port[kind])));
    expect(all).toHaveLength(200);
    all.forEach((one: unknown, i: number) => {
      expect(one).toEqual({
        url: `/n${i}`,
        method: "POST",
        bytes: 1000 + i,
        trailers: { "x-end": `${i}` },
        te: "trailers",
        sum: `${1000 + i}`,
      });
    });
  }
});

test("curl is answered over HTTP/1.1 and HTTP/2, by apps of either, also with much content", async () => {
  for (const [kind, spoken] of [
    ["http1", "1.1"],
    ["http2", "2.0"],
  ] as const) {
    for (const version of ["--http1.1", "--http2-prior-knowledge"]) {
      const url = `http://127.0.0.1:${port[kind]}`;
      const head = await output("curl", ["-s", version, "-o", "/dev/null", "-D", "-", `${url}/a`]);
      expect(head).toStartWith(version === "--http1.1" ? "HTTP/1.1 200" : "HTTP/2 200");
      expect(head.toLowerCase()).toContain(`x-spoken: ${spoken}\r\n`);
      const format = ["-o", "/dev/null", "-w", "%{size_download} %{http_code}"];
      const big = await output("curl", ["-s", version, ...format, `${url}/big/5000000`]);
      expect(big).toBe("5000000 200");
      const sent = await output("curl", ["-s", version, "--data-binary", `@${PAIR}`, `${url}/up`]);
      expect(JSON.parse(sent)).toMatchObject({ url: "/up", method: "POST" });
    }
  }
});

test("HEAD, and requests that the grammar refuses, are answered", async () => {
  const url = `http://127.0.0.1:${port.http1}/big/100`;
  const head = await output("curl", ["-s", "--http2-prior-knowledge", "-I", url]);
  expect(head).toStartWith("HTTP/2 200");
  const bad = ["-s", "--http2-prior-knowledge", "-w", "%{http_code}", "-H", "Host: a@b", url];
  expect(await output("curl", bad)).toEndWith("400");
});

test("a WebSocket over HTTP/2 carries bytes both ways to an app of either version, and ends as its ends say", async () => {
  for (const kind of ["http1", "http2"] as const) {
    const echoed = JSON.parse(await output(...node(TUNNEL, port[kind], "3000000")));
    expect(echoed).toEqual({
      enableConnectProtocol: true,
      status: 200,
      protocol: "chat",
      bytes: 7 + 3_000_001 + 3,
      text: "!bye",
      error: "",
      reset: 0,
    });
    const reset = JSON.parse(await output(...node(TUNNEL, port[kind], "ping")));
    expect(reset).toMatchObject({ status: 200, bytes: 7, reset: 8 });
  }
});

test("a WebSocket client of HTTP/1.1, which checks the handshake, talks to an app of either version", async () => {
  for (const kind of ["http1", "http2"] as const) {
    const socket = new WebSocket(`ws://127.0.0.1:${port[kind]}/chat`, "chat");
    const [greeting] = (await once(socket, "message")) as [MessageEvent];
    expect(greeting.data).toBe("hello");
    expect(socket.protocol).toBe("chat");
    socket.close();
    const [{ wasClean }] = (await once(socket, "close")) as [CloseEvent];
    expect(wasClean).toBe(true);
  }
});
