import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { bytesOfLatin1 } from "../../test/support/naive-http1.ts";
import { type Detected, detect } from "./detect.ts";

const of = (text: string): Detected => {
  const bytes = bytesOfLatin1(text);
  return detect(bytes, 0, bytes.length);
};

describe("first bytes", () => {
  test.each([
    ["http1", "GET / HTTP/1.1\r\n"],
    ["http1", "OPTIONS * HTTP/1.1\r\n"],
    ["http1", "POST http://a/"],
    ["http1", "CONNECT a:1 HTTP/1.1"],
    ["http1", "PRIVATE /"],
    ["http2_preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0"],
    ["tls", "\x16\x03\x01\x02\x00\x01\x00"],
    ["opaque", "\x16\x03\x01\x02\x00\x02\x00"],
    ["opaque", "\x16GET"],
    ["opaque", "*1\r\n$4\r\nPING\r\n"],
    ["opaque", "PING\r\n"],
    ["opaque", "KEYS *\r\n"],
    ["opaque", "EHLO host.example\r\n"],
    ["opaque", "SSH-2.0-OpenSSH\r\n"],
    ["opaque", "\0\0\0\x08\x04\xd2\x16\x2f"],
    ["opaque", "get foo\r\n"],
    ["opaque", "PRI * HTTP/1.1\r\n"],
    ["opaque", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"],
    ["need_more", ""],
    ["need_more", "GET"],
    ["need_more", "GET "],
    ["need_more", "GET ht"],
    ["need_more", "PRI * HTTP/2.0"],
    ["need_more", "\x16\x03"],
  ] as const)("say %s: %j", (expected, text) => {
    expect(of(text)).toBe(expected);
  });
});

test("more bytes never change an answer", () => {
  const start = fc.constantFrom(
    "GET ",
    "PRI * HTTP/2.0\r\n",
    "\x16\x03",
    "OPTIONS *",
    "PUT http:/",
    "",
  );
  fc.assert(
    fc.property(start, fc.string({ unit: "binary-ascii", maxLength: 30 }), (first, more) => {
      const text = first + more;
      const whole = of(text);
      for (let end = 0; end < text.length; end++) {
        const part = of(text.slice(0, end));
        if (part !== "need_more") expect<string>(part).toBe(whole);
      }
    }),
  );
});

test("thirty bytes are always enough", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 30, maxLength: 30 }), (bytes) => {
      expect(detect(bytes, 0, 30) === "need_more").toBe(false);
    }),
  );
});
