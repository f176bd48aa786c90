// One side of a connection of HTTP/2, read by the agent and by nghttp2: what the agent made of it in HTTP/1.1, and whether nghttp2 finds
// the same.

import { Http2End } from "../support/http2-end.ts";
import { ClientHop, ServerHop } from "../support/http2-hop.ts";
import { type NaiveTaken, takeMessage } from "../support/naive-exchange.ts";
import { bytesOfLatin1, latin1 } from "../support/naive-http1.ts";
import type { TextEnd } from "../support/text-stream.ts";
import { Generator } from "./http1-messages.ts";
import { bend, FrameWriter, request, response, write } from "./http2-frames.ts";
import { type FoundMessage, readByNghttp2, type ShownFrames } from "./nghttp2.ts";

export interface Http2Case extends ShownFrames {
  readonly splits: boolean;
}
/** Comparable. */
type Told = readonly unknown[];
export interface Ran extends Http2Case {
  readonly passed: readonly Told[];
}

const PREFACE_BYTES = 24;
const SETTINGS_BYTES = 9;

/** What a client says: requests on streams 1, 3 and so on. */
export function requestsCase(seed: number): Http2Case {
  const g = new Generator(seed);
  const writer = new FrameWriter(g);
  writer.preface();
  const count = 1 + g.below(3);
  for (let i = 0; i < count; i++) {
    if (g.chance(0.2)) writer.noise(2 * i + 1, false);
    write(writer, g, 2 * i + 1, request(g, `id-${i}`));
  }
  return { ...bent(g, writer, PREFACE_BYTES + SETTINGS_BYTES), said: "client", methods: [] };
}

/** What an app says to requests of these methods. */
export function answersCase(seed: number): Http2Case {
  const g = new Generator(seed);
  const writer = new FrameWriter(g);
  writer.settings();
  const methods = Array.from({ length: 1 + g.below(3) }, () => g.one(["GET", "GET", "HEAD"]));
  const ids = methods.map((_, i) => 2 * i + 1);
  for (const id of g.chance(0.5) ? ids : ids.reverse()) {
    if (g.chance(0.2)) writer.noise(id, false);
    if (g.chance(0.2)) writer.headers(id, [[":status", g.one(["100", "102", "103"])]], false);
    write(writer, g, id, response(g, `id-${id}`));
  }
  return { ...bent(g, writer, SETTINGS_BYTES), said: "server", methods };
}

function bent(g: Generator, writer: FrameWriter, from: number) {
  const bytes = g.chance(0.4) ? bend(g, writer.bytes, from) : writer.bytes;
  return { text: latin1(bytes), splits: g.chance(0.5) };
}

/** Passes it to an agent. */
export function run(one: Http2Case): Ran {
  return { ...one, passed: one.said === "client" ? requestsPassed(one) : answersPassed(one) };
}

/** Says what it is told to say, and nothing behind it. */
function silentEnd(role: "client" | "server"): Http2End {
  const end = new Http2End(role, true);
  end.isPolite = false;
  return end;
}

function requestsPassed({ text, splits }: Http2Case): Told[] {
  const client = silentEnd("client");
  const hop = new ServerHop({ splits, answers: false }, client);
  client.end.send(bytesOfLatin1(text));
  hop.pass(2_000);
  const passed: Told[] = [];
  for (const app of hop.apps) {
    const taken = takeMessage(app.text, "request");
    if (taken?.isWhole === true) passed.push(requestTold(taken));
    else if (taken === undefined && app.text !== "" && app.closed?.is !== "failed")
      throw new Error(`the app got what is no request: ${JSON.stringify(app.text)}`);
  }
  client.end.stream?.reset();
  hop.expectNothingLeft();
  return passed;
}

function answersPassed({ text, splits, methods }: Http2Case): Told[] {
  const hop = new ClientHop({ splits }, () => silentEnd("server"));
  const clients = methods.map((method) => {
    const client = hop.dial();
    client.send(`${method} / HTTP/1.1\r\nhost: server\r\n\r\n`);
    hop.pass(50);
    return { method, client };
  });
  hop.app().end.send(bytesOfLatin1(text));
  hop.pass(2_000);
  const passed: Told[] = [];
  for (const { method, client } of clients) {
    const answer = finalAnswer(client, method);
    if (answer !== undefined) passed.push(answer);
  }
  for (const { client } of clients) client.stream?.reset();
  for (const app of hop.apps) app.end.stream?.reset();
  hop.expectNothingLeft();
  return passed;
}

