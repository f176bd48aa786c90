// Answers of an app or upstream that RFC 9112 makes invalid, one line each: the section and what is wrong, the bytes.

export type Distrusted = readonly [rule: string, text: string];

const head = (fields: string, line = "HTTP/1.1 200 OK"): string => `${line}\r\n${fields}\r\n`;
const chunked = (body: string): string => head("Transfer-Encoding: chunked\r\n") + body;

/** Nothing of these may reach the client. */
export const HEADS: readonly Distrusted[] = [
  ["2.2 a bare LF ends the status line", "HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n"],
  ["2.2 a bare LF ends a field line", head("X: 1\nContent-Length: 0\r\n")],
  ["2.2 a bare CR ends a field line", head("X: 1\rContent-Length: 0\r\n")],
  ["2.2 an empty line before the status line", `\r\n${head("Content-Length: 0\r\n")}`],
  ["2.2 a blank line before the first field", "HTTP/1.1 200 OK\r\n \r\nContent-Length: 0\r\n\r\n"],
  ["2.2 a request instead of a response", "GET / HTTP/1.1\r\nHost: a\r\n\r\n"],
  ["2.2 the greeting of another protocol", "220 smtp ready\r\n\r\n"],
  ["2.3 a lower-case name of the protocol", head("", "http/1.1 200 OK")],
  ["2.3 version 2.0", head("", "HTTP/2.0 200 OK")],
  ["2.3 version 1.2", head("", "HTTP/1.2 200 OK")],
  ["2.3 ICY", head("", "ICY 200 OK")],
  ["4 no space behind the status", head("Content-Length: 0\r\n", "HTTP/1.1 200")],
  ["4 two spaces before the status", head("Content-Length: 0\r\n", "HTTP/1.1  200 OK")],
  ["4 a status of two digits", head("Content-Length: 0\r\n", "HTTP/1.1 20 OK")],
  ["4 a status of four digits", head("Content-Length: 0\r\n", "HTTP/1.1 2000 OK")],
  ["4 a signed status", head("Content-Length: 0\r\n", "HTTP/1.1 +20 OK")],
  ["4 a status below 100", head("Content-Length: 0\r\n", "HTTP/1.1 099 OK")],
  ["4 a status above 599", head("Content-Length: 0\r\n", "HTTP/1.1 600 OK")],
  ["4 a NUL in the reason phrase", head("Content-Length: 0\r\n", "HTTP/1.1 200 O\0K")],
  ["4 a bare CR in the reason phrase", head("Content-Length: 0\r\n", "HTTP/1.1 200 O\rK")],
  ["5.1 a blank before the colon", head("X : 1\r\nContent-Length: 0\r\n")],
  ["5.1 a blank before the colon of Content-Length", head("Content-Length : 0\r\n")],
  [
    "5.1 a blank before the colon of Transfer-Encoding",
    `${head("Transfer-Encoding : chunked\r\n")}0\r\n\r\n`,
  ],
  ["5 no name", head(": 1\r\nContent-Length: 0\r\n")],
  ["5 no colon", head("X\r\nContent-Length: 0\r\n")],
  ["5 a NUL in a name", head("X\0: 1\r\nContent-Length: 0\r\n")],
  ["5.2 obs-fold", head("X: 1\r\n 2\r\nContent-Length: 0\r\n")],
  ["5.5 (9110) a NUL in a value", head("X: \0\r\nContent-Length: 0\r\n")],
  ["5.5 (9110) a control byte in a value", head("X: \x02\r\nContent-Length: 0\r\n")],
  [
    "6.1 Transfer-Encoding and Content-Length",
    `${head("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n")}0\r\n\r\n`,
  ],
  [
    "6.1 Transfer-Encoding in HTTP/1.0",
    `${head("Transfer-Encoding: chunked\r\n", "HTTP/1.0 200 OK")}0\r\n\r\n`,
  ],
  ["6.1 chunked twice", `${head("Transfer-Encoding: chunked, chunked\r\n")}0\r\n\r\n`],
  [
    "6.1 gzip before chunked, which the client may not read",
    `${head("Transfer-Encoding: gzip, chunked\r\n")}0\r\n\r\n`,
  ],
  ["6.1 chunked is not the last", head("Transfer-Encoding: chunked, gzip\r\n")],
  ["6.1 identity", head("Transfer-Encoding: identity\r\n")],
  [
    "6.1 Transfer-Encoding in a 204",
    head("Transfer-Encoding: chunked\r\n", "HTTP/1.1 204 No Content"),
  ],
  [
    "6.1 Transfer-Encoding in a 103",
    head("Transfer-Encoding: chunked\r\n", "HTTP/1.1 103 Early Hints"),
  ],
  ["8.6 (9110) Content-Length in a 204", head("Content-Length: 3\r\n", "HTTP/1.1 204 No Content")],
  ["8.6 (9110) Content-Length in a 100", head("Content-Length: 3\r\n", "HTTP/1.1 100 Continue")],
  ["6.3 two differing lengths", `${head("Content-Length: 3\r\nContent-Length: 4\r\n")}abc`],
  ["6.3 two equal lengths", `${head("Content-Length: 3\r\nContent-Length: 3\r\n")}abc`],
  ["6.3 a list of lengths", `${head("Content-Length: 3, 3\r\n")}abc`],
  ["6.3 a tab behind a length", `${head("Content-Length: 3\t\r\n")}abc`],
  ["6.3 a signed length", `${head("Content-Length: +3\r\n")}abc`],
  ["6.3 a negative length", `${head("Content-Length: -3\r\n")}abc`],
  ["6.3 an empty length", head("Content-Length:\r\n")],
  ["6.3 a length beyond 2^63", head("Content-Length: 9223372036854775808\r\n")],
  [
    "7.6.1 (9110) Connection that names Content-Length",
    `${head("Connection: content-length\r\nContent-Length: 3\r\n")}abc`,
  ],
  [
    "7.8 (9110) a 101 that nobody asked for",
    head("Connection: upgrade\r\nUpgrade: x\r\n", "HTTP/1.1 101 Switching"),
  ],
];

