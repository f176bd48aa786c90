import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { bytesOf, readLatin1 } from "../../base/bytes.ts";
import { LOWER } from "../http1/grammar.ts";
import { FIELD_BYTES_MAX, FieldList } from "./field-list.ts";
import { HpackDecoder } from "./hpack-decoder.ts";
import { fieldBytesMax, NO_TABLE, writeField, writeIndexed } from "./hpack-encoder.ts";
import { decodeHuffman } from "./huffman.ts";
import { STATIC_TABLE } from "./static-table.ts";

const hex = (text: string): Uint8Array =>
  Uint8Array.from(text.replace(/\s/g, "").match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));

const list = new FieldList(100);

function decoded(decoder: HpackDecoder, block: Uint8Array): string[] | false {
  if (!decoder.decode(block, 0, block.length, list)) return false;
  return Array.from(
    { length: list.count },
    (_, i) =>
      `${readLatin1(list.bytes, list.nameStart(i), list.nameEnd(i))}: ${readLatin1(list.bytes, list.valueStart(i), list.valueEnd(i))}`,
  );
}

interface Step {
  readonly block: string;
  readonly fields: readonly string[];
  readonly table: number;
}

function follow(steps: readonly Step[], tableBytes = 4096): void {
  const decoder = new HpackDecoder(tableBytes);
  for (const { block, fields, table } of steps) {
    expect(decoded(decoder, hex(block))).toEqual([...fields]);
    expect(decoder.table.size).toBe(table);
  }
}

const GET = [":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"];
const SECOND = [...GET, "cache-control: no-cache"];
const THIRD = [
  ":method: GET",
  ":scheme: https",
  ":path: /index.html",
  ":authority: www.example.com",
  "custom-key: custom-value",
];
const FOUND = [
  ":status: 302",
  "cache-control: private",
  "date: Mon, 21 Oct 2013 20:13:21 GMT",
  "location: https://www.example.com",
];
const NOT_TEMPORARY = [":status: 307", ...FOUND.slice(1)];
const LATER = [
  ":status: 200",
  "cache-control: private",
  "date: Mon, 21 Oct 2013 20:13:22 GMT",
  "location: https://www.example.com",
  "content-encoding: gzip",
  "set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1",
];

describe("the examples of RFC 7541 appendix C", () => {
  test("C.2: each representation", () => {
    follow([
      {
        block: "400a637573746f6d2d6b65790d637573746f6d2d686561646572",
        fields: ["custom-key: custom-header"],
        table: 55,
      },
    ]);
    follow([{ block: "040c2f73616d706c652f70617468", fields: [":path: /sample/path"], table: 0 }]);
    follow([
      { block: "100870617373776f726406736563726574", fields: ["password: secret"], table: 0 },
    ]);
    follow([{ block: "82", fields: [":method: GET"], table: 0 }]);
  });

  test("C.3 and C.4: requests, without Huffman and with it", () => {
    follow([
      { block: "828684410f7777772e6578616d706c652e636f6d", fields: GET, table: 57 },
      { block: "828684be58086e6f2d6361636865", fields: SECOND, table: 110 },
      {
        block: "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
        fields: THIRD,
        table: 164,
      },
    ]);
    follow([
      { block: "828684418cf1e3c2e5f23a6ba0ab90f4ff", fields: GET, table: 57 },
      { block: "828684be5886a8eb10649cbf", fields: SECOND, table: 110 },
      { block: "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf", fields: THIRD, table: 164 },
    ]);
  });

  test("C.5 and C.6: responses in a table of 256 bytes, from which entries leave", () => {
    follow(
      [
        {
          block: `4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a323120474d546e1768747470733a2f2f
            7777772e6578616d706c652e636f6d`,
          fields: FOUND,
          table: 222,
        },
        { block: "4803333037c1c0bf", fields: NOT_TEMPORARY, table: 222 },
        {
          block: `88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a4b48514b425a584f51574
            54f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31`,
          fields: LATER,
          table: 215,
        },
      ],
      256,
    );
    follow(
      [
        {
          block:
            "488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c78f0b97c8e9ae82ae43d3",
          fields: FOUND,
          table: 222,
        },
        { block: "4883640effc1c0bf", fields: NOT_TEMPORARY, table: 222 },
        {
          block: `88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960d5af27087f3672c1
            ab270fb5291f9587316065c003ed4ee5b1063d5007`,
          fields: LATER,
          table: 215,
        },
      ],
      256,
    );
  });
});

describe("what is no header block", () => {
  const refused = (block: string): void =>
    expect(decoded(new HpackDecoder(), hex(block))).toBe(false);

  test("an index that no table has (RFC 7541 2.3.3), zero (6.1)", () => {
    refused("80");
    refused("be");
    refused("ff20");
    refused("7f40");
  });

  test("a string that is longer than its block, a number that is cut short or means too much (5.1)", () => {
    refused("4003616263");
    refused("400a6162");
    refused("ff");
    refused("ff80808080808080");
    refused("ffffffffff0f");
    refused("40");
  });

  test("Huffman padding that is too long, or not of ones, and EOS within (5.2)", () => {
    refused("0f2f 81 ff ff");
    refused("00 81 1f 81 00");
    refused("00 82 1fff 00");
    refused("00 84 ffffffff 00");
  });

  test("a table size above the one we allow (6.3), or behind a field, or a third one (4.2)", () => {
    refused("3fe21f");
    refused("8220");
    refused("202020");
    expect(decoded(new HpackDecoder(), hex("203fe11f82"))).toEqual([":method: GET"]);
  });
});

