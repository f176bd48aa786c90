// Connections of HTTP/2 for fuzzing: mostly valid, of every form that frames and header blocks may take, and then bent.
import { concat } from "../../agent/base/bytes.ts";
import { FLAG, FRAME, PREFACE, writeWord } from "../../agent/protocol/http2/frame.ts";
import { codeLengths } from "../../agent/protocol/http2/huffman.ts";
import { STATIC_TABLE } from "../../agent/protocol/http2/static-table.ts";
import { type Fields, frameOf } from "../support/http2-end.ts";
import { bytesOfLatin1, latin1 } from "../support/naive-http1.ts";
import type { Generator } from "./http1-messages.ts";

/** Huffman codes as text of bits, from the lengths by RFC 7541 appendix B's own rule. */
const CODES: readonly string[] = (() => {
  const lengths = codeLengths();
  const order = lengths.map((_, symbol) => symbol);
  order.sort((a, b) => (lengths[a] ?? 0) - (lengths[b] ?? 0) || a - b);
  const codes: string[] = [];
  let code = 0n;
  let before = 0;
  for (const symbol of order) {
    const bits = lengths[symbol] ?? 0;
    code <<= BigInt(bits - before);
    codes[symbol] = code.toString(2).padStart(bits, "0");
    code++;
    before = bits;
  }
  return codes;
})();

const TABLE_BYTES = 4_096;
const STATICS = STATIC_TABLE.map(({ name, value }) => [latin1(name), latin1(value)] as const);

/** An encoder that takes any of the ways which RFC 7541 leaves it. */
export class Encoder {
  readonly #g: Generator;
  /** The newest first. */
  #table: (readonly [string, string])[] = [];

  constructor(g: Generator) {
    this.#g = g;
  }

