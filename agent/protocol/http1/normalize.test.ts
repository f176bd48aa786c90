import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { bytesOfLatin1, latin1 } from "../../../test/support/naive-http1.ts";
import { HEAD_LIMITS, RequestHead } from "./head.ts";
import { normalizeTarget } from "./normalize.ts";
import { readRequestHead } from "./read-request.ts";
import { refusalOf } from "./refusal.ts";

const head = new RequestHead();
const PADDING = "before";

/** The request line as it stands in the buffer afterwards, or the reason of a refusal. */
function lineOf(target: string, method = "GET", host = "a"): string {
  const text = `${PADDING}${method} ${target} HTTP/1.1\r\nHost: ${host}\r\nX: 1\r\n\r\nbody`;
  const bytes = bytesOfLatin1(text);
  const read = readRequestHead(head, bytes, PADDING.length, bytes.length, HEAD_LIMITS);
  if (read < 0) return refusalOf(read).reason;
  const code = normalizeTarget(head);
  if (code < 0) return refusalOf(code).reason;
  const whole = latin1(bytes);
  expect(whole.slice(head.start).endsWith(`HTTP/1.1\r\nHost: ${host}\r\nX: 1\r\n\r\nbody`)).toBe(
    true,
  );
  expect(head.method).toBe(method);
  expect(head.query === "" ? head.path : `${head.path}?${head.query}`).toBe(head.target);
  expect(whole.slice(head.start, head.targetEnd)).toBe(`${method} ${head.target}`);
  return head.target;
}

describe("pathNormalization BASE", () => {
  test.each([
    ["/", "/"],
    ["/a/b?c", "/a/b?c"],
    ["/a/../b", "/b"],
    ["\\da", "/da"],
    ["/some\\data", "/some/data"],
    ["/public/./data/abc/../xyz", "/public/data/xyz"],
    ["/%61%62%63", "/abc"],
    ["/some%2fdata/%61%62%63", "/some%2fdata/abc"],
    ["/a%5cb", "/a%5cb"],
    ["/a//b", "/a//b"],
    ["/%2e%2e/x", "/x"],
    ["/a/%2E./b/.%2e/c", "/c"],
    ["/a\\..\\b", "/b"],
    ["/%2541", "/%2541"],
    ["/%7E%2D%5F%2d", "/~-_-"],
    ["/a/b/..", "/a/"],
    ["/a/b/.", "/a/b/"],
    ["/..", "/"],
    ["/../../a", "/a"],
    ["/a//../b", "/a/b"],
    ["/...", "/..."],
    ["/a/..b/.c", "/a/..b/.c"],
    ["/a?x=/../%41\\", "/a?x=/../%41\\"],
    ["/a/../?x", "/?x"],
    ["/%c3%A4", "/%c3%A4"],
  ])("%s becomes %s", (target, expected) => {
    expect(lineOf(target)).toBe(expected);
  });

  test.each(["/%00", "/%", "/%4", "/%zz", "/a%2", "/%%34%31"])("%s is refused", (target) => {
    expect(lineOf(target)).toBe("target_invalid");
  });
});

test("absolute-form becomes origin-form (9112 3.2.1, 3.2.4)", () => {
  expect(lineOf("http://a/b/../c?d")).toBe("/c?d");
  expect(lineOf("HTTP://A/b")).toBe("/b");
  expect(lineOf("http://a")).toBe("/");
  expect(lineOf("http://a?x=y")).toBe("/?x=y");
  expect(lineOf("http://a:80\\b", "GET", "a:80")).toBe("/b");
  expect(lineOf("http://a", "OPTIONS")).toBe("*");
  expect(lineOf("http://a/", "OPTIONS")).toBe("/");
  expect(lineOf("*", "OPTIONS")).toBe("*");
});

/** RFC 3986 5.2.4, as its text has it, after decoding. */
function expected(path: string): string {
  const decoded = path
    .replace(/%([0-9a-fA-F]{2})/g, (triplet, hex: string) => {
      const meant = String.fromCharCode(Number.parseInt(hex, 16));
      return /[A-Za-z0-9._~-]/.test(meant) ? meant : triplet;
    })
    .replaceAll("\\", "/");
  const out: string[] = [];
  const segments = decoded.split("/").slice(1);
  segments.forEach((segment, i) => {
    const isLast = i === segments.length - 1;
    if (segment === "..") out.pop();
    else if (segment !== ".") out.push(segment);
    if (isLast && (segment === "." || segment === "..")) out.push("");
  });
  return `/${out.join("/")}`;
}

test("any path becomes what RFC 3986 says, and normalising again changes nothing", () => {
  const part = fc.constantFrom("/", ".", "..", "a", "%2e", "%2F", "%41", "\\", "%25", "/../", "//");
  fc.assert(
    fc.property(fc.array(part, { maxLength: 12 }), (parts) => {
      const path = `/${parts.join("")}`;
      const once = lineOf(path);
      expect(once).toBe(expected(path));
      expect(lineOf(once)).toBe(once);
    }),
    { numRuns: 2000 },
  );
});
