// What our own code costs a request of HTTP/2, without the kernel: a client of HTTP/2, an agent in plaintext, an app of HTTP/2, a hundred
// streams at once. `bun test/bench/http2-cost.ts [pages|calls]`: nanoseconds a request; --cpu-prof shows where they go.

import type { StreamHandler } from "../../agent/base/net.ts";
import { FLAG, FRAME, PREFACE } from "../../agent/protocol/http2/frame.ts";
import { blockOf, type Fields, frameOf } from "../support/http2-end.ts";
import { endpoint, service, VIP } from "../support/mesh-fixture.ts";
import { IGNORED, nanosOf, planeOf, TakingStream } from "./cost-plane.ts";

const STREAMS = 100;
const TURNS = 1_000;

/** One end as its peer: what was written to it since. */
class End {
  readonly stream: TakingStream;
  readonly bytes = new Uint8Array(1 << 20);
  length = 0;
  prefaceBytes: number;
  constructor(handler: StreamHandler, prefaceBytes: number) {
    this.prefaceBytes = prefaceBytes;
    this.stream = new TakingStream(handler, undefined, (_, bytes, start, end) => {
      this.bytes.set(bytes.subarray(start, end), this.length);
      this.length += end - start;
    });
  }
}

const isCalls = process.argv[2] === "calls";
const ASKED: Fields = [
  [":method", isCalls ? "POST" : "GET"],
  [":scheme", "http"],
  [":authority", "240.240.0.1:9004"],
  [":path", isCalls ? "/bench.Service/Call" : "/100"],
  ["user-agent", "h2load nghttp2/1.52.0"],
  ...(isCalls
    ? ([
        ["content-type", "application/grpc"],
        ["te", "trailers"],
      ] as const)
    : []),
];
const ANSWERED: Fields = isCalls
  ? [
      [":status", "200"],
      ["content-type", "application/grpc"],
    ]
  : [
      [":status", "200"],
      ["server", "nginx/1.22.1"],
      ["date", "Tue, 24 Nov 2026 15:15:21 GMT"],
      ["content-type", "text/plain"],
      ["content-length", "100"],
    ];
const MESSAGE = new Uint8Array(isCalls ? 105 : 100).fill(120);
const END = FLAG.endStream;

/** Frames of one message; where they name their stream. */
function template(frames: readonly Uint8Array[]): { bytes: Uint8Array; at: number[] } {
  const at: number[] = [];
  let length = 0;
  for (const frame of frames) {
    at.push(length + 5);
    length += frame.length;
  }
  return { bytes: new Uint8Array(Buffer.concat(frames)), at };
}
const head = frameOf(FRAME.headers, FLAG.endHeaders | (isCalls ? 0 : END), 0, blockOf(ASKED));
const QUESTION = template(isCalls ? [head, frameOf(FRAME.data, END, 0, MESSAGE)] : [head]);
const ANSWER = template([
  frameOf(FRAME.headers, FLAG.endHeaders, 0, blockOf(ANSWERED)),
  frameOf(FRAME.data, isCalls ? 0 : END, 0, MESSAGE),
  ...(isCalls
    ? [frameOf(FRAME.headers, FLAG.endHeaders | END, 0, blockOf([["grpc-status", "0"]]))]
    : []),
]);

/** Each of them for one of those streams. */
function forAll({ bytes, at }: typeof QUESTION, streams: readonly number[]): Uint8Array {
  const all = new Uint8Array(bytes.length * streams.length);
  const view = new DataView(all.buffer);
  streams.forEach((id, i) => {
    all.set(bytes, i * bytes.length);
    for (const one of at) view.setUint32(i * bytes.length + one, id);
  });
  return all;
}

/** Streams whose end lies in what was written; and how much content. */
function endsIn(end: End): { ids: number[]; content: number } {
  const ids: number[] = [];
  let content = 0;
  const view = new DataView(end.bytes.buffer);
  for (let at = end.prefaceBytes; at < end.length; ) {
    const length = view.getUint32(at) >>> 8;
    const kind = end.bytes[at + 3];
    if (kind === FRAME.data) content += length;
    if (kind === FRAME.rstStream || kind === FRAME.goaway) throw new Error("a stream was refused");
    const isEnd = ((end.bytes[at + 4] as number) & END) !== 0;
    if (isEnd && (kind === FRAME.data || kind === FRAME.headers)) ids.push(view.getUint32(at + 5));
    at += 9 + length;
  }
  end.length = 0;
  end.prefaceBytes = 0;
  return { ids, content };
}

const credit = (bytes: number): Uint8Array => {
  const payload = new Uint8Array(4);
  new DataView(payload.buffer).setUint32(0, bytes);
  return bytes === 0 ? new Uint8Array(0) : frameOf(FRAME.windowUpdate, 0, 0, payload);
};

const apps: End[] = [];
const [http] = service().ports;
if (http === undefined) throw new Error("the fixture has a port");
const plane = planeOf(
  "client",
  {
    services: [service({ ports: [{ ...http, speaks: "http2" }] })],
    endpoints: [endpoint(0, { mesh: undefined })],
  },
  (handler) => {
    const app = new End(handler, PREFACE.length);
    apps.push(app);
    return app.stream;
  },
);
const client = new End(IGNORED, 0);
plane.acceptOutbound(client.stream, { address: VIP, port: 80 }, undefined);
client.stream.receive(PREFACE);
client.stream.receive(frameOf(FRAME.settings, 0, 0));

let next = 1;
function turn(): void {
  const ids = Array.from({ length: STREAMS }, (_, i) => next + 2 * i);
  next += 2 * STREAMS;
  client.stream.receive(forAll(QUESTION, ids));
  for (let answered = 0; answered < STREAMS; ) {
    for (const app of apps) {
      const isNew = app.prefaceBytes > 0;
      const asked = endsIn(app);
      if (isNew) app.stream.receive(frameOf(FRAME.settings, 0, 0));
      if (asked.ids.length > 0)
        app.stream.receive(Buffer.concat([credit(asked.content), forAll(ANSWER, asked.ids)]));
    }
    const heard = endsIn(client);
    answered += heard.ids.length;
    if (heard.content > 0) client.stream.receive(credit(heard.content));
  }
}

const turns = (): void => {
  for (let i = 0; i < TURNS; i++) turn();
};
const cost = nanosOf(turns, TURNS * STREAMS);
console.log(`${isCalls ? "gRPC call" : "page"}, HTTP/2 on both sides: ${cost} ns a request`);
