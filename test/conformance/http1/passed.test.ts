// What RFC 9112 allows passes, however it travels, and leaves as the RFC wants it: sections 2 to 7, both directions.
import { describe, expect, test } from "bun:test";
import { dechunkNaively, readNaively, valuesOf } from "../../support/naive-http1.ts";
import { answerEach, expectPassed, Hop, OK, TRAVELS, WAYS } from "../../support/one-hop.ts";

const GET = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
const get = (target: string): string => `GET ${target} HTTP/1.1\r\nhost: a\r\n\r\n`;
const CHUNKED = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n";

/** The first request that the app saw. */
function seenOf(text: string, way: "outbound" | "inbound" = "outbound") {
  const read = readNaively(expectPassed(text, { way }), "request");
  if (read === undefined) throw new Error("the app saw no valid request");
  return read;
}

/** What the client gets for GET, as text. */
function gotOf(answer: string, request = GET): string {
  const texts = TRAVELS.map((travel) => {
    const hop = new Hop(answerEach(answer), { travel });
    hop.say(request);
    hop.expectNothingLeft();
    return hop.client.text;
  });
  expect(new Set(texts).size).toBe(1);
  return texts[0] ?? "";
}

describe("RFC 9112 2 and 3: requests", () => {
  test("2.2 one empty line before a request is ignored, and does not go on", () => {
    for (const way of WAYS) expect(seenOf(`\r\n${GET}`, way).line[0]).toBe("GET");
  });

  test("2.2 octets beyond ASCII in a value pass as they are", () => {
    expect(valuesOf(seenOf("GET / HTTP/1.1\r\nhost: a\r\nx: \xe4\xff\r\n\r\n"), "x")).toEqual([
      "\xe4\xff",
    ]);
  });

  test("2.3 what came as HTTP/1.0 leaves as HTTP/1.1, the agent's own version", () => {
    const seen = seenOf("GET / HTTP/1.0\r\nhost: a\r\n\r\n");
    expect(seen.line[2]).toBe("HTTP/1.1");
  });

  test("3.1 a method that nobody registered passes", () => {
    expect(seenOf("PURGE-ALL / HTTP/1.1\r\nhost: a\r\n\r\n").line[0]).toBe("PURGE-ALL");
  });

  test("3.2.1 path and query of origin-form pass as they are", () => {
    expect(seenOf(get("/a;b=c/d?e=f&g=%2F%zz?h")).line[1]).toBe("/a;b=c/d?e=f&g=%2F%zz?h");
  });

  test.each([
    ["http://a/x?y", "/x?y"],
    ["HTTP://A/x", "/x"],
    ["http://a", "/"],
    ["http://a?y", "/?y"],
  ])("3.2.2 absolute-form %s is understood and leaves as %s", (target, path) => {
    for (const way of WAYS) expect(seenOf(get(target), way).line[1]).toBe(path);
  });

  test("3.2.4 OPTIONS * passes, and so does absolute-form without a path", () => {
    for (const target of ["*", "http://a"]) {
      expect(seenOf(`OPTIONS ${target} HTTP/1.1\r\nhost: a\r\n\r\n`).line[1]).toBe("*");
    }
  });

  test.each([
    "a",
    "a:",
    "a:80",
    "a.b-c_d",
    "127.0.0.1:65535",
    "[::1]",
    "[::]:80",
    "[1:2:3:4:5:6:7:8]",
    "[1::]",
    "[::ffff:127.0.0.1]:1",
    "a%41",
  ])("3.2 the Host %s passes as it is", (host) => {
    expect(valuesOf(seenOf(`GET / HTTP/1.1\r\nHost: ${host}\r\n\r\n`), "host")).toEqual([host]);
  });
});

describe("RFC 9112 4 and 5: responses and fields", () => {
  test("2.3 an answer in HTTP/1.0 leaves as HTTP/1.1", () => {
    expect(gotOf("HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok")).toStartWith(
      "HTTP/1.1 200 OK\r\n",
    );
  });

  test("4 a status without a reason, and one that nobody registered, pass", () => {
    expect(gotOf("HTTP/1.1 299 \r\ncontent-length: 0\r\n\r\n")).toStartWith("HTTP/1.1 299 \r\n");
  });

  test("5.1 blanks around a value are no part of it", () => {
    const seen = seenOf("GET / HTTP/1.1\r\nHost:\t a \r\nX:  1\t\r\nY:\r\n\r\n");
    expect([valuesOf(seen, "host"), valuesOf(seen, "x"), valuesOf(seen, "y")]).toEqual([
      ["a"],
      ["1"],
      [""],
    ]);
  });

  test("5.3 (9110) fields of one name keep their order", () => {
    const answer =
      "HTTP/1.1 200 OK\r\nset-cookie: a\r\nx: 1\r\nset-cookie: b\r\ncontent-length: 0\r\n\r\n";
    expect(gotOf(answer)).toBe(answer);
  });
});

