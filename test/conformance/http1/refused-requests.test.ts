// What RFC 9112 makes of bad requests, against the agent's data plane, as a client's way out and as a stranger's way in, whole, in
// pieces and byte by byte: one answer, the connection ends, nothing behind the flaw is read as a request, and the app sees nothing.
import { describe, expect, test } from "bun:test";
import { expectRefused, Hop, OK, SMUGGLED, TRAVELS, WAYS } from "../../support/one-hop.ts";
import { CHUNKS, FIELDS, FRAMING, HOST, MESSAGE, REQUEST_LINE } from "./requests.ts";

describe.each([
  ["2 Message", MESSAGE],
  ["3 Request line", REQUEST_LINE],
  ["3.2 Host", HOST],
  ["5 Field syntax", FIELDS],
  ["6 Message body", FRAMING],
] as const)("RFC 9112 %s: refused before the app sees it", (_section, table) => {
  test.each(table as readonly (readonly [string, number, string])[])(
    "%s",
    (_rule, status, text) => {
      expectRefused(text, status);
    },
  );
});

/** What the app must not have: the body's end. */
const wholeMessage = /\r\n\r\n(?:.*\r\n)*?0\r\n(?:.*\r\n)*?\r\n/;

describe("RFC 9112 7 Transfer codings: refused in the middle of the message", () => {
  test.each(CHUNKS)("%s", (_rule, status, text) => {
    for (const way of WAYS) {
      for (const travel of TRAVELS) {
        const hop = new Hop(() => undefined, { way, travel });
        hop.say(text + SMUGGLED).pass(8_000);
        expect({ way, travel, statuses: hop.statuses }).toEqual({
          way,
          travel,
          statuses: [status],
        });
        expect(hop.isOver).toBe(true);
        expect(hop.seen).not.toContain("/smuggled");
        expect(hop.seen).not.toMatch(wholeMessage);
        // Cut, so that the app does not take the piece it has for a whole one.
        for (const app of hop.apps)
          expect(app.closed).toEqual({ is: "failed", code: "ECONNRESET" });
        hop.expectNothingLeft();
      }
    }
  });

  test("8 a body that turns out bad when the answer has begun cuts the connection: nothing is put into that answer", () => {
    const early = "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbegun";
    const hop = new Hop((end) => (end.text.endsWith("\r\n\r\n") ? early : undefined), {
      accessLog: "on",
    });
    hop.say("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    hop.say("x\r\n");
    expect(hop.client.text).toEndWith("\r\n\r\nbegun");
    expect(hop.wasCut).toBe(true);
    expect(hop.mesh.client.records().map((record) => record["response_flags"])).toEqual(["DPE"]);
    hop.expectNothingLeft();
  });

  test("8 a request that is refused in its body is recorded once", () => {
    const hop = new Hop(() => undefined, { accessLog: "on" });
    hop.say("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    hop.say("x\r\n");
    expect(hop.statuses).toEqual([400]);
    const records = hop.mesh.client.records();
    expect(records.map((record) => [record["response_code"], record["response_flags"]])).toEqual([
      [400, "DPE"],
    ]);
    expect(hop.mesh.client.count("istio_requests_total")).toBe(1);
  });

  test("8 a body cut short by its client reaches nobody as a whole one", () => {
    for (const body of [
      "content-length: 5\r\n\r\nabc",
      "transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n",
    ]) {
      const hop = new Hop((end) => (end.text.endsWith("\r\n\r\n") ? undefined : undefined));
      hop.say(`POST / HTTP/1.1\r\nhost: a\r\n${body}`);
      hop.client.end();
      hop.pass();
      expect(hop.isOver).toBe(true);
      expect(hop.client.text).not.toContain(OK);
      for (const app of hop.apps) expect(app.closed).toEqual({ is: "failed", code: "ECONNRESET" });
      hop.expectNothingLeft();
    }
  });
});
