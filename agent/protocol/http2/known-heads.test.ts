import { expect, test } from "bun:test";
import fc from "fast-check";
import { frameOf } from "../../../test/support/http2-end.ts";
import { readLatin1 } from "../../base/bytes.ts";
import type { Stream } from "../../base/net.ts";
import { FieldList } from "./field-list.ts";
import { MessageFacts, readRequestFields } from "./field-rules.ts";
import { FLAG, FRAME, PREFACE } from "./frame.ts";
import { HpackDecoder } from "./hpack-decoder.ts";
import { ServerConnection } from "./server-connection.ts";
import { sharedByThread } from "./shared-by-thread.ts";
import { framingOf, writeRequest } from "./to-http1.ts";

const HEADERS_MAX = 20;

/** A connection whose lanes only note what they are shown. */
class Server {
  /** What was shown since, and what was counted. */
  shown: string[] = [];
  isOver = false;
  readonly #tasks: (() => void)[] = [];
  readonly #stream: Stream;

  constructor() {
    const bytes = new Uint8Array(1 << 17);
    const deps = sharedByThread(HEADERS_MAX, {
      soon: (task) => void this.#tasks.push(task),
      now: () => 0,
      timers: { after: () => ({ cancel() {} }) },
      stage: { bytes, start: 4_096, end: 4_096 + 65_536 },
      webSocketKeys: { make: () => "", acceptOf: () => "" },
      bug: (error) => {
        throw error;
      },
      count: (reason) => void this.shown.push(reason),
    });
    const { stage } = deps;
    this.#stream = {
      handler: { onOpen() {}, onData() {}, onWritable() {}, onEnd() {}, onClose() {} },
      mesh: undefined,
      isOpen: true,
      peerAddress: "",
      peerPort: 0,
      write: (_bytes, start, end) => end - start,
      pause() {},
      resume() {},
      endWrite() {},
      close() {},
      reset() {},
    };
    const onLane = (lane: Stream): boolean => {
      lane.handler = {
        ...lane.handler,
        onData: (_lane, shown, start, end) => {
          this.shown.push(readLatin1(shown, start, end));
          stage.bytes.fill(0xdb); // whoever is shown a head edits it in place
          lane.reset();
        },
      };
      return true;
    };
    new ServerConnection(deps, { onLane, onActive() {}, onOver: () => this.#over() }, this.#stream);
    this.receive(PREFACE);
    this.receive(frameOf(FRAME.settings, 0, 0));
  }

  #over(): void {
    this.isOver = true;
  }

  receive(bytes: Uint8Array): void {
    this.#stream.handler.onData(this.#stream, bytes, 0, bytes.length);
    for (const task of this.#tasks.splice(0)) task();
  }

  /** What it makes of a request. */
  ask(id: number, block: Uint8Array, isLast: boolean): readonly string[] {
    this.shown = [];
    const flags = FLAG.endHeaders | (isLast ? FLAG.endStream : 0);
    this.receive(frameOf(FRAME.headers, flags, id, block));
    return this.shown;
  }
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

test("whatever is said again and again, each head is the one that decoding it gives", () => {
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
      fc.constantFrom(ROOT, [0x04, ...text("/b")], [0x44, ...text("/c")], []),
      fc.array(part, { maxLength: 3 }),
    )
    .map(([resize, path, parts]) => Uint8Array.of(...resize, ...FIRST, ...path, ...parts.flat()));
  const said = fc
    .array(block, { minLength: 1, maxLength: 4 })
    .chain((blocks) =>
      fc.array(fc.tuple(fc.constantFrom(...blocks), fc.boolean()), { minLength: 1, maxLength: 40 }),
    );
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
