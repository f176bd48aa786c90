// Messages whose fields make them malformed, RFC 9113 8.1.1 to 8.5, one line each: the section and what is wrong, the fields.
import type { Fields } from "../../support/http2-end.ts";

export type Malformed = readonly [rule: string, fields: Fields];

const METHOD = [":method", "GET"] as const;
const SCHEME = [":scheme", "http"] as const;
const PATH = [":path", "/"] as const;
const AUTHORITY = [":authority", "a"] as const;
const get = (...more: Fields): Fields => [METHOD, SCHEME, PATH, AUTHORITY, ...more];
const path = (value: string): Fields => [METHOD, SCHEME, [":path", value], AUTHORITY];
const ok = (...more: Fields): Fields => [[":status", "200"], ...more];

/** The same in requests and responses. */
const REGULAR: readonly (readonly [rule: string, name: string, value: string])[] = [
  ["8.2 a name in upper case", "X-A", "1"],
  ["8.2 one letter of a name in upper case", "x-aB", "1"],
  ["8.2.1 an empty name", "", "1"],
  ["8.2.1 a NUL in a name", "x\0", "1"],
  ["8.2.1 a blank in a name", "x a", "1"],
  ["8.2.1 a colon at a name's end", "x:", "1"],
  ["8.2.1 a colon within a name", "x:a", "1"],
  ["8.2.1 CR in a name", "x\r", "1"],
  ["8.2.1 LF in a name", "x\n", "1"],
  ["8.2.1 DEL in a name", "x\x7f", "1"],
  ["8.2.1 an octet beyond ASCII in a name", "x\xe4", "1"],
  ["8.2.1 a NUL in a value", "x", "a\0b"],
  ["8.2.1 LF in a value", "x", "a\nb"],
  ["8.2.1 CR in a value", "x", "a\rb"],
  ["8.2.1 CRLF and a field in a value", "x", "a\r\ny: 1"],
  ["8.2.1 SP before a value", "x", " a"],
  ["8.2.1 SP behind a value", "x", "a "],
  ["8.2.1 HTAB before a value", "x", "\ta"],
  ["8.2.1 HTAB behind a value", "x", "a\t"],
  ["8.2.1 a value of SP", "x", " "],
  ["8.2.2 connection", "connection", "close"],
  ["8.2.2 connection, empty", "connection", ""],
  ["8.2.2 keep-alive", "keep-alive", "timeout=5"],
  ["8.2.2 proxy-connection", "proxy-connection", "keep-alive"],
  ["8.2.2 transfer-encoding", "transfer-encoding", "chunked"],
  ["8.2.2 transfer-encoding that says nothing", "transfer-encoding", "identity"],
  ["8.2.2 upgrade", "upgrade", "websocket"],
  ["8.2.2 upgrade to what was once HTTP/2's", "upgrade", "h2c"],
  ["8.2.2 te that is more than trailers", "te", "trailers, gzip"],
  ["8.2.2 te that is less", "te", ""],
  ["8.3 a pseudo-header field that nobody knows", ":unknown", "1"],
  ["8.3 a pseudo-header field without a name", ":", "1"],
  ["8.1.1 a content-length that is no number", "content-length", "1a"],
  ["8.1.1 a content-length with a sign", "content-length", "+0"],
  ["8.1.1 an empty content-length", "content-length", ""],
  ["8.1.1 a list of lengths", "content-length", "0, 0"],
  ["8.1.1 a content-length beyond all bounds", "content-length", "0000000000000000000000000000000"],
];

