// Structure-aware differential fuzz of the HTTP/1.1 codec, both directions: streams of pipelined messages, mostly valid and then bent, go through
// read, normalise, edit and body scan; whatever the codec accepts and forwards must mean the same to a second, naive reader, message for
// message. Bounded by time: FUZZ_SECONDS (default 2). A failure prints its seed and its bytes: add those to corpus/http1-codec.json, so
// that they are tried first ever after, whatever the generator becomes.
// Run: bun test test/fuzz
import { expect, test } from "bun:test";
import { BodyReader } from "../../agent/protocol/http1/body.ts";
import { editInPlace, editInto } from "../../agent/protocol/http1/edit.ts";
import { HEAD_LIMITS, RequestHead, ResponseHead } from "../../agent/protocol/http1/head.ts";
import { normalizeTarget } from "../../agent/protocol/http1/normalize.ts";
import { readRequestHead } from "../../agent/protocol/http1/read-request.ts";
import { readResponseHead } from "../../agent/protocol/http1/read-response.ts";
import { NEED_MORE } from "../../agent/protocol/http1/refusal.ts";
import {
  bytesOfLatin1,
  dechunkNaively,
  latin1,
  type NaiveMessage,
  readNaively,
  valuesOf,
} from "../support/naive-http1.ts";
import corpus from "./corpus/http1-codec.json" with { type: "json" };
import { Generator, requests, responses } from "./http1-messages.ts";

const SECONDS = Number(process.env["FUZZ_SECONDS"] ?? 2);
const ROOM = 8192;
const TAIL = bytesOfLatin1("x-request-id: 1\r\n");

/** What the codec decided on, and the bytes that leave. */
interface Forwarded {
  readonly line: readonly string[];
  readonly fields: readonly string[];
  readonly kind: string;
  readonly out: string;
}

/** Feeds text[from..] cut at random places, as a socket would; returns where it ends or a code, the same for every cut. */
function scanInPieces(
  g: Generator,
  reader: BodyReader,
  bytes: Uint8Array,
  from: number,
  end: number,
): number {
  let at = from;
  while (!reader.isDone && at < end) {
    const to = Math.min(end, at + 1 + g.below(6));
    const result = reader.scan(bytes, at, to);
    if (result !== NEED_MORE) return result;
    at = to;
  }
  return reader.isDone ? at : NEED_MORE;
}

function editedHead(head: RequestHead | ResponseHead): string {
  const out = new Uint8Array(ROOM);
  const end = editInto(head, TAIL, 0, TAIL.length, out, 0, out.length);
  const text = latin1(out.subarray(0, end));
  const copy = head.bytes;
  const saved = copy.slice();
  const placedEnd = editInPlace(head, TAIL, 0, TAIL.length, copy.length);
  expect(latin1(copy.subarray(head.start, placedEnd))).toBe(text);
  copy.set(saved);
  return text;
}

/** From the offsets that policy matches on. */
const pathAndQuery = (head: RequestHead): string =>
  head.queryStart > head.pathEnd ? `${head.path}?${head.query}` : head.path;

function keptFields(head: RequestHead | ResponseHead): string[] {
  const kept: string[] = [];
  for (let i = 0; i < head.fieldCount; i++) {
    if (head.dropped[i] === 0) kept.push(`${head.name(i).toLowerCase()}=${head.value(i)}`);
  }
  return kept;
}

