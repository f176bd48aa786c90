import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { bytesOfLatin1 } from "../../../test/support/naive-http1.ts";
import { HEAD_LIMITS, RequestHead } from "./head.ts";
import { isWorthReading, readRequestHead } from "./read-request.ts";
import { NEED_MORE, refusalOf } from "./refusal.ts";

const head = new RequestHead(100, ["x-forwarded-client-cert"]);

function read(text: string, limits = HEAD_LIMITS): number {
  const bytes = bytesOfLatin1(text);
  return readRequestHead(head, bytes, 0, bytes.length, limits);
}
const reasonOf = (text: string, limits = HEAD_LIMITS): string => {
  const at = read(text, limits);
  return at > 0 ? "read" : at === NEED_MORE ? "need_more" : refusalOf(at).reason;
};
const withFields = (fields: string, line = "GET / HTTP/1.1"): string =>
  `${line}\r\nHost: a\r\n${fields}\r\n`;

describe("a request head", () => {
  test("is read into offsets", () => {
    const text = "POST /a/b?c=d?e HTTP/1.1\r\nHost: reviews:9080\r\nX-A:\t1 \r\nx-a: 2\r\n\r\n";
    expect(read(`${text}GET`)).toBe(text.length);
    expect(head.method).toBe("POST");
    expect(head.target).toBe("/a/b?c=d?e");
    expect(head.path).toBe("/a/b");
    expect(head.query).toBe("c=d?e");
    expect(head.authority).toBe("reviews:9080");
    expect(head.joined("x-a")).toBe("1, 2");
    expect(head.joined("x-b")).toBeUndefined();
    expect(head.name(1)).toBe("X-A");
    expect(head.bodyKind).toBe("none");
    expect(head.keepAlive).toBe(true);
  });

  test("may follow one empty line, not two (9112 2.2)", () => {
    expect(reasonOf(`\r\n${withFields("")}`)).toBe("read");
    expect(head.start).toBe(2);
    expect(reasonOf(`\r\n\r\n${withFields("")}`)).toBe("method_invalid");
    expect(reasonOf(`\n${withFields("")}`)).toBe("method_invalid");
  });

  test("keeps the connection as 9112 9.3 says", () => {
    const persists = (line: string, field: string): boolean => {
      expect(reasonOf(withFields(field, line))).toBe("read");
      return head.keepAlive;
    };
    expect(persists("GET / HTTP/1.1", "")).toBe(true);
    expect(persists("GET / HTTP/1.1", "Connection: close\r\n")).toBe(false);
    expect(persists("GET / HTTP/1.1", "Connection: x, CLOSE\r\n")).toBe(false);
    expect(persists("GET / HTTP/1.0", "")).toBe(false);
    expect(persists("GET / HTTP/1.0", "Connection: Keep-Alive\r\n")).toBe(true);
    expect(persists("GET / HTTP/1.0", "Connection: close, keep-alive\r\n")).toBe(false);
  });
});

describe("of a request head, the reader", () => {
  test("drops hop-by-hop fields, those Connection names, and those the caller chose (9110 7.6.1)", () => {
    const fields = [
      "Connection: X-One, keep-alive",
      "x-one: 1",
      "Keep-Alive: timeout=5",
      "Proxy-Connection: keep-alive",
      "TE: gzip",
      "Upgrade: websocket",
      "X-Forwarded-Client-Cert: forged",
      "X-Kept: 1",
    ];
    expect(reasonOf(withFields(`${fields.join("\r\n")}\r\n`))).toBe("read");
    const kept = Array.from({ length: head.fieldCount }, (_, i) => i).filter(
      (i) => head.dropped[i] === 0,
    );
    expect(kept.map((i) => head.name(i))).toEqual(["Host", "X-Kept"]);
    expect(head.find("x-one")).toBe(-1);
    expect(head.isUpgrade).toBe(false);
  });

  test("keeps Upgrade when Connection asks for it, but never h2c (9110 7.8)", () => {
    expect(reasonOf(withFields("Upgrade: websocket\r\nConnection: Upgrade\r\n"))).toBe("read");
    expect(head.isUpgrade).toBe(true);
    expect(head.find("upgrade")).toBeGreaterThan(0);
    expect(reasonOf(withFields("Connection: Upgrade\r\nUpgrade: h2c\r\n"))).toBe("read");
    expect(head.isUpgrade).toBe(false);
    expect(head.find("upgrade")).toBe(-1);
  });

  test("says how the body is delimited (9112 6.3)", () => {
    read(withFields("Content-Length: 12\r\n"));
    expect([head.bodyKind, head.contentLength]).toEqual(["length", 12]);
    read(withFields("Transfer-Encoding: Chunked\r\nExpect: 100-Continue\r\n"));
    expect([head.bodyKind, head.expectsContinue]).toEqual(["chunked", true]);
    read(withFields("Content-Length: 0\r\n"));
    expect([head.bodyKind, head.contentLength]).toEqual(["none", 0]);
  });
});

