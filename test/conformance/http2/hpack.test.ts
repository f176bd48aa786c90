// RFC 7541 against the data plane, both roles: what is no header block is COMPRESSION_ERROR and ends the connection (RFC 9113 4.3), since the tables
// of both ends would differ from there on. And what a block may be: read as it was meant.
import { describe, expect, test } from "bun:test";
import { CODE, FLAG, FRAME, SETTING } from "../../../agent/protocol/http2/frame.ts";
import { blockOf, GET_FIELDS } from "../../support/http2-end.ts";
import { answered, ClientHop, EACH, ServerHop } from "../../support/http2-hop.ts";

const get = blockOf(GET_FIELDS);
const hex = (text: string): number[] =>
  (text.replace(/\s/g, "").match(/../g) ?? []).map((pair) => Number.parseInt(pair, 16));

/** Behind a whole and good list of fields, or (size updates) before it. */
const INVALID: readonly (readonly [rule: string, block: string, place: "before" | "behind"])[] = [
  ["2.3.3 an index beyond the static table, with no dynamic one", "be", "behind"],
  ["2.3.3 an index far beyond", "ff ff 03", "behind"],
  ["2.3.3 a name's index beyond both tables", "7e 01 61", "behind"],
  ["2.3.3 the same in a literal that is not indexed", "0f 2f 01 61", "behind"],
  ["2.3.3 the same in one that is never indexed", "1f 2f 01 61", "behind"],
  ["4.2 a size update behind a field", "20", "behind"],
  ["4.2 a third size update", "20 20 20", "before"],
  ["6.3 a size beyond the limit, by one", "3f e2 1f", "before"],
  ["6.3 a size far beyond the limit", "3f ff ff 7f", "before"],
  ["5.1 an index without end", "ff ff ff ff ff ff ff ff", "behind"],
  ["5.1 an index that is cut", "ff", "behind"],
  ["5.1 an index of many zeros", "ff 80 80 80 80 80 80 00", "behind"],
  ["5.1 an index that overflows 32 bits", "ff ff ff ff ff 1f", "behind"],
  ["5.1 a length that overflows", "40 7f ff ff ff ff 1f 61", "behind"],
  ["5.2 a name without a length", "40", "behind"],
  ["5.2 a name beyond its block", "40 05 61", "behind"],
  ["5.2 no value", "40 01 61", "behind"],
  ["5.2 a value beyond its block", "40 01 61 05 61", "behind"],
  ["5.2 Huffman padding longer than 7 bits", "40 01 61 82 1f ff", "behind"],
  ["5.2 Huffman padding of 8 bits alone", "40 01 61 81 ff", "behind"],
  ["5.2 Huffman padding that is not all ones", "40 01 61 81 18", "behind"],
  ["5.2 EOS within a string", "40 01 61 84 ff ff ff ff", "behind"],
  ["5.2 EOS in a name", "40 84 ff ff ff ff 01 61", "behind"],
  ["6.1 an index of 0", "80", "behind"],
];