/** The app's own, once it is whole; what comes before it are interim ones. */
function finalAnswer(client: TextEnd, method: string): Told | undefined {
  for (let rest = client.text; rest !== ""; ) {
    const taken = takeMessage(rest, "response", method);
    if (taken === undefined && client.closed?.is === "failed") return undefined;
    if (taken === undefined)
      throw new Error(`a client got what is no answer: ${JSON.stringify(rest)}`);
    rest = taken.rest;
    if (taken.line[1].startsWith("1")) continue;
    const isOwn = taken.fields.some(([name]) => name === "x-answer");
    return isOwn && taken.isWhole ? answerTold(taken) : undefined;
  }
  return undefined;
}

/** What the agent adds, and what says the same in the other version. Of an id that it made itself only nghttp2 knows that there was none. */
const ADDED =
  /^(traceparent|x-forwarded-client-cert|host|transfer-encoding|connection|x-request-id|server|date|:.*)$/;

function joined(all: readonly (readonly [string, string])[], content: string): string[] {
  const fields = all.filter(
    ([name, value]) =>
      !ADDED.test(name) && !(name === "content-length" && value === String(content.length)),
  );
  const cookies = fields.filter(([name]) => name === "cookie").map(([, value]) => value);
  const others = fields
    .filter(([name]) => !/^(cookie|te)$/.test(name))
    .map((pair) => pair.join("="));
  if (fields.some(([name]) => name === "te")) others.push("te"); // once is as good as twice
  return [...others, cookies.join("; ")].sort();
}

function requestTold({ line, fields, content }: NaiveTaken): Told {
  const host = fields.find(([name]) => name === "host")?.[1] ?? "";
  return [line[0], host, joined(fields, content), content, true];
}

function answerTold({ line, fields, content }: NaiveTaken): Told {
  return [line[1], joined(fields, content), content, true];
}

function foundTold({ id, fields, content, isWhole }: FoundMessage, { methods }: ShownFrames): Told {
  const of = (name: string): string => fields.find(([n]) => n === name)?.[1] ?? "";
  // An end of HTTP/1.1 has the whole of such an answer with its head.
  const isBodiless = methods[(id - 1) / 2] === "HEAD" || /^(204|304)$/.test(of(":status"));
  if (isBodiless) return [of(":status"), joined(fields, ""), "", true];
  // To an end of HTTP/1.1 what is as long as it said is whole, whatever becomes of the stream behind it.
  const isByLength = Number(of("content-length") || Number.NaN) === content.length;
  const whole = isWhole || isByLength;
  const status = of(":status");
  return status === ""
    ? [of(":method"), of(":authority") || of("host"), joined(fields, content), content, whole]
    : [status, joined(fields, content), content, whole];
}

interface Reading {
  readonly told: readonly Told[];
  /** It ended the connection, or failed by itself (INTERNAL_ERROR: it reads ALTSVC, a frame of no known kind to us), and may not have read all. */
  readonly gaveUp: boolean;
}

const read = (all: readonly ShownFrames[]): Reading[] =>
  readByNghttp2(all).map(({ messages, faults }, i) => ({
    told: messages.map((message) => foundTold(message, all[i] as ShownFrames)),
    gaveUp: faults.some((fault) => fault.startsWith("7 ") || fault.endsWith(" 2")),
  }));
const has = ({ told }: Reading, one: Told): boolean =>
  told.some((other) => Bun.deepEquals(one, other));
/** One reading in 200 of node's ends by a COMPRESSION_ERROR that the same bytes do not give again (seen with node 20.20). */
const READINGS = 5;

/** Throws where nghttp2 does not find what passed; returns how many messages are the same. Where nghttp2 ends the connection and RFC 9113
 *  asks for an error of the stream alone (5.1, 8.1.1: DATA behind its end, or before any HEADERS), it cannot be asked about the rest. */
export function judge(all: readonly Ran[]): number {
  const found = read(all);
  let same = 0;
  all.forEach(({ passed, ...one }, i) => {
    let reading = found[i] as Reading;
    for (const message of passed) {
      for (let times = 1; times < READINGS && !has(reading, message); times++)
        reading = read([one])[0] as Reading;
      if (has(reading, message)) same++;
      else if (!reading.gaveUp)
        throw new Error(
          `${JSON.stringify({ message, told: reading.told })}: ${JSON.stringify(one)}`,
        );
    }
  });
  return same;
}
