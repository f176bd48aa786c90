import { expect, test } from "bun:test";
import fc from "fast-check";
import { frameOf } from "../../../test/support/http2-end.ts";
import { HEADERS_MAX, LaneEnd, ServerEnd } from "../../../test/support/lane-end.ts";
import { bytesOf, readLatin1 } from "../../base/bytes.ts";
import { ClientConnection } from "./client-connection.ts";
import { FieldList } from "./field-list.ts";
import { MessageFacts, readRequestFields, readResponseFields } from "./field-rules.ts";
import { FRAME } from "./frame.ts";
import { HpackDecoder } from "./hpack-decoder.ts";
import { framingOf, writeRequest, writeResponse } from "./to-http1.ts";

class Server extends ServerEnd {
  /** What it makes of a request. */
  ask(id: number, block: Uint8Array, isLast: boolean): readonly string[] {
    this.shown = [];
    this.hear(id, block, isLast);
    return this.shown;
  }
}

class Client extends LaneEnd {
  readonly #connection: ClientConnection;
  #asked = -1;

  constructor() {
    super();
    const events = { onRetired() {}, onEmpty() {}, onOver: this.over };
    this.#connection = new ClientConnection(this.deps, events);
    this.stream.handler = this.#connection;
    this.#connection.connecting(this.stream);
    this.#connection.onOpen(this.stream);
    this.receive(frameOf(FRAME.settings, 0, 0));
  }