test("a smaller table loses its oldest entries at once, and one too large for it leaves it empty", () => {
  const decoder = new HpackDecoder();
  decoded(decoder, hex("40016101620001630164 40016501 66"));
  expect(decoder.table).toMatchObject({ count: 2, size: 68 });
  expect(decoded(decoder, hex("3f03 be"))).toEqual(["e: f"]);
  expect(decoder.table.count).toBe(1);
  decoded(decoder, hex("3f03 400161 28".concat("62".repeat(40))));
  expect(decoder.table).toMatchObject({ count: 0, size: 0 });
});

test("bytes at random are Huffman or are refused, and what they mean stays within its room", () => {
  const out = new Uint8Array(32);
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 1, maxLength: 40 }), (bytes) => {
      const end = decodeHuffman(bytes, 0, bytes.length, out, 0);
      expect(end >= -2 && end <= Math.min(out.length, (bytes.length * 8) / 5)).toBe(true);
    }),
    { numRuns: 2_000, seed: 1 },
  );
  const longest = new Uint8Array(21).fill(0); // "0" is five zero bits: 33 of them, and padding
  longest[20] = 7;
  expect(decodeHuffman(longest, 0, 20, out, 0)).toBe(32);
  expect(decodeHuffman(longest, 0, 21, out, 0)).toBe(-2);
});

const token = fc.stringMatching(/^[a-z0-9!#$%&'*+.^_|~-]{1,40}$/);
const text = fc.stringMatching(/^[\x20-\x7e]{0,90}$/);

test("what the encoder writes the decoder reads, in any case of letters, and nothing enters a table", () => {
  const decoder = new HpackDecoder();
  fc.assert(
    fc.property(fc.array(fc.tuple(token, text), { minLength: 1, maxLength: 20 }), (fields) => {
      const out = new Uint8Array(8192);
      out[0] = NO_TABLE;
      let at = writeIndexed(out, 1, 2);
      for (const [name, value] of fields) {
        const bytes = bytesOf(name.toUpperCase() + value);
        const before = at;
        at = writeField(out, at, bytes, 0, name.length, name.length, bytes.length, LOWER);
        expect(at - before).toBeLessThanOrEqual(fieldBytesMax(name.length, value.length));
      }
      expect(decoded(decoder, out.subarray(0, at))).toEqual([
        ":method: GET",
        ...fields.map(([name, value]) => `${name}: ${value}`),
      ]);
      expect(decoder.table.count).toBe(0);
    }),
    { seed: 2 },
  );
});

test("every static entry is decoded as appendix A lists it", () => {
  expect(STATIC_TABLE).toHaveLength(61);
  const at = (index: number) => {
    const out = new Uint8Array(4);
    return decoded(new HpackDecoder(), out.subarray(0, writeIndexed(out, 0, index)));
  };
  expect([at(1), at(16), at(28), at(61)]).toEqual([
    [":authority: "],
    ["accept-encoding: gzip, deflate"],
    ["content-length: "],
    ["www-authenticate: "],
  ]);
});

test("garbage is decoded or refused, within bounds, and never throws", () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 200 }), { maxLength: 5 }), (blocks) => {
      const decoder = new HpackDecoder();
      for (const block of blocks) decoder.decode(block, 0, block.length, list);
      expect(decoder.table.size).toBeLessThanOrEqual(4096);
    }),
    { numRuns: 2_000, seed: 3 },
  );
});

test("a small block that means much is forgotten at the bound, and both tables stay the same", () => {
  const decoder = new HpackDecoder();
  const value = "62".repeat(126);
  expect(decoded(decoder, hex(`400161 7e ${value}`))).toHaveLength(1);
  const bomb = new Uint8Array(60_000).fill(0xbe);
  expect(decoder.decode(bomb, 0, 1_000, list)).toBe(true);
  expect(decoder.isBomb).toBe(false);
  expect([list.isTooLong, list.count]).toEqual([true, 0]);
  expect(decoded(decoder, hex("be"))).toHaveLength(1);
});

test("a string longer than any list is refused by its list, not by the connection", () => {
  const decoder = new HpackDecoder();
  const length = FIELD_BYTES_MAX + 2_000;
  const block = new Uint8Array(length + 8).fill(0x61);
  block.set([0x40, 0x01, 0x61, 0x7f], 0);
  let rest = length - 127;
  let at = 4;
  for (; rest >= 128; rest = Math.floor(rest / 128)) block[at++] = (rest % 128) | 128;
  block[at++] = rest;
  expect(decoder.decode(block, 0, at + length, list)).toBe(true);
  expect([list.isTooLong, decoder.table.count]).toEqual([true, 0]);
});