/** One message at `at`; undefined when refused or incomplete. */
function forwardOne(
  g: Generator,
  kind: "request" | "response",
  bytes: Uint8Array,
  at: number,
  end: number,
): { next: number; forwarded: Forwarded; isLast: boolean } | undefined {
  const head =
    kind === "request" ? new RequestHead(100, ["x-forwarded-client-cert"]) : new ResponseHead();
  const headEnd =
    head instanceof RequestHead
      ? readRequestHead(head, bytes, at, end, HEAD_LIMITS)
      : readResponseHead(head, bytes, at, end, HEAD_LIMITS, false, false);
  if (headEnd < 0) return undefined;
  if (head instanceof RequestHead && normalizeTarget(head) < 0) return undefined;
  const reader = new BodyReader();
  reader.begin(head);
  const bodyEnd = scanInPieces(g, reader, bytes, headEnd, end);
  const isEnded = bodyEnd === NEED_MORE ? reader.end() : bodyEnd >= 0;
  if (!isEnded) return undefined;
  const next = bodyEnd === NEED_MORE ? end : bodyEnd;
  const fields = keptFields(head);
  const line =
    head instanceof RequestHead ? [head.method, pathAndQuery(head)] : [String(head.status)];
  const out = editedHead(head) + latin1(bytes.subarray(headEnd, next));
  const isLast = !head.keepAlive || head.isUpgrade;
  return { next, isLast, forwarded: { line, fields, kind: head.bodyKind, out } };
}

/** The naive reader takes one forwarded message off; its fields, and what is left. */
function takeNaively(
  text: string,
  kind: "request" | "response",
): { read: NaiveMessage; rest: string } {
  const read = readNaively(text, kind);
  if (read === undefined)
    throw new Error(`forwarded what a strict reader refuses: ${JSON.stringify(text)}`);
  const codings = valuesOf(read, "transfer-encoding");
  const lengths = valuesOf(read, "content-length");
  if (codings.length + lengths.length > 1) throw new Error(`ambiguous: ${JSON.stringify(text)}`);
  if (kind === "response" && /^(1..|204|304)$/.test(read.line[1])) return { read, rest: read.rest };
  if (codings.length === 1) {
    const body = dechunkNaively(read.rest);
    if (body === undefined) throw new Error(`bad chunks: ${JSON.stringify(text)}`);
    return { read, rest: body.rest };
  }
  if (lengths.length === 1) return { read, rest: read.rest.slice(Number(lengths[0])) };
  return { read, rest: kind === "request" ? read.rest : "" };
}

/** Says how many messages were carried. */
function runOnce(g: Generator, text: string, kind: "request" | "response"): number {
  const bytes = new Uint8Array(text.length + ROOM);
  bytes.set(bytesOfLatin1(text));
  let at = 0;
  let count = 0;
  while (at < text.length) {
    const one = forwardOne(g, kind, bytes, at, text.length);
    if (one === undefined) break;
    const { read, rest } = takeNaively(one.forwarded.out, kind);
    expect(rest).toBe("");
    const line = kind === "request" ? [read.line[0], read.line[1]] : [read.line[1]];
    expect(line).toEqual([...one.forwarded.line]);
    const added = ["connection=upgrade", "connection=te", "x-request-id=1"];
    const fields = read.fields.map(([name, value]) => `${name}=${value}`);
    expect(fields.filter((field) => !added.includes(field))).toEqual([...one.forwarded.fields]);
    count++;
    at = one.next;
    if (one.isLast) break;
  }
  return count;
}

test.each(["request", "response"] as const)(
  "every %s that is forwarded means to a strict reader what was decided on",
  (kind) => {
    const until = performance.now() + (SECONDS * 1000) / 2;
    let carried = 0;
    let runs = 0;
    for (const text of corpus[`${kind}s`]) carried += runOnce(new Generator(1), text, kind);
    for (; performance.now() < until; runs++) {
      const seed = (Date.now() ^ Math.imul(runs, 0x9e3779b9)) | 0;
      const g = new Generator(seed);
      const text = kind === "request" ? requests(g) : responses(g);
      try {
        carried += runOnce(g, text, kind);
      } catch (cause) {
        throw new Error(`${kind} fuzz, seed ${seed}: ${JSON.stringify(text)}`, { cause });
      }
    }
    // A fuzz in which everything is refused proves nothing.
    expect(carried).toBeGreaterThan(runs / 10);
  },
  SECONDS * 1000 + 10_000,
);
