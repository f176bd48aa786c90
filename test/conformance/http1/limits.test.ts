// What a peer may not make grow or last: RFC 9112 2.2, 3, 5 and RFC 9110 5.4 leave the limits to the server; docs/operating.md names ours.
import { describe, expect, test } from "bun:test";
import { answering, app, ask } from "../../support/http-conversation.ts";
import { MeshFixture } from "../../support/mesh-fixture.ts";
import {
  answerEach,
  expectDistrusted,
  expectRefused,
  Hop,
  OK,
  WAYS,
} from "../../support/one-hop.ts";

const KIB = 1024;
const HEAD_BYTES = 60 * KIB;
const fields = (count: number): string =>
  Array.from({ length: count }, (_, i) => `x-${i}: 1\r\n`).join("");

/** A head of exactly so many bytes. */
function headOf(bytes: number, line: string): string {
  const frame = `${line}\r\nhost: a\r\ncontent-length: 0\r\nx: \r\n\r\n`;
  return frame.replace("x: ", `x: ${"v".repeat(bytes - frame.length)}`);
}

describe("limits of a head", () => {
  test("60 KiB pass, in either direction", () => {
    for (const way of WAYS) {
      const hop = new Hop(answerEach(headOf(HEAD_BYTES, "HTTP/1.1 200 OK")), { way });
      hop.say(headOf(HEAD_BYTES, "GET / HTTP/1.1"));
      expect(hop.statuses).toEqual([200]);
      expect(hop.client.text.length).toBeGreaterThan(HEAD_BYTES - 100);
      hop.expectNothingLeft();
    }
  });

  test("what passes one agent passes its peer too, with the fields that agents add", () => {
    const mesh = new MeshFixture();
    app(
      mesh,
      answering(() => headOf(HEAD_BYTES, "HTTP/1.1 200 OK")),
    );
    for (const request of [
      headOf(HEAD_BYTES, "GET / HTTP/1.1"),
      `GET / HTTP/1.1\r\nhost: a\r\n${fields(99)}\r\n`,
      "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    ]) {
      expect(ask(mesh, request)).toStartWith("HTTP/1.1 200 OK\r\n");
    }
  });

  test("a byte more is 431 of a request, 502 of an answer", () => {
    const hop = new Hop(answerEach(OK));
    hop.say(headOf(HEAD_BYTES + 1, "GET / HTTP/1.1"));
    expect(hop.statuses).toEqual([431]);
    expect(hop.isOver).toBe(true);
    const answered = new Hop(answerEach(headOf(HEAD_BYTES + 1, "HTTP/1.1 200 OK")));
    answered.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    expect(answered.statuses).toEqual([502]);
  });

  test("a target that fills the head is 414", () => {
    const hop = new Hop(answerEach(OK));
    hop.say(`GET /${"a".repeat(HEAD_BYTES)} HTTP/1.1\r\nhost: a\r\n\r\n`);
    expect(hop.statuses).toEqual([414]);
  });

  test("100 fields pass, 101 are 431 of a request and 502 of an answer", () => {
    const hop = new Hop(answerEach(OK));
    hop.say(`GET / HTTP/1.1\r\nhost: a\r\n${fields(99)}\r\n`);
    expect(hop.statuses).toEqual([200]);
    expectRefused(`GET / HTTP/1.1\r\nhost: a\r\n${fields(100)}\r\n`, 431);
    expectDistrusted(`HTTP/1.1 200 OK\r\ncontent-length: 0\r\n${fields(100)}\r\n`);
  });

  test("how many fields is settable, up and down", () => {
    for (const [headersMax, sent, status] of [
      [300, 299, 200],
      [300, 300, 431],
      [10, 9, 200],
      [10, 10, 431],
    ] as const) {
      const hop = new Hop(answerEach(OK), { config: { headersMax } });
      hop.say(`GET / HTTP/1.1\r\nhost: a\r\n${fields(sent)}\r\n`);
      expect({ headersMax, sent, statuses: hop.statuses }).toEqual({
        headersMax,
        sent,
        statuses: [status],
      });
    }
    const answered = new Hop(
      answerEach(`HTTP/1.1 200 OK\r\ncontent-length: 0\r\n${fields(200)}\r\n`),
      { config: { headersMax: 201 } },
    );
    answered.say("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    expect(answered.statuses).toEqual([200]);
  });

  test("32 options of Connection pass, more are refused: each costs a walk over all fields", () => {
    const options = (count: number) => Array.from({ length: count }, (_, i) => `o${i}`).join(",");
    const hop = new Hop(answerEach(OK));
    hop.say(`GET / HTTP/1.1\r\nhost: a\r\nconnection: ${options(32)}\r\n\r\n`);
    expect(hop.statuses).toEqual([200]);
    expectRefused(`GET / HTTP/1.1\r\nhost: a\r\nconnection: ${options(33)}\r\n\r\n`, 400);
  });
});

describe("deadlines", () => {
  const POST = "POST / HTTP/1.1\r\nhost: a\r\n";
  const LENGTH = `${POST}content-length: 100000\r\n\r\n`;
  const CHUNKED = `${POST}transfer-encoding: chunked\r\n\r\n`;

  test("a head that trickles is 408 after headerTimeoutMs, counted from its first byte", () => {
    for (const way of WAYS) {
      const hop = new Hop(answerEach(OK), { way, config: { headerTimeoutMs: 5_000 } });
      hop.say("GET / HTTP/1.1\r\n");
      for (let i = 0; i < 23 && !hop.isOver; i++) hop.say("x: 1\r\n");
      expect(hop.statuses).toEqual([]);
      hop.pass(400);
      expect(hop.statuses).toEqual([408]);
      expect(hop.isOver).toBe(true);
      hop.expectNothingLeft();
    }
  });

  test("a connection that asks nothing has no such deadline", () => {
    const hop = new Hop(answerEach(OK));
    hop.pass(60_000).say("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    expect(hop.statuses).toEqual([200]);
  });

  test.each([
    ["of a given length", LENGTH, "x"],
    ["in chunks", CHUNKED, "3\r\nab"],
  ])(
    "a body %s that stops is 408 after bodyTimeoutMs, and the app's connection is cut",
    (_kind, head, start) => {
      for (const way of WAYS) {
        const hop = new Hop(() => undefined, { way, accessLog: "on" });
        hop.say(head + start).pass(59_000);
        expect(hop.statuses).toEqual([]);
        hop.pass(1_500);
        expect(hop.statuses).toEqual([408]);
        expect(hop.client.text).toContain("connection: close\r\n");
        expect(hop.isOver).toBe(true);
        expect(hop.apps[0]?.closed?.is).toBe("failed");
        const { client, server } = hop.mesh;
        const [record, ...others] = [...client.records(), ...server.records()];
        expect([record?.["response_flags"], record?.["response_code_details"], others]).toEqual([
          "DPE",
          "request_body_timeout",
          [],
        ]);
        hop.expectNothingLeft();
      }
    },
  );

  test("a body of a given length that trickles below 1 KiB a window is 408 too", () => {
    const hop = new Hop(() => undefined);
    hop.say(LENGTH);
    for (let i = 0; i < 13; i++) hop.say("x".repeat(50)).pass(4_800);
    expect(hop.statuses).toEqual([408]);
    hop.expectNothingLeft();
  });

  test("one that keeps above it, or ends, passes, however long it takes", () => {
    const hop = new Hop((end) => (end.text.endsWith("end") ? OK : undefined));
    hop.say(`${POST}content-length: 20003\r\n\r\n`);
    for (let i = 0; i < 20; i++) hop.say("x".repeat(1_000)).pass(40_000);
    hop.say("end");
    expect(hop.statuses).toEqual([200]);
    hop.expectNothingLeft();
  });

  test("a slow stream of chunks passes: a byte a window is enough", () => {
    const hop = new Hop((end) => (end.text.endsWith("\r\n0\r\n\r\n") ? OK : undefined));
    hop.say(CHUNKED);
    for (let i = 0; i < 10; i++) hop.pass(55_000).say("1\r\na\r\n");
    hop.say("0\r\n\r\n");
    expect(hop.statuses).toEqual([200]);
    hop.expectNothingLeft();
  });

  test("a client that waits for 100 (Continue) is not blamed for it; once it was told, its time runs", () => {
    const hop = new Hop(() => undefined, { config: { bodyTimeoutMs: 10_000 } });
    hop.say(`${POST}expect: 100-continue\r\ncontent-length: 4\r\n\r\n`).pass(100_000);
    expect(hop.statuses).toEqual([]);
    hop.answer("HTTP/1.1 100 Continue\r\n\r\n").pass(9_000);
    expect(hop.statuses).toEqual([100]);
    hop.pass(1_500);
    expect(hop.statuses).toEqual([100, 408]);
    hop.expectNothingLeft();
  });

  test("an upstream that does not read is not the client's fault, and its time runs again when it does", () => {
    const hop = new Hop(() => undefined, { config: { bodyTimeoutMs: 10_000 } });
    hop.say(`${POST}content-length: 1000000\r\n\r\n`);
    hop.apps[0]?.stream?.pause();
    hop.say("x".repeat(500_000)).pass(100_000);
    expect(hop.statuses).toEqual([]);
    hop.apps[0]?.stream?.resume();
    hop.pass(9_000);
    expect(hop.statuses).toEqual([]);
    hop.pass(2_500);
    expect(hop.statuses).toEqual([408]);
    hop.expectNothingLeft();
  });

  test("once the app has begun to answer the body may take its time", () => {
    const hop = new Hop(() => undefined, { config: { bodyTimeoutMs: 10_000 } });
    hop.say(CHUNKED).answer("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    hop.pass(100_000).say("1\r\na\r\n0\r\n\r\n").answer("0\r\n\r\n");
    expect(hop.client.text).toEndWith("\r\n\r\n0\r\n\r\n");
    expect(hop.seen).toEndWith("\r\n\r\n1\r\na\r\n0\r\n\r\n");
    expect(hop.wasCut).toBe(false);
    hop.expectNothingLeft();
  });

  test("bodyTimeoutMs 0: the client may take as long as the stream's idle time", () => {
    const hop = new Hop(() => undefined, { config: { bodyTimeoutMs: 0 } });
    hop.say(LENGTH).pass(290_000);
    expect(hop.statuses).toEqual([]);
    hop.pass(11_000);
    expect(hop.statuses).toEqual([408]);
    hop.expectNothingLeft();
  });
});