describe("RFC 7541: what is no header block", () => {
  test.each(INVALID)("%s, by a client", (_rule, block, place) => {
    const bad = hex(block);
    const whole = Uint8Array.from(place === "before" ? [...bad, ...get] : [...get, ...bad]);
    for (const options of EACH) {
      // Its last octet in the same frame, and in the next.
      for (const split of [whole.length, whole.length - 1]) {
        const hop = new ServerHop(options);
        const flags = FLAG.endStream | (split === whole.length ? FLAG.endHeaders : 0);
        hop.client.frame(FRAME.headers, flags, 1, whole.slice(0, split));
        if (split < whole.length)
          hop.client.frame(FRAME.continuation, FLAG.endHeaders, 1, whole.slice(split));
        hop.pass();
        expect(hop.seen).toBe("");
        hop.expectOver(CODE.compressionError);
        expect(hop.refused("compression")).toBe(1);
      }
    }
  });

  test.each(INVALID)("%s, by an app", (_rule, block, place) => {
    const hop = new ClientHop().ask();
    const bad = hex(block);
    const whole = place === "before" ? [...bad, 0x88] : [0x88, ...bad];
    hop.app().frame(FRAME.headers, FLAG.endHeaders | FLAG.endStream, 1, Uint8Array.from(whole));
    hop.expectOver(CODE.compressionError);
  });

  test("3.2 also where the fields are nobody's: of a stream that we reset, and in trailers", () => {
    for (const resets of [true, false]) {
      const hop = new ServerHop().begin();
      if (resets) hop.client.word(FRAME.windowUpdate, 1, 0);
      hop.pass();
      hop.client.frame(FRAME.headers, FLAG.endHeaders | FLAG.endStream, 1, Uint8Array.of(0x80));
      hop.expectOver(CODE.compressionError);
    }
  });

  test("5.2 a string that is longer than any list, and ends wrong", () => {
    const hop = new ServerHop();
    // 61 KB of fields, then a Huffman string of 70 KB, whose padding is no padding.
    const long = [...hex("40 01 61 7f 81 df 03"), ...new Array<number>(61_440).fill(97)];
    const bad = [...hex("40 01 62 ff a1 1e"), ...new Array<number>(4_000).fill(0x18), 0];
    const block = Uint8Array.from([...get, ...long, ...bad]);
    hop.client.frame(FRAME.headers, FLAG.endStream, 1, block.slice(0, 16_384));
    for (let at = 16_384; at < block.length; at += 16_384)
      hop.client.frame(
        FRAME.continuation,
        at + 16_384 >= block.length ? FLAG.endHeaders : 0,
        1,
        block.slice(at, at + 16_384),
      );
    hop.expectOver(CODE.compressionError);
  });
});