/** Here the head may be out before the flaw is seen: then the client's connection is cut. */
export const CHUNKS: readonly Distrusted[] = [
  ["7.1 a size that is no number", chunked("x\r\n")],
  ["7.1 a signed size", chunked("+3\r\nabc\r\n0\r\n\r\n")],
  ["7.1 a blank behind the size", chunked("3 \r\nabc\r\n0\r\n\r\n")],
  ["7.1 a size that is 3 modulo 2^64", chunked("10000000000000003\r\nabc\r\n0\r\n\r\n")],
  ["7.1 a bare LF behind the size", chunked("3\nabc\r\n0\r\n\r\n")],
  ["7.1 no CRLF behind the data", chunked("3\r\nabc0\r\n\r\n")],
  ["7.1 a bare LF behind the data", chunked("3\r\nabc\n0\r\n\r\n")],
  ["7.1.1 an extension without a name", chunked("3;\r\nabc\r\n0\r\n\r\n")],
  ["7.1.1 an extension of 300 bytes", chunked(`3;${"x".repeat(300)}\r\nabc\r\n0\r\n\r\n`)],
  ["7.1.2 a blank before a trailer's colon", chunked("0\r\nX : 1\r\n\r\n")],
  ["7.1.2 obs-fold in a trailer", chunked("0\r\nX: 1\r\n 2\r\n\r\n")],
  ["6.5.1 (9110) Content-Length as a trailer", chunked("0\r\nContent-Length: 3\r\n\r\n")],
  ["6.5.1 (9110) Set-Cookie as a trailer", chunked("0\r\nSet-Cookie: a=b\r\n\r\n")],
];

/** Cut short by the app, which then ends its direction. */
export const INCOMPLETE: readonly Distrusted[] = [
  ["6.3 fewer octets than Content-Length says", `${head("Content-Length: 10\r\n")}abc`],
  ["8 chunks without the last one", chunked("3\r\nabc\r\n")],
  ["8 a last chunk without the empty line", chunked("3\r\nabc\r\n0\r\n")],
  ["8 half a chunk", chunked("a\r\nabc")],
];