export const REQUESTS: readonly Malformed[] = [
  ...REGULAR.map(([rule, name, value]) => [rule, get([name, value])] as const),
  ["8.3 a pseudo-header field behind a regular one", [METHOD, SCHEME, AUTHORITY, ["x", "1"], PATH]],
  ["8.3 a pseudo-header field of responses", get([":status", "200"])],
  ["8.3.1 no method", [SCHEME, PATH, AUTHORITY]],
  ["8.3.1 two methods", get([":method", "GET"])],
  ["8.3.1 an empty method", [[":method", ""], SCHEME, PATH, AUTHORITY]],
  ["8.3.1 a method that is no token", [[":method", "GE T"], SCHEME, PATH, AUTHORITY]],
  [
    "8.3.1 a method with a request line behind it",
    [[":method", "GET / HTTP/1.1\r\nx: "], SCHEME, PATH, AUTHORITY],
  ],
  ["9110 9.1 a method in lower case", [[":method", "get"], SCHEME, PATH, AUTHORITY]],
  ["8.3.1 no scheme", [METHOD, PATH, AUTHORITY]],
  ["8.3.1 two schemes", get([":scheme", "http"])],
  ["8.3.1 an empty scheme", [METHOD, [":scheme", ""], PATH, AUTHORITY]],
  ["8.3.1 a scheme that is none", [METHOD, [":scheme", "http://a/"], PATH, AUTHORITY]],
  ["8.3.1 no path", [METHOD, SCHEME, AUTHORITY]],
  ["8.3.1 two paths", get([":path", "/b"])],
  ["8.3.1 an empty path", path("")],
  ["8.3.1 a path without its slash", path("a")],
  ["8.3.1 a query alone", path("?a=b")],
  ["8.3.1 a URI for a path", path("http://a/")],
  ["8.3.1 * and more", path("*/a")],
  ["8.3.1 a blank in the path", path("/a b")],
  ["8.3.1 a version in the path", path("/ HTTP/1.1\r\nx: y\r\n\r\nGET /b")],
  ["8.3.1 a fragment in the path", path("/a#b")],
  ["8.3.1 a control byte in the path", path("/\x01")],
  ["8.3.1 an octet beyond ASCII in the path", path("/\xe4")],
  ["8.3.1 two authorities", get([":authority", "a"])],
  ["8.3.1 an empty authority", [METHOD, SCHEME, PATH, [":authority", ""]]],
  ["8.3.1 a line end in the authority", [METHOD, SCHEME, PATH, [":authority", "a\r\nx: y"]]],
  ["8.3.1 a blank in the authority", [METHOD, SCHEME, PATH, [":authority", "a b"]]],
  ["8.3.1 a host that is not the authority", get(["host", "b"])],
  ["8.3.1 two hosts", [METHOD, SCHEME, PATH, ["host", "a"], ["host", "a"]]],
  ["8.1.1 two lengths", get(["content-length", "0"], ["content-length", "0"])],
  ["8.1.1 two lengths that differ", get(["content-length", "0"], ["content-length", "3"])],
  ["8.5 CONNECT with a path", [[":method", "CONNECT"], PATH, AUTHORITY]],
  ["8.5 CONNECT with a scheme", [[":method", "CONNECT"], SCHEME, AUTHORITY]],
  ["8.5 CONNECT to nowhere", [[":method", "CONNECT"]]],
];

export const RESPONSES: readonly Malformed[] = [
  ...REGULAR.map(([rule, name, value]) => [rule, ok([name, value])] as const),
  ["8.2.2 te, which is for requests", ok(["te", "trailers"])],
  ["8.3.2 no status", [["x", "1"]]],
  ["8.3.2 nothing at all", []],
  ["8.3.2 two statuses", ok([":status", "200"])],
  [
    "8.3 a status behind a regular field",
    [
      ["x", "1"],
      [":status", "200"],
    ],
  ],
  ["8.3 a pseudo-header field of requests", ok([":path", "/"])],
  ["8.3.2 an empty status", [[":status", ""]]],
  ["8.3.2 a status with a reason", [[":status", "200 OK"]]],
  ["8.3.2 a status of two digits", [[":status", "20"]]],
  ["8.3.2 a status of four digits", [[":status", "2000"]]],
  ["8.3.2 a status that is no number", [[":status", "2x0"]]],
  ["8.3.2 a status beyond all classes", [[":status", "600"]]],
  ["8.3.2 a status below all classes", [[":status", "099"]]],
  ["8.6 101", [[":status", "101"]]],
  ["8.1 an interim response that ends the stream", [[":status", "103"]]],
  ["8.1.1 a length, and no content", ok(["content-length", "3"])],
  ["8.1.1 two lengths", ok(["content-length", "0"], ["content-length", "0"])],
];

/** Behind content, in either direction. */
export const TRAILERS: readonly Malformed[] = [
  ...REGULAR.filter(([rule]) => /^8\.[23]/.test(rule)).map(
    ([rule, name, value]) => [rule, [[name, value]]] as const,
  ),
  ["8.1 a pseudo-header field", [[":path", "/"]]],
  ["8.1 a status", [[":status", "200"]]],
  ["RFC 9110 6.5.1 content-length", [["content-length", "3"]]],
  ["RFC 9110 6.5.1 host", [["host", "b"]]],
  ["RFC 9110 6.5.1 te", [["te", "trailers"]]],
  ["RFC 9110 6.5.1 authorization", [["authorization", "x"]]],
  ["RFC 9110 6.5.1 content_length, which an app may take for it", [["content_length", "3"]]],
  ["RFC 9110 6.5.1 an identity", [["x-forwarded-client-cert", "By=x"]]],
];
