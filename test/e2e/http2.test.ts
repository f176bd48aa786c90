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
kind.createServer(serve).listen(0, "127.0.0.1", function () { console.log(this.address().port); });`;

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