describe("RFC 9112 6: bodies", () => {
  test("6.2 a length delimits a request's body; the next request begins behind it", () => {
    for (const way of WAYS) {
      for (const travel of TRAVELS) {
        const hop = new Hop((end) => (end.text.includes("abc") ? end.take() && OK : undefined), {
          way,
          travel,
        });
        hop.say(
          "POST /one HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabcPOST /two HTTP/1.1\r\nhost: a\r\nContent-Length: 03\r\n\r\nabc",
        );
        expect(hop.statuses).toEqual([200, 200]);
        expect(hop.isOver).toBe(false);
        hop.expectNothingLeft();
      }
    }
  });

  test("6.3 a request without a length has no body, whatever its method", () => {
    const hop = new Hop(answerEach(OK));
    hop.say("POST / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(3));
    expect(hop.statuses).toEqual([200, 200, 200]);
  });

  test.each([
    ["a length", OK],
    ["chunks", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"],
    [
      "a coding named in capitals",
      "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ],
    ["nothing (204)", "HTTP/1.1 204 No Content\r\n\r\n"],
    ["nothing (304 with a length)", "HTTP/1.1 304 Not Modified\r\ncontent-length: 43\r\n\r\n"],
    [
      "nothing (304 with a coding)",
      "HTTP/1.1 304 Not Modified\r\ntransfer-encoding: chunked\r\n\r\n",
    ],
  ])(
    "6.3 an answer delimited by %s passes as it is, and the connection lives on",
    (_kind, answer) => {
      expect(gotOf(answer, GET + GET)).toBe(answer + answer);
    },
  );

  test.each([
    ["a length", "content-length: 43\r\n"],
    ["a coding", "transfer-encoding: chunked\r\n"],
    ["neither", ""],
  ])("6.3 an answer to HEAD ends with its head, with %s", (_kind, field) => {
    const answer = `HTTP/1.1 200 OK\r\n${field}x: 1\r\n\r\n`;
    const request = "HEAD / HTTP/1.1\r\nhost: a\r\n\r\n";
    expect(gotOf(answer, request + request)).toBe(answer + answer);
  });

  test("6.3 an answer without a length runs until the app ends, and so does the client's connection", () => {
    for (const travel of TRAVELS) {
      const hop = new Hop(answerEach("HTTP/1.1 200 OK\r\n\r\nall "), { travel });
      hop.say(GET);
      hop.answer("there is");
      hop.apps[0]?.end();
      hop.pass();
      expect(hop.client.text).toBe("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nall there is");
      expect([hop.isOver, hop.wasCut]).toEqual([true, false]);
      hop.expectNothingLeft();
    }
  });

  test("6.3 of such an answer a reset is no end: the client's connection is cut", () => {
    const hop = new Hop(answerEach("HTTP/1.1 200 OK\r\n\r\nall "));
    hop.say(GET);
    hop.apps[0]?.stream?.reset();
    hop.pass();
    expect(hop.wasCut).toBe(true);
  });
});

describe("RFC 9112 7: chunks", () => {
  test.each([
    ["sizes in either case", "a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n"],
    ["leading zeros", "0002\r\nok\r\n000\r\n\r\n"],
    ["data that looks like framing", "9\r\n0\r\n\r\nGET \r\n0\r\n\r\n"],
    ["extensions", '2;a;b=c;d="e\\"; f"\r\nok\r\n0;x\r\n\r\n'],
    [
      "a signature on each of many chunks",
      `${`1;sig=${"f".repeat(64)}\r\na\r\n`.repeat(200)}0\r\n\r\n`,
    ],
    [
      "signatures without end, with content to match",
      `${`100;sig=${"f".repeat(64)}\r\n${"a".repeat(256)}\r\n`.repeat(300)}0\r\n\r\n`,
    ],
    ["trailers", "2\r\nok\r\n0\r\nX-Sum: 1\r\nx-sum:\t2 \r\n\r\n"],
  ])("7.1 %s pass byte by byte the same, both ways", (_kind, body) => {
    const answer = `HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n${body}`;
    for (const travel of TRAVELS.filter((one) => one !== "bytes" || body.length < 5_000)) {
      const hop = new Hop((end) => (end.text.endsWith(`\r\n\r\n${body}`) ? answer : undefined), {
        travel,
      });
      hop.say(CHUNKED + body);
      expect(hop.client.text).toBe(answer);
      expect(hop.isOver).toBe(false);
      hop.expectNothingLeft();
    }
  });

  test("6.1 a client of HTTP/1.0 gets the content of chunks without their framing, and then the end", () => {
    for (const travel of TRAVELS) {
      const answer =
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n6;x=y\r\nhello,\r\n6\r\n world\r\n0\r\nx-sum: 1\r\n\r\n";
      const hop = new Hop(answerEach(answer), { travel });
      hop.say("GET / HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n");
      expect(hop.client.text).toBe("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello, world");
      expect([hop.isOver, hop.wasCut]).toEqual([true, false]);
    }
  });

  test("7.1 a chunk size that fits no 32 bits is counted exactly", () => {
    const hop = new Hop(() => undefined);
    hop.say(`${CHUNKED}100000003\r\nabc\r\n0\r\n\r\n`);
    // 4 GiB are to come: what looks like the end is data.
    expect(hop.isOver).toBe(false);
    expect(dechunkNaively(hop.seen.split("\r\n\r\n").slice(1).join("\r\n\r\n"))).toBeUndefined();
    hop.expectNothingLeft();
  });
});
