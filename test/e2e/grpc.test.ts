// gRPC with its own client and server (@grpc/grpc-js on Node, no code of ours in them) through two data planes on real sockets.
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";

const isFull = process.env["IRONMESH_TIER"] === "full";
setDefaultTimeout(isFull ? 300_000 : 60_000);

const PAIR = fileURLToPath(new URL("../support/plane-pair.ts", import.meta.url));
const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const children: ChildProcess[] = [];

/** Messages are texts, and never empty: that the client takes for none. */
const SERVICE = `const grpc = require("@grpc/grpc-js");
const method = (name, requestStream, responseStream) => ({
  path: "/test.Service/" + name, requestStream, responseStream,
  requestSerialize: (text) => Buffer.from(text), requestDeserialize: String,
  responseSerialize: (text) => Buffer.from(text), responseDeserialize: String,
});
const definition = {
  Unary: method("Unary", false, false), Fail: method("Fail", false, false), Never: method("Never", false, false),
  Down: method("Down", false, true), Up: method("Up", true, false), Both: method("Both", true, true), Hold: method("Hold", true, true),
};`;

const SERVER = `${SERVICE}
const gone = new Set(); // a call may hear it twice
const server = new grpc.Server({ "grpc.max_receive_message_length": -1 });
server.addService(definition, {
  Unary: (call, done) => {
    const head = new grpc.Metadata(), trailer = new grpc.Metadata();
    head.set("x-head", call.metadata.get("x-ask")[0] ?? "");
    trailer.set("x-bytes-bin", Buffer.from([0, 255]));
    call.sendMetadata(head);
    done(null, call.request === "gone" ? String(gone.size) : "of " + call.request.length, trailer);
  },
  Fail: (call, done) => done({ code: 9, details: "50 % \\u00e9" }),
  Never: (call) => call.on("cancelled", () => gone.add(call)),
  Down: (call) => {
    const [count, bytes] = call.request.split(" ").map(Number);
    const text = "d".repeat(bytes);
    let sent = 0;
    const go = () => {
      while (sent < count) if (sent++, !call.write(text)) return call.once("drain", go);
      call.end();
    };
    go();
  },
  Up: (call, done) => {
    let bytes = 0;
    call.on("data", (text) => { bytes += text.length; });
    call.on("end", () => done(null, String(bytes)));
  },
  Both: (call) => {
    call.on("data", (text) => call.write("echo " + text));
    call.on("end", () => call.end());
  },
  Hold: (call) => {
    call.on("cancelled", () => gone.add(call));
    call.on("data", (text) => call.write("echo " + text));
  },
});
server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (_, port) => console.log(port));`;

const CLIENT = `${SERVICE}
const Client = grpc.makeGenericClientConstructor(definition, "Service");
const client = new Client("127.0.0.1:" + process.argv[1], grpc.credentials.createInsecure(), { "grpc.max_receive_message_length": -1 });
const MESSAGES = Number(process.argv[2]);
const unary = (name, text, options = {}, ask = "") => new Promise((done) => {
  const metadata = new grpc.Metadata(), said = {};
  let told = 0;
  const tell = () => { if (++told === 2) done(said); };
  if (ask) metadata.set("x-ask", ask);
  const call = client[name](text, metadata, options, (e, answer) => {
    Object.assign(said, e ? { code: e.code, details: e.details } : { answer });
    tell();
  });
  call.on("metadata", (head) => { if (ask) said.head = head.get("x-head"); });
  call.on("status", ({ metadata }) => {
    if (ask) said.trailer = metadata.get("x-bytes-bin").map((b) => [...b]);
    tell();
  });
});
const down = (text) => new Promise((done) => {
  let count = 0, bytes = 0;
  client.Down(text).on("data", (d) => { count++; bytes += d.length; })
    .on("end", () => done({ count, bytes })).on("error", ({ code }) => done({ code }));
});
const up = (count, text) => new Promise((done) => {
  const call = client.Up((e, answer) => done(e ? { code: e.code } : { answer }));
  let sent = 0;
  const go = () => {
    while (sent < count) if (sent++, !call.write(text)) return call.once("drain", go);
    call.end();
  };
  go();
});
const both = (turns) => new Promise((done) => {
  const call = client.Both();
  let turn = 0;
  call.on("data", () => { if (++turn < turns) call.write(String(turn)); else call.end(); })
    .on("end", () => done({ turn })).on("error", ({ code }) => done({ code }));
  call.write("0");
});
const cancelled = () => new Promise((done) => {
  const call = client.Hold();
  call.on("data", () => call.cancel()).on("error", ({ code }) => done({ code }));
  call.write("0");
});
const settled = async (wanted) => {
  for (;;) {
    const { answer } = await unary("Unary", "gone");
    if (answer === wanted) return answer;
    await new Promise((next) => setTimeout(next, 20));
  }
};
(async () => {
  const all = {
    unary: await unary("Unary", "hello", {}, "me"),
    large: await unary("Unary", "x".repeat(3_000_000)),
    fail: await unary("Fail", "x"),
    down: await down(MESSAGES + " 1000"),
    up: await up(MESSAGES, "y".repeat(1000)),
    both: await both(100),
    deadline: await unary("Never", "x", { deadline: Date.now() + 200 }),
    cancelled: await cancelled(),
    gone: await settled("2"),
    atOnce: (await Promise.all(Array.from({ length: 300 }, (_, i) => unary("Unary", "u".repeat(i + 1))))).filter(({ answer }, i) => answer === "of " + (i + 1)).length,
  };
  console.log(JSON.stringify(all));
  process.exit(0);
})();`;

async function start(command: string, args: readonly string[]): Promise<string> {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"], cwd: ROOT });
  children.push(child);
  if (child.stdout === null) throw new Error("the child has no output");
  const [line] = await once(child.stdout, "data");
  return String(line).trim();
}

let port = "";
beforeAll(async () => {
  const app = await start("node", ["-e", SERVER]);
  port = await start(process.execPath, [PAIR, app, "http2"]);
});
afterAll(() => {
  for (const child of children) child.kill("SIGKILL");
});

test("every kind of call, its metadata, status, deadline and cancellation pass two agents", async () => {
  const messages = isFull ? 100_000 : 2_000;
  const told = JSON.parse(await start("node", ["-e", CLIENT, port, `${messages}`]));
  expect(told).toEqual({
    unary: { answer: "of 5", head: ["me"], trailer: [[0, 255]] },
    large: { answer: "of 3000000" },
    fail: { code: 9, details: "50 % é" },
    down: { count: messages, bytes: messages * 1_000 },
    up: { answer: `${messages * 1_000}` },
    both: { turn: 100 },
    deadline: { code: 4, details: expect.any(String) },
    cancelled: { code: 1 },
    gone: "2",
    atOnce: 300,
  });
});