  /** What it makes of an answer. */
  answer(method: string, block: Uint8Array, isLast: boolean): readonly string[] {
    this.shown = [];
    const lane = this.#connection.dial(this.notes);
    this.receive(new Uint8Array(0));
    const request = bytesOf(`${method} / HTTP/1.1\r\nhost: app\r\n\r\n`);
    expect(lane.write(request, 0, request.length)).toBe(request.length);
    this.#asked += 2;
    this.hear(this.#asked, block, isLast);
    return this.shown;
  }
}

/** What each answer means when its block is decoded, whatever was before. */
function answerReader(): (method: string, block: Uint8Array, isLast: boolean) => string {
  const decoder = new HpackDecoder();
  const fields = new FieldList(HEADERS_MAX);
  const facts = new MessageFacts();
  return (method, block, isLast) => {
    if (!decoder.decode(block, 0, block.length, fields)) return "compression";
    const malformed = readResponseFields(fields, facts);
    if (malformed !== undefined) return malformed;
    const isBodiless = method === "HEAD" || facts.status === 304;
    if (isLast && facts.contentLength > 0 && !isBodiless) return "content_length";
    const out = new Uint8Array(4_096);
    const framing = isLast || isBodiless ? "none" : framingOf(facts);
    const end = writeResponse(fields, facts, framing, isLast && !isBodiless, out, 0);
    return readLatin1(out, 0, end);
  };
}

/** What each block means when it is decoded, whatever was before. */
function reader(): (block: Uint8Array, isLast: boolean) => string {
  const decoder = new HpackDecoder();
  const fields = new FieldList(HEADERS_MAX);
  const facts = new MessageFacts();
  return (block, isLast) => {
    if (!decoder.decode(block, 0, block.length, fields)) return "compression";
    const malformed = readRequestFields(fields, facts);
    if (malformed !== undefined) return malformed;
    if (isLast && facts.contentLength > 0) return "content_length";
    const out = new Uint8Array(4_096);
    const framing = isLast ? "none" : framingOf(facts);
    return readLatin1(out, 0, writeRequest(fields, facts, framing, undefined, out, 0));
  };
}

const text = (value: string): number[] => [
  value.length,
  ...Array.from(value, (letter) => letter.charCodeAt(0)),
];
/** GET, http, an authority. */
const FIRST = [0x82, 0x86, 0x01, ...text("app")];
const ROOT = [0x84];
const TWO_ENTRIES = Uint8Array.of(
  ...[...FIRST, ...ROOT, 0x40, ...text("a"), ...text("1")],
  ...[0x40, ...text("b"), ...text("2")],
);

const TWO_ANSWERED = Uint8Array.of(
  ...[0x88, 0x40, ...text("a"), ...text("1")],
  ...[0x40, ...text("b"), ...text("2")],
);

test("a block said again means what it means now: the table may have changed between", () => {
  const server = new Server();
  const insert = (value: string) =>
    Uint8Array.of(...FIRST, ...ROOT, 0x40, ...text("a"), ...text(value));
  const newest = Uint8Array.of(...FIRST, ...ROOT, 0xbe);
  const head = (value: string) => `GET / HTTP/1.1\r\nhost: app\r\na: ${value}\r\n\r\n`;
  expect(server.ask(1, insert("x"), true)).toEqual([head("x")]);
  for (const id of [3, 5, 7]) expect(server.ask(id, newest, true)).toEqual([head("x")]);
  expect(server.ask(9, newest, false)).toEqual([
    head("x").replace("\r\n\r\n", "\r\ntransfer-encoding: chunked\r\n\r\n"),
  ]);
  expect(server.ask(11, insert("y"), true)).toEqual([head("y")]);
  for (const id of [13, 15]) expect(server.ask(id, newest, true)).toEqual([head("y")]);
  // An empty table: the index is nobody's.
  const emptied = Uint8Array.of(0x20, ...FIRST, ...ROOT);
  expect(server.ask(17, emptied, true)).toEqual(["GET / HTTP/1.1\r\nhost: app\r\n\r\n"]);
  expect(server.ask(19, newest, true)).toEqual(["compression"]);
  expect(server.isOver).toBe(true);
});

test("numbers that a client may not use are refused for known heads as for others", () => {
  const block = Uint8Array.of(...FIRST, ...ROOT);
  for (const [id, wrong] of [
    [4, "stream_id"],
    [3, "stream_closed"],
    [0, "stream_zero"],
  ] as const) {
    const server = new Server();
    for (const known of [1, 5]) expect(server.ask(known, block, true)).toHaveLength(1);
    const refused = server.ask(id, block, true);
    expect([refused, server.isOver]).toEqual([[id === 3 ? "stream_id" : wrong], true]);
  }
});

/** Few blocks, said again and again; each begins as told. */
function saidAgain(first: readonly number[], second: readonly (readonly number[])[]) {
  const part = fc.oneof(
    fc.constantFrom([0xbe], [0xbe], [0xbf]), // of the dynamic table
    fc
      .tuple(
        fc.constantFrom(0x40, 0x00, 0x10),
        fc.constantFrom("a", "b", "te", "content-length", "cookie", "A"),
        fc.constantFrom("1", "2", "trailers", " "),
      )
      .map(([kind, name, value]) => [kind, ...text(name), ...text(value)]),
  );
  const block = fc
    .tuple(
      fc.constantFrom([], [], [], [], [0x20], [0x3f, 0xe1, 0x1f], [0x3f, 0x2a]),
      fc.constantFrom(...second),
      fc.array(part, { maxLength: 3 }),
    )
    .map(([resize, one, parts]) => Uint8Array.of(...resize, ...first, ...one, ...parts.flat()));
  return fc
    .array(block, { minLength: 1, maxLength: 4 })
    .chain((blocks) =>
      fc.array(fc.tuple(fc.constantFrom(...blocks), fc.boolean()), { minLength: 1, maxLength: 40 }),
    );
}

test("whatever is said again and again, each head is the one that decoding it gives", () => {
  const said = saidAgain(FIRST, [ROOT, [0x04, ...text("/b")], [0x44, ...text("/c")], []]);
  let shown = 0;
  fc.assert(
    fc.property(said, (blocks) => {
      const server = new Server();
      const meaning = reader();
      for (const [i, [bytes, isLast]] of [[TWO_ENTRIES, true] as const, ...blocks].entries()) {
        const wanted = meaning(bytes, isLast);
        expect(server.ask(2 * i + 1, bytes, isLast)).toEqual([wanted]);
        if (wanted === "compression") break;
        if (wanted.startsWith("GET")) shown++;
      }
    }),
    { numRuns: 150, seed: 9 },
  );
  expect(shown).toBeGreaterThan(300);
});

test("and so of answers, whose fields enter the table each time they are said", () => {
  const status = [[0x88], [0x8b], [0x08, ...text("207")], [0x48, ...text("207")], []];
  const said = saidAgain([], status);
  let shown = 0;
  fc.assert(
    fc.property(said, fc.array(fc.boolean(), { minLength: 41, maxLength: 41 }), (blocks, heads) => {
      const client = new Client();
      const meaning = answerReader();
      for (const [i, [bytes, isLast]] of [[TWO_ANSWERED, true] as const, ...blocks].entries()) {
        const method = heads[i] === true ? "HEAD" : "GET";
        const wanted = meaning(method, bytes, isLast);
        expect(client.answer(method, bytes, isLast)).toEqual([wanted]);
        if (wanted === "compression") break;
        if (wanted.startsWith("HTTP")) shown++;
      }
    }),
    { numRuns: 150, seed: 9 },
  );
  expect(shown).toBeGreaterThan(300);
});

test("fields that each answer enters push out what was there before, known or not", () => {
  const client = new Client();
  const meaning = answerReader();
  const large = (value: string) =>
    Uint8Array.of(0x88, 0x40, ...text("a"), ...text(value.repeat(60)));
  const oldest = Uint8Array.of(0x88, 0xbf); // 62 + 1
  for (let i = 0; i < 100; i++) {
    const block = i % 10 === 9 ? oldest : large(i % 3 === 0 ? "x" : "y");
    expect(client.answer("GET", block, true)).toEqual([meaning("GET", block, true)]);
  }
});
