import { describe, expect, test } from "bun:test";
import { bytesOfLatin1 } from "../../../test/support/naive-http1.ts";
import { HEAD_LIMITS, ResponseHead } from "./head.ts";
import { readResponseHead } from "./read-response.ts";
import { NEED_MORE, refusalOf } from "./refusal.ts";

const head = new ResponseHead();

function reasonOf(text: string, isHead = false, isConnect = false): string {
  const bytes = bytesOfLatin1(text);
  const at = readResponseHead(head, bytes, 0, bytes.length, HEAD_LIMITS, isHead, isConnect);
  return at > 0 ? head.bodyKind : at === NEED_MORE ? "need_more" : refusalOf(at).reason;
}
const response = (status: number, fields = ""): string => `HTTP/1.1 ${status} x\r\n${fields}\r\n`;

describe("a response's body", () => {
  test.each([
    ["length", response(200, "Content-Length: 5\r\n"), false],
    ["none", response(200, "Content-Length: 0\r\n"), false],
    ["chunked", response(200, "Transfer-Encoding: chunked\r\n"), false],
    ["until_close", response(200), false],
    ["none", response(200, "Content-Length: 5\r\n"), true],
    ["none", response(200, "Transfer-Encoding: chunked\r\n"), true],
    ["none", response(304, "Content-Length: 5\r\n"), false],
    ["none", response(204), false],
    ["none", response(100), false],
    ["none", response(103, "Link: x\r\n"), false],
  ] as const)("is delimited as RFC 9112 6.3 says: %s, %j, HEAD %p", (kind, text, isHead) => {
    expect(reasonOf(text, isHead)).toBe(kind);
  });

  test("that runs until close ends the connection", () => {
    reasonOf(response(200));
    expect(head.keepAlive).toBe(false);
    reasonOf(response(204));
    expect(head.keepAlive).toBe(true);
  });

  test("is none where CONNECT succeeded", () => {
    expect(reasonOf(response(200), false, true)).toBe("none");
    expect(reasonOf(response(403, "Content-Length: 2\r\n"), false, true)).toBe("length");
  });
});

test("1xx but 101 are interim, and 101 names its protocol (9110 15.2)", () => {
  reasonOf(response(103));
  expect(head.isInterim).toBe(true);
  reasonOf(response(101, "Upgrade: websocket\r\nConnection: upgrade\r\n"));
  expect([head.isInterim, head.isUpgrade]).toEqual([false, true]);
  expect(reasonOf(response(101))).toBe("upgrade_invalid");
});

test("a status line may have an empty reason", () => {
  expect(reasonOf("HTTP/1.1 204 \r\n\r\n")).toBe("none");
  expect(head.status).toBe(204);
});

describe("a response is refused for", () => {
  test.each([
    ["status_line_invalid", "HTTP/1.1 200\r\n\r\n"],
    ["status_line_invalid", "HTTP/1.1 20 x\r\n\r\n"],
    ["status_line_invalid", "HTTP/1.1 2000 x\r\n\r\n"],
    ["status_line_invalid", "HTTP/1.1  200 x\r\n\r\n"],
    ["status_line_invalid", "HTTP/1.1 600 x\r\n\r\n"],
    ["status_line_invalid", "HTTP/1.1 099 x\r\n\r\n"],
    ["status_line_invalid", "HTTP/1.1 200 a\0\r\n\r\n"],
    ["line_end_invalid", "HTTP/1.1 200 x\n\r\n"],
    ["version_unsupported", "HTTP/2.0 200 x\r\n\r\n"],
    ["version_malformed", "ICY 200 OK\r\n\r\n"],
    ["framing_ambiguous", response(200, "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n")],
    ["framing_ambiguous", "HTTP/1.0 200 x\r\nTransfer-Encoding: chunked\r\n\r\n"],
    ["framing_ambiguous", response(204, "Content-Length: 1\r\n")],
    ["framing_ambiguous", response(100, "Transfer-Encoding: chunked\r\n")],
    ["content_length_invalid", response(200, "Content-Length: 1\r\nContent-Length: 2\r\n")],
    ["transfer_coding_unknown", response(200, "Transfer-Encoding: gzip, chunked\r\n")],
    ["obs_fold", response(200, "x: 1\r\n\t2\r\n")],
  ])("%s: %j", (reason, text) => {
    expect(reasonOf(text)).toBe(reason);
  });
});

test("a response head cut at any byte asks for more", () => {
  const text = response(200, "Content-Length: 5\r\nServer: x\r\n");
  for (let end = 0; end < text.length; end++)
    expect(reasonOf(text.slice(0, end))).toBe("need_more");
});
