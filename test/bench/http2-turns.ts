// An agent in plaintext between a client of HTTP/2 and an app of HTTP/2, without a kernel: a hundred streams at once, turn after turn.

import { bytesOf, concat } from "../../agent/base/bytes.ts";
import type { StreamHandler } from "../../agent/base/net.ts";
import { FLAG, FRAME, PREFACE } from "../../agent/protocol/http2/frame.ts";
import { blockOf, type Fields, frameOf } from "../support/http2-end.ts";
import { endpoint, service, VIP } from "../support/mesh-fixture.ts";
import { IGNORED, planeOf, TakingStream } from "./cost-plane.ts";

export const STREAMS = 100;

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

const CALL: Fields = [
  ["content-type", "application/grpc"],
  ["te", "trailers"],
];
const askedBy = (isCalls: boolean): Fields => [
  [":method", isCalls ? "POST" : "GET"],
  [":scheme", "http"],
  [":authority", "240.240.0.1:9004"],
  [":path", isCalls ? "/bench.Service/Call" : "/100"],
  ["user-agent", "h2load nghttp2/1.52.0"],
  ...(isCalls ? CALL : []),
];
const END = FLAG.endStream;

/** As nginx says it: each field enters the table again, RFC 7541 6.2.1. `:status` is 8 of the static table. */
const PAGE_HEAD = concat([
  Uint8Array.of(0x88),
  indexed(54, "nginx/1.22.1"),
  indexed(33, "Tue, 24 Nov 2026 15:15:21 GMT"),
  indexed(31, "text/plain"),
  indexed(28, "100"),
]);
function indexed(name: number, value: string): Uint8Array {
  return concat([Uint8Array.of(0x40 | name, value.length), bytesOf(value)]);
}

const CALL_HEAD = blockOf([
  [":status", "200"],
  ["content-type", "application/grpc"],
]);

const PORT = portOf();
function portOf(): ReturnType<typeof service>["ports"][number] {
  const [port] = service().ports;
  if (port === undefined) throw new Error("the fixture has a port");
  return port;
}

interface Message {
  readonly bytes: Uint8Array;
  readonly at: readonly number[];
}

/** Frames of one message; where they name their stream. */
function template(frames: readonly Uint8Array[]): Message {
  const at: number[] = [];
  let length = 0;
  for (const frame of frames) {
    at.push(length + 5);
    length += frame.length;
  }
  return { bytes: new Uint8Array(Buffer.concat(frames)), at };
}
/** Each of them for one of those streams. */
function forAll({ bytes, at }: Message, streams: readonly number[]): Uint8Array {
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

function messages(isCalls: boolean): { readonly question: Message; readonly answer: Message } {
  const content = new Uint8Array(isCalls ? 105 : 100).fill(120);
  const ends = isCalls ? 0 : END;
  const head = frameOf(FRAME.headers, FLAG.endHeaders | ends, 0, blockOf(askedBy(isCalls)));
  const first = frameOf(FRAME.headers, FLAG.endHeaders, 0, isCalls ? CALL_HEAD : PAGE_HEAD);
  const last = frameOf(FRAME.headers, FLAG.endHeaders | END, 0, blockOf([["grpc-status", "0"]]));
  return {
    question: template(isCalls ? [head, frameOf(FRAME.data, END, 0, content)] : [head]),
    answer: template([first, frameOf(FRAME.data, ends, 0, content), ...(isCalls ? [last] : [])]),
  };
}

/** Asks STREAMS requests and has them answered, on the connections of the turns before. */
export function turnsOf(isCalls: boolean): () => void {
  const { question, answer } = messages(isCalls);
  const apps: End[] = [];
  const plane = planeOf(
    "client",
    {
      services: [service({ ports: [{ ...PORT, speaks: "http2" }] })],
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
  return () => {
    const ids = Array.from({ length: STREAMS }, (_, i) => next + 2 * i);
    next += 2 * STREAMS;
    client.stream.receive(forAll(question, ids));
    for (let answered = 0; answered < STREAMS; ) {
      for (const app of apps) answerAll(app, answer);
      const heard = endsIn(client);
      answered += heard.ids.length;
      if (heard.content > 0) client.stream.receive(credit(heard.content));
    }
  };
}

function answerAll(app: End, answer: Message): void {
  const isNew = app.prefaceBytes > 0;
  const asked = endsIn(app);
  if (isNew) app.stream.receive(frameOf(FRAME.settings, 0, 0));
  if (asked.ids.length > 0)
    app.stream.receive(concat([credit(asked.content), forAll(answer, asked.ids)]));
}
