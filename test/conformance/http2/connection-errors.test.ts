// Connection errors of RFC 9113 (5.4.1), by a hostile client to the agent as a server and by a hostile app to the agent as a client: GOAWAY
// with the right code, the connection closes, nobody takes a piece for the whole, and the next connection is served.
import { describe, expect, test } from "bun:test";
import { CODE, FLAG, FRAME, PREFACE, SETTING } from "../../../agent/protocol/http2/frame.ts";
import { frameOf, GET_FIELDS, Http2End, POST_FIELDS } from "../../support/http2-end.ts";
import { answered, ClientHop, EACH, ServerHop } from "../../support/http2-hop.ts";
import { CONTROL, FRAMES, STREAMS } from "./connection-errors.ts";

describe.each([
  ["frames", FRAMES],
  ["streams", STREAMS],
  ["control", CONTROL],
] as const)("connection errors: %s", (_what, table) => {
  test.each(table)("%s, by a client", (_rule, code, say) => {
    for (const options of EACH) {
      const hop = new ServerHop(options).begin();
      say(hop.client);
      hop.expectOver(code);
    }
  });

  test.each(table)("%s, by an app", (_rule, code, say) => {
    for (const splits of [false, true]) {
      const hop = new ClientHop({ splits }).ask();
      say(hop.app());
      hop.expectOver(code);
    }
  });
});

/** SETTINGS frames and PREFACE by hand. */
const settings = frameOf(FRAME.settings, 0, 0);
const ping = frameOf(FRAME.ping, 0, 0, new Uint8Array(8));
const ack = frameOf(FRAME.settings, FLAG.ack, 0);

describe("RFC 9113 3.4: the preface", () => {
  test.each([
    ["a preface and no SETTINGS", [PREFACE, ping]],
    ["a preface and an acknowledgement", [PREFACE, ack]],
    ["a preface that ends wrong", [PREFACE.slice(0, 20), new Uint8Array(4), settings]],
  ])("of a client: %s", (what, pieces) => {
    for (const options of EACH) {
      const client = new Http2End("client", true);
      const hop = new ServerHop(options, client);
      for (const piece of pieces) client.end.send(piece);
      hop.pass(3_000);
      // What is no preface is a request of HTTP/1.1 in a version that nobody speaks.
      if (!what.includes("wrong"))
        expect(client.take()).toContain(`GOAWAY 0 ${CODE.protocolError}`);
      expect(client.isClosed).toBe(true);
      expect(hop.seen).toBe("");
      hop.expectNothingLeft();
    }
  });

  test("of a server: a frame that is not SETTINGS", () => {
    const hop = new ClientHop({}, () => {
      const app = new Http2End("server", true);
      app.isPolite = false; // an answer to our settings would be the first frame
      return app;
    }).ask();
    hop.app().frame(FRAME.ping, 0, 0, new Uint8Array(8));
    hop.pass();
    expect(hop.app().take()).toEqual([`GOAWAY 0 ${CODE.protocolError}`]);
    expect(hop.app().isClosed).toBe(true);
    hop.expectNoAnswer();
  });

  test("of a server that speaks HTTP/1.1 after all", () => {
    const hop = new ClientHop({}, () => new Http2End("server", true)).ask();
    hop.app().end.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    hop.pass();
    hop.expectNoAnswer();
    expect(hop.app().isClosed).toBe(true);
  });
});

describe("connection errors of one role", () => {
  test("5.1.1 a stream that was passed over cannot be opened", () => {
    const hop = new ServerHop({ answers: false });
    hop.client.headers(9, GET_FIELDS);
    hop.client.headers(5, GET_FIELDS);
    hop.expectOver(CODE.protocolError);
  });

  test("5.1 closed: HEADERS and DATA of a stream that both ended", () => {
    for (const say of [
      (end: Http2End) => end.headers(1, GET_FIELDS),
      (end: Http2End) => end.data(1, "more"),
    ]) {
      const hop = new ServerHop();
      hop.expectServing(1);
      say(hop.client);
      hop.expectOver(CODE.streamClosed);
    }
  });

  test("5.1 closed: HEADERS and DATA of an app on a stream that both ended", () => {
    for (const say of [
      (end: Http2End) => end.headers(1, [[":status", "200"]]),
      (end: Http2End) => end.data(1, "more"),
    ]) {
      const hop = new ClientHop().ask();
      hop.app().headers(1, [[":status", "204"]]);
      hop.pass();
      expect(hop.statuses).toEqual([204]);
      say(hop.app());
      hop.pass();
      expect(hop.app().take()).toContain(`GOAWAY 0 ${CODE.streamClosed}`);
      hop.expectServing(1, 1);
    }
  });

  test("5.1.1 an app that answers what it was not asked", () => {
    const hop = new ClientHop().ask();
    hop.app().headers(3, [[":status", "200"]]);
    hop.expectOver(CODE.protocolError);
  });

  test("6.5.2 a server that would be pushed to", () => {
    const hop = new ClientHop().ask();
    hop.app().setting(SETTING.enablePush, 1);
    hop.expectOver(CODE.protocolError);
  });

  test("6.9.1 more than the connection's window", () => {
    const hop = new ServerHop({ answers: false });
    hop.mesh.fabric.silent.add("10.0.0.2:8080"); // nobody takes it from us
    const { client } = hop;
    // Each stream keeps to its own window.
    for (let id = 1; id < 100 && !client.isClosed; id += 2) {
      client.headers(id, POST_FIELDS, false);
      for (let sent = 0; sent + 16_000 <= 65_535 + (client.credit.get(id) ?? 0); sent += 16_000) {
        client.frame(FRAME.data, 0, id, new Uint8Array(16_000));
        hop.pass(10);
      }
    }
    hop.pass(2_000);
    expect(hop.client.take().at(-1)).toEndWith(` ${CODE.flowControlError}`);
    expect(hop.client.isClosed).toBe(true);
  });

  test("6.8 GOAWAY names the last stream that was looked at", () => {
    const hop = new ServerHop();
    hop.expectServing(1);
    hop.expectServing(7);
    hop.client.frame(FRAME.ping, 0, 0, new Uint8Array(7));
    hop.pass(2_000);
    expect(hop.client.take()).toEqual([`GOAWAY 7 ${CODE.frameSizeError}`]);
    hop.expectNothingLeft();
  });

  test("5.4.1 what was answered before the mistake is sent before GOAWAY", () => {
    const hop = new ServerHop({ answers: false });
    hop.client.headers(1, GET_FIELDS);
    hop.pass();
    hop.apps[0]?.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    hop.client.frame(FRAME.ping, 0, 1, new Uint8Array(8));
    hop.pass(2_000);
    const seen = hop.client.take();
    expect(seen.at(-1)).toBe(`GOAWAY 1 ${CODE.protocolError}`);
    if (seen.length > 1) expect(seen.slice(0, -1)).toEqual(answered(1));
  });
});