describe("RFC 7541: what a block may be", () => {
  const send = (hop: ServerHop, id: number, block: readonly number[]): void =>
    hop.client.frame(FRAME.headers, FLAG.endHeaders | FLAG.endStream, id, Uint8Array.from(block));

  test("2.3.2, 4.4 fields of one stream are in the table of the next, oldest out first", () => {
    for (const options of EACH) {
      const hop = new ServerHop(options);
      send(hop, 1, [...get, ...hex("40 03 782d61 01 31")]); // x-a: 1, at 62
      send(hop, 3, [...get, ...hex("40 03 782d62 01 32")]); // x-b: 2, at 62; x-a at 63
      send(hop, 5, [...get, 0x80 | 63, 0x80 | 62]);
      send(hop, 7, [...get, 0x7f, 0, 1, 0x33]); // the name of x-a, another value
      hop.pass();
      for (const id of [1, 3, 5, 7]) expect(hop.client.seen.join()).toContain(`DATA ${id} `);
      expect(hop.seen).toContain("x-a: 1\r\nx-b: 2\r\n");
      expect(hop.seen).toContain("x-a: 3\r\n");
    }
  });

  test("4.3 two size updates may begin a block: to nothing and back empties the table", () => {
    const hop = new ServerHop();
    send(hop, 1, [...get, ...hex("40 03 782d61 01 31")]);
    hop.pass();
    hop.client.take();
    send(hop, 3, [...hex("20 3f e1 1f"), ...get]);
    hop.pass();
    expect(hop.heard()).toEqual(answered(3));
    send(hop, 5, [...get, 0x80 | 62]);
    hop.expectOver(CODE.compressionError);
  });

  test("4.4 a name of the table may be that of an entry which its own entry drives out", () => {
    const hop = new ServerHop();
    const name = `x-${"n".repeat(1_998)}`;
    const long = (text: string): number[] => [0x7f, 0xd1, 0x0e, ...Buffer.from(text)]; // 2,000 octets
    send(hop, 1, [...get, 0x40, ...long(name), ...long("v".repeat(2_000))]);
    send(hop, 3, [...get, 0x40 | 62, ...long("w".repeat(2_000))]);
    send(hop, 5, [...get, 0x80 | 62]);
    hop.pass();
    expect(hop.seen.match(new RegExp(`${name}: v{2000}\r\n`, "g"))).toHaveLength(1);
    expect(hop.seen.match(new RegExp(`${name}: w{2000}\r\n`, "g"))).toHaveLength(2);
    hop.client.take();
    send(hop, 7, [...get, 0x80 | 63]); // the first is gone
    hop.expectOver(CODE.compressionError);
  });

  test("4.4 an entry larger than the table empties it, and is a field all the same", () => {
    const hop = new ServerHop();
    const long = [
      ...hex("40 03 782d6c 7f 81 3f"),
      ...new Array<number>(8_192 + 127 - 127).fill(120),
    ];
    send(hop, 1, [...get, ...hex("40 03 782d61 01 31"), ...long.slice(0, 8), ...long.slice(8)]);
    hop.pass();
    expect(hop.seen).toContain("x-a: 1\r\n");
    expect(hop.seen).toMatch(/x-l: x{8000}/);
    hop.client.take();
    send(hop, 3, [...get, 0x80 | 62]);
    hop.expectOver(CODE.compressionError);
  });

  test("C.4, 5.2 Huffman, in names and values, with padding of none to seven bits", () => {
    const hop = new ServerHop();
    // custom-key: custom-value
    send(hop, 1, [...get, ...hex("40 88 25a849e95ba97d7f 89 25a849e95bb8e8b4bf")]);
    send(hop, 3, [...get, ...hex("00 81 1f 80")]); // a, and an empty value
    hop.pass();
    expect(hop.seen).toContain("custom-key: custom-value\r\n");
    expect(hop.seen).toContain("a: \r\n");
  });

  test("6.2.3 a field is a field, whatever its sender says of indexing", () => {
    const hop = new ServerHop();
    send(hop, 1, [...get, ...hex("00 03 782d61 01 31"), ...hex("10 03 782d62 01 32")]);
    hop.pass();
    expect(hop.seen).toContain("x-a: 1\r\nx-b: 2\r\n");
    send(hop, 3, [...get, 0x80 | 62]); // neither was indexed
    hop.expectOver(CODE.compressionError);
  });
});

describe("RFC 7541 4.2, RFC 9113 4.3.1: what we encode", () => {
  /** The blocks that a client gets, as they come. */
  function blocksOf(hop: ServerHop): number[][] {
    const blocks: number[][] = [];
    const before = hop.client.onData.bind(hop.client);
    hop.client.onData = (stream, bytes, start, end) => {
      for (let at = start; at + 9 <= end; ) {
        const length = ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0);
        if (bytes[at + 3] === FRAME.headers) blocks.push([...bytes.slice(at + 9, at + 9 + length)]);
        at += 9 + length;
      }
      before(stream, bytes, start, end);
    };
    return blocks;
  }

  test("our table is empty, and we say so in the first block and behind each change of what is allowed", () => {
    const hop = new ServerHop();
    const blocks = blocksOf(hop);
    hop.expectServing(1);
    hop.expectServing(3);
    hop.client.setting(SETTING.headerTableSize, 100);
    hop.pass();
    hop.client.take();
    hop.expectServing(5);
    hop.expectServing(7);
    expect(blocks.map((block) => block[0] === 0x20)).toEqual([true, false, true, false]);
  });

  test("7.1.3 no field of an app is indexed: a literal that is never indexed, or an entry of the static table", () => {
    const hop = new ServerHop();
    const blocks = blocksOf(hop);
    hop.expectServing(1);
    // The update, :status 200, then content-length (28) by its name.
    expect(blocks[0]?.slice(0, 4)).toEqual([0x20, 0x88, 0x1f, 28 - 15]);
  });
});
