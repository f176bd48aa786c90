import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { bytesOfLatin1, dechunkNaively, latin1 } from "../../../test/support/naive-http1.ts";
import { BodyReader } from "./body.ts";
import { NEED_MORE, refusalOf } from "./refusal.ts";

const CHUNKED = { bodyKind: "chunked", contentLength: -1 } as const;

function scan(
  text: string,
  cuts: readonly number[] = [],
  framing: Parameters<BodyReader["begin"]>[0] = CHUNKED,
): number {
  const bytes = bytesOfLatin1(text);
  const reader = new BodyReader();
  reader.begin(framing);
  let from = 0;
  for (const to of [...cuts, bytes.length]) {
    const at = reader.scan(bytes, from, to);
    if (at !== NEED_MORE) return at;
    from = to;
  }
  return NEED_MORE;
}
const reasonOf = (text: string): string => {
  const at = scan(text);
  return at >= 0 ? "read" : at === NEED_MORE ? "need_more" : refusalOf(at).reason;
};

test("a body of a given length ends there, and the rest is the next message's", () => {
  const framing = { bodyKind: "length", contentLength: 5 } as const;
  expect(scan("hello", [], framing)).toBe(5);
  expect(scan("hell", [], framing)).toBe(NEED_MORE);
  expect(scan("helloGET", [2, 3], framing)).toBe(5);
});

test("no body is done at once; one until close ends with the connection", () => {
  const reader = new BodyReader();
  reader.begin({ bodyKind: "none", contentLength: -1 });
  expect(reader.isDone).toBe(true);
  expect(reader.scan(bytesOfLatin1("GET"), 0, 3)).toBe(0);
  reader.begin({ bodyKind: "until_close", contentLength: -1 });
  expect(reader.scan(bytesOfLatin1("abc"), 0, 3)).toBe(NEED_MORE);
  expect(reader.end()).toBe(true);
  reader.begin({ bodyKind: "length", contentLength: 5 });
  expect(reader.end()).toBe(false);
});

describe("a chunked body", () => {
  test("is read with extensions and trailers (9112 7.1)", () => {
    expect(reasonOf("5;a=b;c\r\nhello\r\n00\r\nX-Sum: 1\r\nY:\r\n\r\n")).toBe("read");
    expect(scan("0\r\n\r\nGET")).toBe(5);
  });

  test("yields its content without framing", () => {
    const bytes = bytesOfLatin1("3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\nnext");
    const reader = new BodyReader();
    reader.begin(CHUNKED);
    let text = "";
    let at = 0;
    while (!reader.isDone) {
      at = reader.nextContent(bytes, at, bytes.length);
      text += latin1(bytes.subarray(reader.contentStart, reader.contentEnd));
    }
    expect([text, latin1(bytes.subarray(at))]).toEqual(["abcde", "next"]);
  });

  test.each([
    ["chunk_size_invalid", "\r\n"],
    ["chunk_size_invalid", "-1\r\n"],
    ["chunk_size_invalid", "0x5\r\nhello\r\n"],
    ["chunk_size_invalid", "5 \r\nhello\r\n"],
    ["chunk_size_invalid", " 5\r\nhello\r\n"],
    ["chunk_size_invalid", "5\nhello\r\n"],
    ["chunk_size_invalid", "5\rhello\r\n"],
    ["chunk_size_invalid", "1000000000000\r\n"],
    ["chunk_size_invalid", "0000000000005\r\nhello"],
    ["chunk_end_invalid", "5\r\nhello!\r\n"],
    ["chunk_end_invalid", "5\r\nhello\n"],
    ["chunk_end_invalid", "5\r\nhello\r\r"],
    ["chunk_extension_invalid", "5;a\nhello\r\n"],
    ["chunk_extension_invalid", "5;\0\r\nhello\r\n"],
    ["chunk_extension_invalid", `5;${"a".repeat(300)}`],
    ["trailer_invalid", "0\r\n\n"],
    ["trailer_invalid", "0\r\n x: 1\r\n\r\n"],
    ["trailer_invalid", "0\r\nx : 1\r\n\r\n"],
    ["trailer_invalid", "0\r\nx: 1\n\r\n"],
    ["trailer_invalid", "0\r\nx: 1\r\n 2\r\n\r\n"],
    ["trailer_invalid", "0\r\nx: \0\r\n\r\n"],
    ["trailer_invalid", "0\r\n: 1\r\n\r\n"],
    ["trailer_invalid", "0\r\nContent-Length: 1\r\n\r\n"],
    ["trailer_invalid", "0\r\nTransfer-Encoding: chunked\r\n\r\n"],
    ["trailer_invalid", "0\r\nHOST: b\r\n\r\n"],
    ["trailer_invalid", `0\r\n${"x: 1\r\n".repeat(2000)}`],
  ])("is refused: %s, %j", (reason, text) => {
    expect(reasonOf(text)).toBe(reason);
  });
});

const chunk = fc
  .tuple(
    fc.string({ unit: "binary-ascii", minLength: 1, maxLength: 9 }),
    fc.constantFrom("", ";a", ';a="b"'),
  )
  .map(([data, extension]) => `${data.length.toString(16)}${extension}\r\n${data}\r\n`);
const garbled = fc.constantFrom("", "\r", "\n", "0\r\n\r\n", "\0", " ", "f", "-");
const text = fc
  .tuple(
    fc.array(chunk, { maxLength: 5 }),
    garbled,
    fc.constantFrom("0\r\n\r\n", "0\r\nx: y\r\n\r\n", "0"),
  )
  .map(([chunks, bad, last]) => `${chunks.join("")}${bad}${last}more`);

test("cut at any byte reads as the whole does, and as a naive reader reads it", () => {
  fc.assert(
    fc.property(text, fc.array(fc.nat(60), { maxLength: 6 }), (all, cuts) => {
      const whole = scan(all);
      const sorted = cuts.filter((cut) => cut <= all.length).sort((a, b) => a - b);
      expect(scan(all, sorted)).toBe(whole);
      const naive = dechunkNaively(all);
      expect(whole >= 0 ? all.slice(whole) : undefined).toBe(naive?.rest);
    }),
    { numRuns: 1500 },
  );
});
