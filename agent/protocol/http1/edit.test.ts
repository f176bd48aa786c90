import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { bytesOfLatin1, latin1, readNaively } from "../../../test/support/naive-http1.ts";
import { editInPlace, editInto, rewriteInto } from "./edit.ts";
import { HEAD_LIMITS, RequestHead, ResponseHead } from "./head.ts";
import { normalizeTarget } from "./normalize.ts";
import { readRequestHead } from "./read-request.ts";
import { readResponseHead } from "./read-response.ts";

const TAIL = bytesOfLatin1("x-request-id: 1\r\n");
const ROOM = 512;

function requestIn(text: string, offset = 7): RequestHead {
  const bytes = new Uint8Array(offset + text.length + ROOM);
  bytes.set(bytesOfLatin1(text), offset);
  const head = new RequestHead(100, ["x-forwarded-client-cert"]);
  expect(readRequestHead(head, bytes, offset, offset + text.length, HEAD_LIMITS)).toBeGreaterThan(
    0,
  );
  expect(normalizeTarget(head)).toBe(0);
  return head;
}

function forwarded(head: RequestHead | ResponseHead): string {
  const out = new Uint8Array(4096);
  const end = editInto(head, TAIL, 0, TAIL.length, out, 3, out.length);
  const text = latin1(out.subarray(3, end));
  const placed = editInPlace(head, TAIL, 0, TAIL.length, head.bytes.length);
  expect(latin1(head.bytes.subarray(head.start, placed))).toBe(text);
  return text;
}

describe("a forwarded request", () => {
  test("says HTTP/1.1, loses what is for one hop only, and gains the tail", () => {
    const text =
      "GET /a/../b HTTP/1.0\r\nConnection: x-one, close\r\nHost: a\r\nX-One: 1\r\nTE: gzip\r\nX-Two: 2\r\nKeep-Alive: 1\r\n\r\n";
    expect(forwarded(requestIn(text))).toBe(
      "GET /b HTTP/1.1\r\nHost: a\r\nX-Two: 2\r\nx-request-id: 1\r\n\r\n",
    );
  });

  test("asks for an upgrade, or tells of trailers, on its own connection", () => {
    expect(
      forwarded(
        requestIn("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: ws\r\n\r\n"),
      ),
    ).toBe(
      "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: ws\r\nconnection: upgrade\r\nx-request-id: 1\r\n\r\n",
    );
    expect(forwarded(requestIn("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n"))).toBe(
      "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nconnection: te\r\nx-request-id: 1\r\n\r\n",
    );
  });

  test("can be given another target and authority", () => {
    const head = requestIn("GET http://a/b?c HTTP/1.1\r\nX: 1\r\nHost: a\r\nY: 2\r\n\r\n");
    head.drop("y");
    const out = new Uint8Array(512);
    const rewrite = { target: bytesOfLatin1("/new?c"), authority: bytesOfLatin1("b:80") };
    const end = rewriteInto(head, rewrite, TAIL, 0, TAIL.length, out, 0, out.length);
    expect(latin1(out.subarray(0, end))).toBe(
      "GET /new?c HTTP/1.1\r\nhost: b:80\r\nX: 1\r\nx-request-id: 1\r\n\r\n",
    );
  });

  test("is not written where it does not fit, and is left as it was", () => {
    const head = requestIn("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    const before = latin1(head.bytes);
    const out = new Uint8Array(40);
    expect(editInto(head, TAIL, 0, TAIL.length, out, 0, out.length)).toBe(-1);
    expect(editInPlace(head, TAIL, 0, TAIL.length, head.headEnd + TAIL.length - 1)).toBe(-1);
    expect(latin1(head.bytes)).toBe(before);
  });
});

test("a forwarded response says HTTP/1.1 and keeps its reason and fields", () => {
  const text =
    "HTTP/1.0 200 Fine\r\nServer: x\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n";
  const bytes = new Uint8Array(text.length + ROOM);
  bytes.set(bytesOfLatin1(text));
  const head = new ResponseHead();
  readResponseHead(head, bytes, 0, text.length, HEAD_LIMITS, false, false);
  expect(forwarded(head)).toBe(
    "HTTP/1.1 200 Fine\r\nServer: x\r\nContent-Length: 0\r\nx-request-id: 1\r\n\r\n",
  );
});

const NAMES = [
  "Accept",
  "cookie",
  "Connection",
  "Keep-Alive",
  "X-Forwarded-Client-Cert",
  "X-N",
  "te",
];
const HOP = /^(connection|keep-alive|x-forwarded-client-cert|te)$/;
const isReadable = ([name, value]: [string, string]): boolean =>
  name !== "Connection" || value !== "\xe4";
const field = fc
  .tuple(
    fc.constantFrom(...NAMES),
    fc.constantFrom("", "close", "x-n", "a, b", "trailers", " padded\t", "\xe4"),
  )
  .filter(isReadable);

test("whatever is forwarded means to a naive strict reader what was decided on", () => {
  fc.assert(
    fc.property(fc.array(field, { maxLength: 8 }), fc.nat(8), (fields, hostAt) => {
      const lines = fields.map(([name, value]) => `${name}: ${value}`);
      lines.splice(hostAt, 0, "Host: a:80");
      const text = `PUT /x/./y?z HTTP/1.1\r\n${lines.join("\r\n")}\r\n\r\n`;
      const before = readNaively(text, "request");
      const head = requestIn(text);
      const named = (before?.fields ?? [])
        .filter(([name]) => name === "connection")
        .flatMap(([, value]) => value.split(",").map((option) => option.trim()));
      const after = readNaively(forwarded(head), "request");
      expect(after?.line).toEqual(["PUT", "/x/y?z", "HTTP/1.1"]);
      expect(after?.rest).toBe("");
      const kept = (before?.fields ?? []).filter(
        ([name]) => !HOP.test(name) && !named.includes(name),
      );
      const got = (after?.fields ?? []).filter(([name]) => !HOP.test(name));
      expect(got).toEqual([...kept, ["x-request-id", "1"]]);
    }),
    { numRuns: 1000 },
  );
});