  block(fields: Fields): number[] {
    const g = this.#g;
    const out: number[] = [];
    if (g.chance(0.05)) {
      this.#table = [];
      out.push(0x20, ...this.#number(5, 0x20, TABLE_BYTES));
    }
    for (const field of fields) out.push(...this.#field(field));
    return out;
  }

  #field([name, value]: readonly [string, string]): number[] {
    const g = this.#g;
    const all = [...STATICS, ...this.#table];
    const whole = all.findIndex(([n, v]) => n === name && v === value);
    if (whole >= 0 && g.chance(0.7)) return this.#number(7, 0x80, whole + 1);
    const named = all.findIndex(([n]) => n === name);
    const index = named >= 0 && g.chance(0.7) ? named + 1 : 0;
    const isIndexed = g.chance(0.5);
    const out = isIndexed
      ? this.#number(6, 0x40, index)
      : this.#number(4, g.chance(0.5) ? 0x10 : 0, index);
    if (index === 0) out.push(...this.#string(name));
    out.push(...this.#string(value));
    if (isIndexed) this.#insert([name, value]);
    return out;
  }

  #insert(field: readonly [string, string]): void {
    this.#table.unshift(field);
    const size = () => this.#table.reduce((sum, [n, v]) => sum + n.length + v.length + 32, 0);
    while (size() > TABLE_BYTES) this.#table.pop();
  }

  #string(text: string): number[] {
    const bytes = [...bytesOfLatin1(text)];
    if (!this.#g.chance(0.5)) return [...this.#number(7, 0, bytes.length), ...bytes];
    const bits = bytes.map((byte) => CODES[byte]).join("");
    const octets = (bits.padEnd(Math.ceil(bits.length / 8) * 8, "1").match(/.{8}/g) ?? []).map(
      (octet) => Number.parseInt(octet, 2),
    );
    return [...this.#number(7, 0x80, octets.length), ...octets];
  }

  #number(prefixBits: number, pattern: number, value: number): number[] {
    const mask = 2 ** prefixBits - 1;
    if (value < mask) return [pattern | value];
    const out = [pattern | mask];
    let rest = value - mask;
    for (; rest >= 128; rest = Math.floor(rest / 128)) out.push((rest % 128) | 128);
    out.push(rest);
    return out;
  }
}

/** One side of a connection, as frames of whatever form. */
export class FrameWriter {
  readonly encoder: Encoder;
  readonly #g: Generator;
  readonly #frames: Uint8Array[] = [];

  constructor(g: Generator) {
    this.#g = g;
    this.encoder = new Encoder(g);
  }

  get bytes(): Uint8Array {
    return concat(this.#frames);
  }

  preface(): void {
    this.#frames.push(PREFACE);
    this.settings();
  }
  settings(): void {
    this.frame(FRAME.settings, 0, 0);
  }

  frame(kind: number, flags: number, id: number, payload: readonly number[] = []): void {
    this.#frames.push(frameOf(kind, flags, id, Uint8Array.from(payload)));
  }

  headers(id: number, fields: Fields, isLast: boolean): void {
    const g = this.#g;
    const block = this.encoder.block(fields);
    const cuts = g.chance(0.3)
      ? g
          .some(
            block.map((_, i) => i),
            3,
          )
          .sort((a, b) => a - b)
      : [];
    const pieces = [...cuts, block.length].map((cut, i) => block.slice(cuts[i - 1] ?? 0, cut));
    pieces.forEach((piece, i) => {
      const isEnd = i === pieces.length - 1 ? FLAG.endHeaders : 0;
      if (i > 0) this.frame(FRAME.continuation, isEnd, id, piece);
      else {
        const priority = g.chance(0.2) ? [0, 0, 0, 0, 15] : [];
        const flags =
          isEnd | (isLast ? FLAG.endStream : 0) | (priority.length > 0 ? FLAG.priority : 0);
        this.#padded(FRAME.headers, flags, id, [...priority, ...piece]);
      }
    });
  }

  data(id: number, text: string, isLast: boolean): void {
    const bytes = [...bytesOfLatin1(text)];
    const cut = this.#g.chance(0.3) ? this.#g.below(bytes.length + 1) : bytes.length;
    if (cut < bytes.length) this.#padded(FRAME.data, 0, id, bytes.slice(0, cut));
    this.#padded(
      FRAME.data,
      isLast ? FLAG.endStream : 0,
      id,
      bytes.slice(cut < bytes.length ? cut : 0),
    );
  }

  #padded(kind: number, flags: number, id: number, payload: readonly number[]): void {
    const g = this.#g;
    if (!g.chance(0.2)) this.frame(kind, flags, id, payload);
    else {
      const length = g.below(20);
      this.frame(kind, flags | FLAG.padded, id, [
        length,
        ...payload,
        ...new Array<number>(length).fill(0),
      ]);
    }
  }

  /** What means nothing; on a stream that is not open (or has no answer yet) fewer frames do. */
  noise(id: number, isOpen: boolean): void {
    const g = this.#g;
    const word = new Uint8Array(4);
    writeWord(word, 0, 1 + g.below(1_000));
    const zeros = (count: number) => new Array<number>(count).fill(0);
    g.one([
      () => this.frame(FRAME.ping, 0, 0, zeros(8)),
      () => this.frame(FRAME.windowUpdate, 0, isOpen ? g.one([0, id]) : 0, [...word]),
      () => this.frame(FRAME.settings, 0, 0, [0, 0xfa, ...word]),
      () => this.frame(FRAME.priority, 0, id, [0, 0, 0, 0, 7]),
      () => this.frame(0x4d, g.below(256), id, zeros(g.below(9))),
      ...(isOpen ? [() => this.frame(FRAME.data, 0, id)] : []),
    ])();
  }
}

export interface Message {
  readonly fields: Fields;
  readonly content: string | undefined;
  readonly trailers: Fields | undefined;
}

const REGULAR: Fields = [
  ["accept", "*/*"],
  ["x-empty", ""],
  ["x-high", "\xe4"],
  ["te", "trailers"],
  ["cookie", "a=1"],
  ["cookie", "b=2"],
  ["x-a", "1"],
  ["x-a", "2"],
  ["x-long", "y".repeat(300)],
  ["expect", "100-continue"],
];
const BAD: Fields = [
  ["connection", "close"],
  ["transfer-encoding", "chunked"],
  ["transfer_encoding", "chunked"],
  ["upgrade", "h2c"],
  ["keep-alive", "5"],
  ["te", "gzip"],
  ["X-A", "1"],
  ["x a", "1"],
  ["x", "a\r\nb: c"],
  ["x", "a\0"],
  ["x", " a"],
  ["content-length", "3"],
  ["content-length", "2"],
  ["content-length", "03"],
  ["content-length", "+3"],
  ["host", "b"],
  [":path", "/b"],
  [":status", "200"],
  [":unknown", ""],
  ["", "x"],
];
const PATHS = ["/", "/a/../b", "/%41?x=y", "//", "/a\\b", "*", "http://a/", "/a b", ""];
const GOOD_PATHS = 4;
const CONTENT = [undefined, "", "abc", "3\r\nabc\r\n0\r\n\r\n", "x".repeat(2_000)];

/** What the generator thinks valid may be none, and so on: the readers judge. */
export function request(g: Generator, id: string): Message {
  const isTame = g.chance(0.7);
  const content = g.one(CONTENT);
  const pseudo: (readonly [string, string])[] = [
    [":method", g.one(["GET", "POST", "PUT", isTame ? "HEAD" : "CONNECT"])],
    [":scheme", isTame || g.chance(0.9) ? "http" : g.one(["https", "HTTP", ""])],
    [":path", g.one(isTame ? PATHS.slice(0, GOOD_PATHS) : PATHS)],
    [
      ":authority",
      isTame || g.chance(0.8) ? "server" : g.one(["", "a b", "u@server", "server:80"]),
    ],
  ];
  return {
    fields: fieldsFor(g, isTame, pseudo, content, ["x-request-id", id]),
    content,
    trailers: trailers(g, content, isTame),
  };
}

export function response(g: Generator, id: string): Message {
  const isTame = g.chance(0.7);
  const content = g.one(CONTENT);
  const status = g.one(
    isTame ? ["200", "200", "404", "503"] : ["200", "204", "304", "101", "2000", "099"],
  );
  return {
    fields: fieldsFor(g, isTame, [[":status", status]], content, ["x-answer", id]),
    content,
    trailers: trailers(g, content, isTame),
  };
}

function fieldsFor(
  g: Generator,
  isTame: boolean,
  pseudo: (readonly [string, string])[],
  content: string | undefined,
  own: readonly [string, string],
): Fields {
  const regular: (readonly [string, string])[] = [
    own,
    ...g.some(
      REGULAR.filter(([name]) => name !== "te" || own[0] === "x-request-id"),
      4,
    ),
  ];
  if (content !== undefined && g.chance(0.4))
    regular.push(["content-length", String(content.length)]);
  const all = [...pseudo, ...regular];
  if (isTame) return all;
  for (const bad of g.some(BAD, 2))
    all.splice(g.chance(0.8) ? all.length : g.below(all.length), 0, bad);
  if (g.chance(0.1)) all.splice(g.below(pseudo.length), 1);
  return all;
}

function trailers(g: Generator, content: string | undefined, isTame: boolean): Fields | undefined {
  if (content === undefined || !g.chance(0.3)) return undefined;
  return [["x-sum", "1"], ...(isTame ? [] : g.some(BAD, 1))];
}

/** Says a message, other streams' noise between. */
export function write(writer: FrameWriter, g: Generator, id: number, message: Message): void {
  const { fields, content, trailers: last } = message;
  writer.headers(id, fields, content === undefined);
  if (content === undefined) return;
  while (g.chance(0.3)) writer.noise(id, true);
  writer.data(id, content, last === undefined);
  if (last !== undefined) writer.headers(id, last, true);
}

/** Octets changed, lost or added. */
export function bend(g: Generator, bytes: Uint8Array, from: number): Uint8Array {
  const all = [...bytes];
  for (let times = 1 + g.below(2); times > 0; times--) {
    const at = from + g.below(all.length - from + 1);
    const kind = g.below(3);
    if (kind === 0 && at < all.length) all[at] = (all[at] ?? 0) ^ (1 << g.below(8));
    else if (kind === 1) all.splice(at, g.below(3));
    else all.splice(at, 0, g.below(256));
  }
  return Uint8Array.from(all);
}
