// What an app or upstream answers is held to the same grammar. Nothing of a bad head reaches the client: 502, the connection to the
// app is closed and serves nobody else (RFC 9112 6.3). A body that turns out bad cuts the client's connection at that place.
import { describe, expect, test } from "bun:test";
import { answerEach, expectDistrusted, Hop, OK, TRAVELS, WAYS } from "../../support/one-hop.ts";
import { CHUNKS, HEADS, INCOMPLETE } from "./responses.ts";

const GET = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

describe("RFC 9112 2 to 6: a bad head is a 502", () => {
  test.each(HEADS)("%s", (_rule, text) => {
    expectDistrusted(text);
  });

  test("of a head that is refused the record says whose fault it was", () => {
    const hop = new Hop(answerEach("HTTP/1.1 200 OK\nx: 1\r\n\r\n"), { accessLog: "on" });
    hop.say(GET);
    const records = hop.mesh.client.records();
    expect(records.map((r) => [r["response_code"], r["response_flags"]])).toEqual([[502, "UPE"]]);
    hop.expectNothingLeft();
  });
});

describe("RFC 9112 7: a bad body is cut where it turns bad", () => {
  test.each(CHUNKS)("%s", (_rule, text) => {
    for (const way of WAYS) {
      for (const travel of TRAVELS) {
        const hop = new Hop(answerEach(text), { way, travel });
        hop.say(GET).pass(10_000);
        // Seen in one piece it is a 502, later it is a cut: never an answer that looks whole.
        const isRefused = hop.statuses.join() === "502";
        expect({ way, travel, isRefused, cut: hop.wasCut }).toEqual({
          way,
          travel,
          isRefused,
          cut: !isRefused,
        });
        expect(hop.client.text).not.toMatch(/\r\n0\r\n.*\r\n\r\n$/s);
        expect(hop.apps[0]?.closed?.is).toBe("failed");
        hop.expectNothingLeft();
      }
    }
  });
});

describe("RFC 9112 6.3 and 8: an answer cut short", () => {
  test.each(INCOMPLETE)("%s: the client's connection is cut, not ended", (_rule, text) => {
    for (const way of WAYS) {
      const hop = new Hop(
        (end) => {
          if (!end.text.endsWith("\r\n\r\n")) return undefined;
          end.send(text);
          end.end();
          return undefined;
        },
        { way },
      );
      hop.say(GET);
      expect(hop.statuses).toEqual([200]);
      expect(hop.wasCut).toBe(true);
      hop.expectNothingLeft();
    }
  });

  test("8 a head cut short is a 503, and nothing of it passes", () => {
    const hop = new Hop((end) => {
      end.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx: ");
      end.end();
      return undefined;
    });
    hop.say(GET);
    expect(hop.statuses).toEqual([503]);
    hop.expectNothingLeft();
  });
});

describe("RFC 9112 6.3 and 9.2: whose answer it is", () => {
  const POISON = "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\npwn";

  test.each([
    ["a length", OK],
    ["chunks", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"],
    ["nothing (204)", "HTTP/1.1 204 No Content\r\n\r\n"],
    ["nothing (304 with a length)", "HTTP/1.1 304 Not Modified\r\ncontent-length: 43\r\n\r\n"],
  ])("6.3 what follows an answer delimited by %s is nobody's", (_kind, answer) => {
    for (const way of WAYS) {
      for (const travel of TRAVELS) {
        const hop = new Hop((end, nth) => answerEach(nth === 0 ? answer + POISON : OK)(end, nth), {
          way,
          travel,
        });
        hop.say(GET);
        hop.say(GET);
        expect(hop.client.text).not.toContain("pwn");
        expect(hop.statuses).toHaveLength(2);
        expect(hop.apps).toHaveLength(2);
        hop.expectNothingLeft();
      }
    }
  });

  test("6.3 what has arrived behind an answer is nobody's, though no event has shown it yet", () => {
    const head = "HTTP/1.1 200 OK\r\ncontent-length: 16000\r\nx: \r\n\r\n";
    // As much as is read at a time, so that the poison comes with the next read; the next request is already here.
    const fill = "x".repeat(16_384 - 16_000 - head.length);
    const answer = head.replace("x: ", `x: ${fill}`) + "a".repeat(16_000);
    const hop = new Hop((end, nth) => answerEach(nth === 0 ? answer + POISON : OK)(end, nth));
    hop.say(GET + GET);
    expect(answer).toHaveLength(16_384);
    expect(hop.client.text).toBe(answer + OK);
    hop.expectNothingLeft();
  });

  test("6.3 what follows the head of an answer to HEAD is nobody's", () => {
    for (const travel of TRAVELS) {
      const hop = new Hop((end, nth) => answerEach(nth === 0 ? OK : OK)(end, nth), { travel });
      hop.say("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n");
      expect(hop.client.text).toEndWith("content-length: 2\r\n\r\n");
      hop.client.take();
      hop.say(GET);
      expect(hop.client.text).toEndWith("\r\n\r\nok");
      expect(hop.apps).toHaveLength(2);
    }
  });

  test("9.2 what an app says on an idle connection is no answer, and the connection is closed", () => {
    for (const way of WAYS) {
      const hop = new Hop((end, nth) => answerEach(OK)(end, nth), { way });
      hop.say(GET);
      hop.client.take();
      hop.answer(POISON);
      expect(hop.client.text).toBe("");
      expect(hop.apps[0]?.closed !== undefined || hop.apps[0]?.hasEnded).toBe(true);
      hop.say(GET);
      expect(hop.client.text).toBe(OK);
      hop.expectNothingLeft();
    }
  });
});