const REFUSED: readonly (readonly [rule: string, reason: string, text: string])[] = [
  [
    "9112 2.2: bare LF ends the request line",
    "line_end_invalid",
    "GET / HTTP/1.1\nHost: a\r\n\r\n",
  ],
  ["9112 2.2: bare LF ends a field", "line_end_invalid", withFields("x: 1\n")],
  ["9112 2.2: bare CR in a value", "line_end_invalid", withFields("x: 1\r2\r\n")],
  ["9112 2.2: bare LF as the last line", "line_end_invalid", "GET / HTTP/1.1\r\nHost: a\r\n\n"],
  ["9112 2.2: blank before the first field", "obs_fold", "GET / HTTP/1.1\r\n Host: a\r\n\r\n"],
  ["9112 2.3: HTTP/2.0", "version_unsupported", withFields("", "GET / HTTP/2.0")],
  ["9112 2.3: HTTP/1.2", "version_unsupported", withFields("", "GET / HTTP/1.2")],
  ["9112 2.3: lower case", "version_malformed", withFields("", "GET / http/1.1")],
  ["9112 2.3: longer", "version_malformed", withFields("", "GET / HTTP/1.10")],
  ["9112 3: HTTP/0.9", "version_malformed", "GET /\r\n"],
  ["9112 3: two spaces", "target_invalid", withFields("", "GET  / HTTP/1.1")],
  ["9112 3: blank at the end", "version_malformed", withFields("", "GET / HTTP/1.1 ")],
  ["9110 9.1: no token", "method_invalid", withFields("", "G(T / HTTP/1.1")],
  ["Istio: lower case method", "method_invalid", withFields("", "get / HTTP/1.1")],
  ["9112 3.2: NUL in the target", "target_invalid", withFields("", "GET /\0 HTTP/1.1")],
  ["9112 3.2: HTAB in the target", "target_invalid", withFields("", "GET /\t HTTP/1.1")],
  ["9112 3.2: beyond ASCII", "target_invalid", withFields("", "GET /\xe4 HTTP/1.1")],
  ["9112 3.2: a fragment", "target_invalid", withFields("", "GET /#a HTTP/1.1")],
  ["9112 3.2.1: no slash", "target_invalid", withFields("", "GET a HTTP/1.1")],
  ["9112 3.2.4: * without OPTIONS", "target_invalid", withFields("", "GET * HTTP/1.1")],
  ["9112 3.2.2: another host", "host_mismatch", withFields("", "GET http://b/ HTTP/1.1")],
  ["9112 3.2.2: another port", "host_mismatch", withFields("", "GET http://a:80/ HTTP/1.1")],
  ["9110 4.2.4: userinfo", "target_invalid", withFields("", "GET http://u@a/ HTTP/1.1")],
  ["9110 4.2.1: no host", "target_invalid", withFields("", "GET http:/// HTTP/1.1")],
  ["9110 4.2.2: https in plaintext", "target_invalid", withFields("", "GET https://a/ HTTP/1.1")],
  ["9110 9.3.6: CONNECT", "connect_not_allowed", withFields("", "CONNECT a:1 HTTP/1.1")],
  ["9112 3.2: no Host", "host_missing", "GET / HTTP/1.1\r\n\r\n"],
  ["9112 3.2: no Host in 1.0", "host_missing", "GET / HTTP/1.0\r\n\r\n"],
  ["9112 3.2: two Hosts", "host_invalid", withFields("host: a\r\n")],
  ["9112 3.2: empty Host", "host_invalid", "GET / HTTP/1.1\r\nHost:\r\n\r\n"],
  ["9110 7.2: userinfo in Host", "host_invalid", "GET / HTTP/1.1\r\nHost: u@a\r\n\r\n"],
  ["9110 7.2: path in Host", "host_invalid", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"],
  ["9110 7.2: blank in Host", "host_invalid", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"],
  ["9110 7.2: port not a number", "host_invalid", "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n"],
  ["9110 7.2: port too high", "host_invalid", "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n"],
  ["3986 3.2.2: half a literal", "host_invalid", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"],
  ["3986 2.1: half a triplet", "host_invalid", "GET / HTTP/1.1\r\nHost: a%4\r\n\r\n"],
  ["9112 5.1: blank before the colon", "field_name_invalid", withFields("x : 1\r\n")],
  ["9112 5.1: no name", "field_name_invalid", withFields(": 1\r\n")],
  ["9112 5.1: no colon", "field_name_invalid", withFields("x\r\n")],
  ["9112 5.2: obs-fold", "obs_fold", withFields("x: 1\r\n 2\r\n")],
  ["9110 5.1: NUL in a name", "field_name_invalid", withFields("x\0: 1\r\n")],
  ["9110 5.5: NUL in a value", "field_value_invalid", withFields("x: \0\r\n")],
  ["9110 5.5: control byte in a value", "field_value_invalid", withFields("x: \x0b\r\n")],
  ["9110 5.5: DEL in a value", "field_value_invalid", withFields("x: \x7f\r\n")],
  [
    "9112 6.1: TE and CL",
    "framing_ambiguous",
    withFields("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
  ],
  [
    "9112 6.1: TE in 1.0",
    "framing_ambiguous",
    withFields("Transfer-Encoding: chunked\r\n", "GET / HTTP/1.0"),
  ],
  [
    "9112 6.1: unknown coding",
    "transfer_encoding_invalid",
    withFields("Transfer-Encoding: gzip\r\n"),
  ],
  [
    "9112 6.1: coding before chunked",
    "transfer_coding_unknown",
    withFields("Transfer-Encoding: gzip, chunked\r\n"),
  ],
  [
    "9112 6.1: chunked not last",
    "transfer_encoding_invalid",
    withFields("Transfer-Encoding: chunked, gzip\r\n"),
  ],
  [
    "9112 6.1: chunked twice",
    "transfer_encoding_invalid",
    withFields("Transfer-Encoding: chunked, chunked\r\n"),
  ],
  [
    "9112 6.1: chunked in two fields",
    "transfer_encoding_invalid",
    withFields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
  ],
  [
    "9112 7: a parameter",
    "transfer_encoding_invalid",
    withFields("Transfer-Encoding: chunked;a=b\r\n"),
  ],
  [
    "9112 7: look-alike",
    "transfer_encoding_invalid",
    withFields("Transfer-Encoding: xchunked\r\n"),
  ],
  ["9112 7: empty", "transfer_encoding_invalid", withFields("Transfer-Encoding:\r\n")],
  [
    "9112 7: a comma before",
    "transfer_encoding_invalid",
    withFields("Transfer-Encoding: , chunked\r\n"),
  ],
  ["9110 8.6: sign", "content_length_invalid", withFields("Content-Length: +1\r\n")],
  ["9110 8.6: negative", "content_length_invalid", withFields("Content-Length: -1\r\n")],
  ["9110 8.6: hexadecimal", "content_length_invalid", withFields("Content-Length: 0x1\r\n")],
  ["9110 8.6: empty", "content_length_invalid", withFields("Content-Length:\r\n")],
  ["9110 8.6: a list", "content_length_invalid", withFields("Content-Length: 1, 1\r\n")],
  [
    "9110 8.6: twice",
    "content_length_invalid",
    withFields("Content-Length: 1\r\nContent-Length: 1\r\n"),
  ],
  [
    "9110 8.6: beyond counting",
    "content_length_invalid",
    withFields("Content-Length: 9007199254740993\r\n"),
  ],
  [
    "9110 7.6.1: Connection names framing",
    "connection_invalid",
    withFields("Connection: Content-Length\r\n"),
  ],
  [
    "9110 7.6.1: Connection names Host",
    "connection_invalid",
    withFields("Connection: close, host\r\n"),
  ],
  ["9110 7.6.1: no token", "connection_invalid", withFields("Connection: a b\r\n")],
  [
    "9110 7.6.1: too many options",
    "connection_invalid",
    withFields(`Connection: ${"a,".repeat(40)}\r\n`),
  ],
  ["9110 7.8: two Upgrades", "upgrade_invalid", withFields("Upgrade: a\r\nUpgrade: b\r\n")],
  [
    "9110 9.3.6: CONNECT with content",
    "connect_not_allowed",
    withFields("Content-Length: 1\r\n", "CONNECT a:1 HTTP/1.1"),
  ],
];

describe("a request head is refused for", () => {
  test.each(REFUSED.map(([rule, reason, text]) => ({ rule, reason, text })))(
    "$rule",
    ({ reason, text }) => {
      expect(reasonOf(text)).toBe(reason);
    },
  );

  test("being longer than the limit, before it has ended", () => {
    const limits = { ...HEAD_LIMITS, headBytesMax: 100 };
    expect(reasonOf(`GET /${"a".repeat(200)}`, limits)).toBe("target_too_long");
    expect(reasonOf(`GET / HTTP/1.1\r\nx: ${"a".repeat(200)}`, limits)).toBe("head_too_long");
    expect(refusalOf(read(`GET /${"a".repeat(200)}`, limits)).status).toBe(414);
  });

  test("more fields than the limit", () => {
    const fields = "x: 1\r\n".repeat(99);
    expect(reasonOf(withFields(fields))).toBe("read");
    expect(reasonOf(withFields(`${fields}x: 1\r\n`))).toBe("too_many_fields");
  });

  test("CONNECT to another host than Host, or with content, where CONNECT is allowed", () => {
    const limits = { ...HEAD_LIMITS, isConnectAllowed: true };
    const connect = (target: string, host: string, more = ""): string =>
      reasonOf(`CONNECT ${target} HTTP/1.1\r\nHost: ${host}\r\n${more}\r\n`, limits);
    expect(connect("a:1", "a:1")).toBe("read");
    expect(connect("[::1]:1", "[::1]:1")).toBe("read");
    expect(connect("a:1", "b:1")).toBe("host_mismatch");
    expect(connect("a", "a")).toBe("target_invalid");
    expect(connect("[::1]", "[::1]")).toBe("target_invalid");
    expect(connect("a:1", "a:1", "Content-Length: 1\r\n")).toBe("framing_ambiguous");
  });
});

const SAMPLES = [
  withFields(
    "Accept: */*\r\nConnection: keep-alive\r\nContent-Length: 3\r\n",
    "POST /a?b HTTP/1.1",
  ),
  `\r\n${withFields("TE: trailers\r\nTransfer-Encoding: chunked\r\n", "PUT http://a/b HTTP/1.1")}`,
  ...REFUSED.map(([, , text]) => text),
];

test("a head cut at any byte asks for more, or is refused as the whole is, and never read too early", () => {
  for (const text of SAMPLES) {
    const bytes = bytesOfLatin1(text);
    const whole = readRequestHead(head, bytes, 0, bytes.length, HEAD_LIMITS);
    for (let end = 0; end < bytes.length; end++) {
      const part = readRequestHead(head, bytes.slice(0, end), 0, end, HEAD_LIMITS);
      if (part === NEED_MORE) continue;
      expect(part).toBe(whole);
      if (part > 0) expect(end).toBeGreaterThanOrEqual(part);
    }
  }
});

test("waiting for a line end before reading again loses nothing", () => {
  for (const text of SAMPLES) {
    const bytes = bytesOfLatin1(text);
    const whole = readRequestHead(head, bytes, 0, bytes.length, HEAD_LIMITS);
    if (whole < 0) continue;
    let result = NEED_MORE;
    for (let end = 1; end <= bytes.length && result === NEED_MORE; end++) {
      if (!isWorthReading(bytes, 0, end - 1, end, HEAD_LIMITS)) continue;
      result = readRequestHead(head, bytes, 0, end, HEAD_LIMITS);
    }
    expect(result).toBe(whole);
  }
});

test("what lies outside [start, end) is never looked at, and garbage never throws", () => {
  const piece = fc.oneof(
    fc.constantFrom(
      "GET ",
      "/",
      " HTTP/1.1",
      "\r\n",
      "Host: a",
      ": ",
      "Connection: ",
      "close",
      ",",
    ),
    fc.constantFrom("Transfer-Encoding: chunked", "Content-Length: 1", "Upgrade: x", "TE: ", "\0"),
    fc.string({ unit: "binary-ascii", maxLength: 4 }),
  );
  fc.assert(
    fc.property(
      fc.array(piece, { maxLength: 20 }),
      fc.constantFrom("A", "\r\n", "\n\n"),
      (parts, edge) => {
        const text = parts.join("");
        const alone = bytesOfLatin1(text);
        const within = bytesOfLatin1(edge + text + edge + withFields(""));
        const one = readRequestHead(head, alone, 0, alone.length, HEAD_LIMITS);
        const end = edge.length + alone.length;
        const two = readRequestHead(head, within, edge.length, end, HEAD_LIMITS);
        expect(two).toBe(one > 0 ? one + edge.length : one);
      },
    ),
    { numRuns: 2000 },
  );
});
