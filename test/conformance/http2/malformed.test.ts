// Malformed messages of RFC 9113 8.1.1: the stream is reset with PROTOCOL_ERROR, the app or the client sees nothing of them, and the connection
// serves the next.
import { describe, expect, test } from "bun:test";
import { CODE } from "../../../agent/protocol/http2/frame.ts";
import { GET_FIELDS } from "../../support/http2-end.ts";
import { ClientHop, EACH, ServerHop } from "../../support/http2-hop.ts";
import { REQUESTS, RESPONSES, TRAILERS } from "./fields.ts";

const RESET = [`RST 1 ${CODE.protocolError}`];

describe("requests", () => {
  test.each(REQUESTS)("%s", (_rule, fields) => {
    for (const options of EACH) {
      for (const isLast of [true, false]) {
        const hop = new ServerHop(options);
        hop.client.headers(1, fields, isLast);
        hop.pass();
        expect(hop.client.take()).toEqual(RESET);
        expect(hop.seen).toBe("");
        hop.expectServing(3);
        hop.client.end.stream?.reset();
        hop.expectNothingLeft();
      }
    }
  });

  test.each(TRAILERS)("trailers: %s", (_rule, fields) => {
    for (const options of EACH) {
      const hop = new ServerHop(options).begin();
      hop.client.data(1, "abc");
      hop.client.headers(1, fields);
      hop.pass();
      expect(hop.client.take()).toEqual(RESET);
      expect(hop.seen).not.toContain("\r\n0\r\n");
      for (const app of hop.apps) expect(app.closed).toEqual({ is: "failed", code: "ECONNRESET" });
      hop.expectServing(3);
    }
  });

  test.each([
    ["8.3.1 another scheme than http", ":scheme", "https"],
    ["8.3.1 userinfo in the authority", ":authority", "user:secret@server"],
    ["8.3.1 * for another method than OPTIONS", ":path", "*"],
    ["8.3.1 an encoded NUL in the path", ":path", "/%00"],
  ])("well-formed, and answered 400 as in HTTP/1.1: %s", (_rule, name, value) => {
    const hop = new ServerHop();
    hop.client.headers(
      1,
      GET_FIELDS.map((field) => (field[0] === name ? [name, value] : field)),
    );
    hop.pass();
    expect(hop.client.take()[0]).toMatch(/^HEADERS 1 :status=400 /);
    expect(hop.seen).toBe("");
    hop.expectServing(3);
  });

  test("8.3.1 a host that is the authority goes on once, one alone is the authority", () => {
    for (const fields of [
      [...GET_FIELDS, ["host", "server"]],
      [...GET_FIELDS.slice(0, 3), ["host", "server"]],
    ] as const) {
      const hop = new ServerHop();
      hop.client.headers(1, fields);
      hop.pass();
      expect(hop.seen.match(/host: /g)).toHaveLength(1);
      expect(hop.seen).toContain("host: server\r\n");
    }
  });
});

describe("responses", () => {
  test.each(RESPONSES)("%s", (_rule, fields) => {
    for (const splits of [false, true]) {
      const hop = new ClientHop({ splits }).ask();
      hop.app().headers(1, fields);
      hop.pass();
      expect(hop.app().take()).toContain(RESET[0] ?? "");
      hop.expectNoAnswer();
      hop.expectServing(0, 3);
      hop.expectNothingLeft();
    }
  });

  test.each(TRAILERS)("trailers: %s", (_rule, fields) => {
    const hop = new ClientHop().ask();
    hop.app().headers(1, [[":status", "200"]], false);
    hop.app().data(1, "abc");
    hop.app().headers(1, fields);
    hop.pass();
    expect(hop.app().take()).toContain(RESET[0] ?? "");
    expect(hop.client.text).not.toContain("\r\n0\r\n");
    expect(hop.client.closed?.is).toBe("failed");
    hop.expectServing(0, 3);
  });

  test.each([
    ["longer than its length", "abcd", false],
    ["shorter than its length", "ab", true],
  ])("8.1.1 content %s", (_rule, content, isLast) => {
    const hop = new ClientHop().ask();
    hop.app().headers(
      1,
      [
        [":status", "200"],
        ["content-length", "3"],
      ],
      false,
    );
    hop.app().data(1, content, isLast);
    hop.pass();
    expect(hop.app().take()).toContain(RESET[0] ?? "");
    expect(hop.client.closed?.is).toBe("failed");
    expect(hop.client.text.split("\r\n\r\n")[1]?.length ?? 0).toBeLessThan(3);
  });

  test("8.1 DATA before the head, and content where there is none", () => {
    const early = new ClientHop().ask();
    early.app().data(1, "abc");
    early.pass();
    expect(early.app().take()).toContain(RESET[0] ?? "");
    early.expectNoAnswer();
    for (const status of ["204", "304"]) {
      const hop = new ClientHop().ask();
      hop.app().headers(1, [[":status", status]], false);
      hop.app().data(1, "abc");
      hop.pass();
      expect(hop.app().take()).toContain(RESET[0] ?? "");
      expect(hop.client.text).not.toContain("abc");
    }
    const head = new ClientHop().ask("HEAD / HTTP/1.1\r\nhost: a\r\n\r\n");
    head.app().headers(
      1,
      [
        [":status", "200"],
        ["content-length", "3"],
      ],
      false,
    );
    head.app().data(1, "abc");
    head.pass();
    expect(head.app().take()).toContain(RESET[0] ?? "");
    expect(head.client.text).not.toContain("abc");
  });

  test("8.1.1 the length of a response to HEAD, and of a 304, is that of another", () => {
    for (const [method, status] of [
      ["HEAD", "200"],
      ["GET", "304"],
    ] as const) {
      const hop = new ClientHop().ask(`${method} / HTTP/1.1\r\nhost: a\r\n\r\n`);
      hop.app().headers(1, [
        [":status", status],
        ["content-length", "3"],
      ]);
      hop.pass();
      expect(hop.statuses).toEqual([Number(status)]);
      expect(hop.client.text).toContain("content-length: 3\r\n");
    }
  });
});
