// nghttp2, in node, as a strict reader of HTTP/2: it knows nothing of ours, and it is what many clients and apps around the agent read with.

/** Bytes of one direction of a connection, Latin-1. */
export interface ShownFrames {
  /** `client`: what a client says. `server`: what a server says to requests on streams 1, 3, 5 and so on, of these methods. */
  readonly said: "client" | "server";
  readonly methods: readonly string[];
  readonly text: string;
}
type Fields = readonly (readonly [name: string, value: string])[];
export interface FoundMessage {
  readonly id: number;
  /** Pseudo-header fields first, as they came. */
  readonly fields: Fields;
  readonly content: string;
  readonly trailers: Fields;
  /** It came to its end. */
  readonly isWhole: boolean;
}
export interface Found {
  readonly messages: readonly FoundMessage[];
  /** RST_STREAM and GOAWAY that nghttp2 sent for what it read, as `kind stream code`. */
  readonly faults: readonly string[];
}

/** Runs in node. Reads JSON, a list of ShownFrames; answers with a list of Found. */
const READER = `
const http2 = require("http2");
const { Duplex } = require("stream");
const settings = { initialWindowSize: 2 ** 31 - 1, maxConcurrentStreams: 1000 };
const pairs = (raw) => raw.reduce((all, one, i) => (i % 2 ? all[all.length - 1].push(one) : all.push([one]), all), []);
function faultsIn(out) {
  const all = Buffer.concat(out);
  const faults = [];
  let at = all.subarray(0, 3).toString() === "PRI" ? 24 : 0;
  for (; at + 9 <= all.length; at += 9 + all.readUIntBE(at, 3)) {
    const kind = all[at + 3];
    if (kind !== 3 && kind !== 7) continue;
    const code = all.readUInt32BE(at + (kind === 3 ? 9 : 13));
    if (code !== 0 && (kind === 7 || (code !== 8 && code !== 5))) faults.push([kind, all.readUInt32BE(at + 5), code].join(" "));
  }
  return faults;
}
function watch(stream, message) {
  stream.on("data", (piece) => { message.content += piece.toString("latin1"); });
  stream.on("trailers", (_, __, raw) => { message.trailers = pairs(raw); });
  stream.on("end", () => { message.isWhole = !stream.aborted && stream.rstCode === 0; });
  stream.on("error", () => {});
}
const PING = Buffer.from("000008060000000000" + "6673686f776e2121", "hex");
const PONG = Buffer.from("000008060100000000" + "6673686f776e2121", "hex");
async function until(claim, ms = 10_000) {
  for (const end = Date.now() + ms; !claim() && Date.now() < end; ) await new Promise(setImmediate);
}
async function read({ said, methods, text }) {
  const out = [];
  const messages = [];
  const wire = new Duplex({ read() {}, write(piece, _, done) { out.push(piece); done(); } });
  const blank = (id, fields) => {
    const message = { id, fields, content: "", trailers: [], isWhole: false };
    messages.push(message);
    return message;
  };
  let session;
  if (said === "client") {
    const server = http2.createServer({ settings });
    server.on("session", (one) => { session = one; one.on("error", () => {}); });
    server.on("sessionError", () => {});
    server.on("stream", (stream, _, __, raw) => watch(stream, blank(stream.id, pairs(raw))));
    server.emit("connection", wire);
  } else {
    session = http2.connect("http://a", { createConnection: () => wire, settings });
    session.on("error", () => {});
    for (const method of methods) {
      const stream = session.request({ ":method": method, ":path": "/" }, { endStream: true });
      stream.on("response", (_, __, raw) => watch(stream, blank(stream.id, pairs(raw))));
      stream.on("error", () => {});
    }
  }
  await until(() => out.length > 0);
  // Frame by frame: what is whole is told before the next one can end the connection.
  const bytes = Buffer.from(text, "latin1");
  const first = said === "client" ? 24 : 0;
  let isCut = false;
  for (let at = 0, end; at < bytes.length; at = end) {
    end = at < first ? first : at + 9 + (at + 3 <= bytes.length ? bytes.readUIntBE(at, 3) : 0);
    wire.push(bytes.subarray(at, Math.min(end, bytes.length)));
    for (let i = 0; i < 10; i++) await new Promise(setImmediate);
    isCut = end > bytes.length;
  }
  // All is read when this is answered, unless it ended before; behind its own GOAWAY nghttp2 reads no more.
  if (!isCut) wire.push(PING);
  const isOver = () => session.destroyed || Buffer.concat(out).includes(PONG) || faultsIn(out).some((fault) => fault.startsWith("7 "));
  await until(isOver, isCut ? 300 : 10_000);
  for (let i = 0; i < 10; i++) await new Promise(setImmediate);
  return { messages, faults: faultsIn(out) };
}
let input = "";
process.stdin.on("data", (piece) => { input += piece; });
process.stdin.on("end", async () => {
  const all = JSON.parse(input);
  const found = [];
  for (let at = 0; at < all.length; at += 50)
    found.push(...(await Promise.all(all.slice(at, at + 50).map(read))));
  // Nothing is taken down before: node aborts at times when sessions of a JavaScript stream are.
  process.stdout.write(JSON.stringify(found), () => process.exit());
});
`;

export function readByNghttp2(all: readonly ShownFrames[]): Found[] {
  const node = Bun.spawnSync(["node", "-e", READER], { stdin: Buffer.from(JSON.stringify(all)) });
  if (node.exitCode !== 0) throw new Error(`node failed: ${node.stderr}`);
  return JSON.parse(node.stdout.toString());
}
