// What RFC 9113 asks of us in answer to what a peer may say: acknowledgements (6.5.3, 6.7), windows kept to and given back (5.2, 6.9), an app's
// limit of streams (5.1.2), and silence where an answer would be one too many (5.4.2).
import { describe, expect, test } from "bun:test";
import { CODE, FLAG, FRAME, SETTING } from "../../../agent/protocol/http2/frame.ts";
import { GET_FIELDS, type Http2End, POST_FIELDS } from "../../support/http2-end.ts";
import { answered, ClientHop, ServerHop } from "../../support/http2-hop.ts";

const zeros = (count: number): Uint8Array => new Uint8Array(count);
const GET = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";

/** Frames that an end gets from here on, as `kind flags stream payload`, the payload in hexadecimal. */
function watched(end: Http2End, kind: number): string[] {
  const frames: string[] = [];
  const before = end.onData.bind(end);
  let held: number[] = [];
  end.onData = (stream, bytes, start, until) => {
    held.push(...bytes.subarray(start, until));
    for (;;) {
      const length = ((held[0] ?? 0) << 16) | ((held[1] ?? 0) << 8) | (held[2] ?? 0);
      if (held.length < 9 || held.length < 9 + length) break;
      const payload = Uint8Array.from(held.slice(9, 9 + length)).toHex();
      if (held[3] === kind) frames.push(`${held[4]} ${held[8]} ${payload}`.trim());
      held = held.slice(9 + length);
    }
    before(stream, bytes, start, until);
  };
  return frames;
}

/** Octets of content that came on a stream since. */
const content = (end: Http2End, id: number): number =>
  end
    .take()
    .filter((line) => line.startsWith(`DATA ${id} `))
    .reduce((sum, line) => sum + line.replace(/ END$/, "").length - `DATA ${id} `.length, 0);

/** Settings of one frame, in order. */
const settings = (...pairs: readonly (readonly [number, number])[]): Uint8Array => {
  const payload = zeros(6 * pairs.length);
  const view = new DataView(payload.buffer);
  pairs.forEach(([name, value], i) => {
    view.setUint16(6 * i, name);
    view.setUint32(6 * i + 2, value);
  });
  return payload;
};

describe("acknowledgements", () => {
  test("6.5.3 each SETTINGS once, in order, and an acknowledgement never", () => {
    const hop = new ServerHop();
    const { client } = hop;
    client.setting(SETTING.headerTableSize, 100);
    client.frame(FRAME.ping, 0, 0, zeros(8));
    client.setting(SETTING.headerTableSize, 200);
    client.frame(FRAME.settings, FLAG.ack, 0);
    hop.pass();
    expect(client.take()).toEqual(["SETTINGS ACK", "PONG", "SETTINGS ACK"]);
    const app = new ClientHop().ask();
    app.app().setting(SETTING.headerTableSize, 100);
    app.app().frame(FRAME.settings, FLAG.ack, 0);
    app.pass();
    expect(app.app().take()).toEqual(["SETTINGS ACK"]);
  });

  test("6.5.3 the values of one frame hold in their order: the last one stays", () => {
    const hop = new ServerHop({ answers: false });
    const { client } = hop;
    client.isPolite = false;
    const name = SETTING.initialWindowSize;
    client.frame(FRAME.settings, 0, 0, settings([name, 9], [0xfa, 1], [name, 500], [name, 7]));
    client.headers(1, GET_FIELDS);
    hop.pass();
    hop.apps[0]?.send(`HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n${"x".repeat(1_000)}`);
    hop.pass();
    expect(content(client, 1)).toBe(7);
  });

  test("6.7 a PING is answered by the same octets, and an answer is not", () => {
    const payload = Uint8Array.of(1, 2, 3, 4, 0, 255, 254, 253);
    const hop = new ServerHop();
    const pongs = watched(hop.client, FRAME.ping);
    hop.client.frame(FRAME.ping, 0, 0, payload);
    hop.client.frame(FRAME.ping, FLAG.ack, 0, zeros(8));
    hop.pass();
    expect(pongs).toEqual([`1 0 ${payload.toHex()}`]);
    const asked = new ClientHop().ask();
    const toApp = watched(asked.app(), FRAME.ping);
    asked.app().frame(FRAME.ping, 0, 0, payload);
    asked.app().frame(FRAME.ping, FLAG.ack, 0, zeros(8));
    asked.pass();
    expect(toApp).toEqual([`1 0 ${payload.toHex()}`]);
  });

  test("5.4.2 RST_STREAM is not answered by one, whatever became of its stream", () => {
    const hop = new ServerHop().begin(3);
    hop.expectServing(5);
    hop.client.word(FRAME.windowUpdate, 3, 0);
    hop.pass();
    expect(hop.client.take()).toEqual([`RST 3 ${CODE.protocolError}`]);
    for (const id of [1, 3, 3, 5]) hop.client.word(FRAME.rstStream, id, CODE.streamClosed);
    hop.client.headers(7, POST_FIELDS, false);
    hop.client.word(FRAME.rstStream, 7, CODE.cancel);
    hop.pass();
    expect(hop.client.take()).toEqual([]);
    hop.expectServing(9);
  });
});

describe("windows of others", () => {
  /** An answer of 100,000 octets is under way to a client that gives no credit by itself. */
  const answering = (window: number): ServerHop => {
    const hop = new ServerHop({ answers: false });
    hop.client.isPolite = false;
    hop.client.setting(SETTING.initialWindowSize, window);
    hop.client.headers(1, GET_FIELDS);
    hop.pass();
    hop.apps[0]?.send(`HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n${"x".repeat(100_000)}`);
    return hop.pass();
  };

  test("6.9.2 a window that settings make smaller may be below nothing, and is waited for", () => {
    const hop = answering(1_000);
    const { client } = hop;
    expect(content(client, 1)).toBe(1_000);
    client.setting(SETTING.initialWindowSize, 400); // now at -600
    client.word(FRAME.windowUpdate, 1, 600);
    hop.pass();
    expect(content(client, 1)).toBe(0);
    client.word(FRAME.windowUpdate, 1, 5);
    hop.pass();
    expect(content(client, 1)).toBe(5);
    client.setting(SETTING.initialWindowSize, 402);
    hop.pass();
    expect(content(client, 1)).toBe(2);
  });

  test("6.9.2 settings do not change the window of the connection", () => {
    const hop = answering(10_000_000);
    expect(content(hop.client, 1)).toBe(65_535);
    hop.client.word(FRAME.windowUpdate, 1, 10_000);
    hop.pass();
    expect(content(hop.client, 1)).toBe(0);
    hop.client.word(FRAME.windowUpdate, 0, 10);
    hop.pass();
    expect(content(hop.client, 1)).toBe(10);
  });

  test("6.9.1, 6.9.2 an app's windows are kept to as well", () => {
    const hop = new ClientHop().ask();
    const app = hop.app();
    app.headers(1, [[":status", "204"]]);
    app.isPolite = false;
    app.setting(SETTING.initialWindowSize, 300);
    hop.pass();
    hop.client.take();
    hop.client.send(
      `POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1000\r\n\r\n${"x".repeat(1_000)}`,
    );
    hop.pass();
    expect(content(app, 3)).toBe(300);
    app.setting(SETTING.initialWindowSize, 100); // at -200
    app.word(FRAME.windowUpdate, 3, 200);
    hop.pass();
    expect(content(app, 3)).toBe(0);
    app.word(FRAME.windowUpdate, 3, 700);
    hop.pass();
    expect(content(app, 3)).toBe(700);
  });

  test("4.2 no frame of ours is longer than every peer takes, whatever this one allows", () => {
    const hop = new ServerHop({ answers: false });
    hop.client.setting(SETTING.maxFrameSize, 2 ** 24 - 1);
    hop.client.setting(SETTING.initialWindowSize, 2 ** 31 - 1);
    hop.client.word(FRAME.windowUpdate, 0, 1_000_000);
    const frames = watched(hop.client, FRAME.data);
    hop.client.headers(1, GET_FIELDS);
    hop.pass();
    hop.apps[0]?.send(`HTTP/1.1 200 OK\r\ncontent-length: 200000\r\n\r\n${"x".repeat(200_000)}`);
    hop.pass();
    const lengths = frames.map((frame) => (frame.split(" ")[2] ?? "").length / 2);
    expect(lengths.reduce((sum, length) => sum + length, 0)).toBe(200_000);
    expect(Math.max(...lengths)).toBeLessThanOrEqual(16_384);
  });

  test("5.1.2 an app gets no more streams than it allows at a time, also when it allows less", () => {
    const hop = new ClientHop().ask();
    const app = hop.app();
    app.setting(SETTING.maxConcurrentStreams, 2);
    hop.pass();
    app.take();
    const clients = [hop.dial(), hop.dial(), hop.dial()];
    for (const client of clients) client.send(GET);
    hop.pass();
    const begun = (): string[] =>
      app.take().flatMap((line) => /^HEADERS (\d+)/.exec(line)?.[1] ?? []);
    expect(begun()).toEqual(["3"]);
    app.setting(SETTING.maxConcurrentStreams, 1);
    app.headers(1, [[":status", "204"]]);
    hop.pass();
    expect(begun()).toEqual([]);
    app.headers(3, [[":status", "204"]]);
    hop.pass();
    expect(begun()).toEqual(["5"]);
    app.setting(SETTING.maxConcurrentStreams, 100);
    hop.pass();
    expect(begun()).toEqual(["7"]);
    for (const id of [5, 7]) app.headers(id, [[":status", "204"]]);
    hop.pass();
    for (const client of clients) expect(client.text).toStartWith("HTTP/1.1 204 ");
    expect(hop.apps).toHaveLength(1);
  });
});

describe("our windows", () => {
  test("6.9 what comes for a stream that we reset counts, and is given back", () => {
    const hop = new ServerHop().begin();
    hop.client.word(FRAME.windowUpdate, 1, 0); // we reset it
    hop.pass();
    const before = hop.client.credit.get(0) ?? 0;
    for (let sent = 0; sent < 3_000_000; sent += 16_000) {
      hop.client.frame(FRAME.data, 0, 1, zeros(16_000));
      hop.pass(5);
    }
    hop.client.take();
    expect((hop.client.credit.get(0) ?? 0) - before).toBeGreaterThan(3_000_000 - 1_048_576);
    hop.expectServing(3);
  });

  test("6.1, 6.9 padding counts, and is given back", () => {
    const hop = new ServerHop().begin();
    const payload = zeros(257);
    payload[0] = 255;
    let sent = 0;
    for (; sent + payload.length <= 65_535 + (hop.client.credit.get(1) ?? 0) && sent < 500_000; ) {
      hop.client.frame(FRAME.data, FLAG.padded, 1, payload);
      sent += payload.length;
      if (sent % (20 * payload.length) === 0) hop.pass(5);
    }
    expect(sent).toBeGreaterThanOrEqual(500_000);
    hop.client.frame(FRAME.data, FLAG.endStream, 1);
    hop.pass();
    expect(hop.heard()).toEqual(answered(1));
  });
});

describe("ends", () => {
  test("8.1 fields of an app in the middle that do not end the stream", () => {
    const hop = new ClientHop().ask();
    hop.app().headers(1, [[":status", "200"]], false);
    hop.app().data(1, "abc");
    hop.app().headers(1, [["x-late", "1"]], false);
    hop.pass();
    expect(hop.app().take()).toContain(`RST 1 ${CODE.protocolError}`);
    expect(hop.client.closed?.is).toBe("failed");
    expect(hop.client.text).not.toContain("x-late");
    hop.expectServing(0, 3);
  });

  test("5.4.3 an app's connection that ends in the middle of an answer: no client takes the piece for the whole", () => {
    for (const end of ["end", "reset", "goaway"] as const) {
      const hop = new ClientHop().ask();
      hop.app().headers(1, [[":status", "200"]], false);
      hop.app().data(1, "abc");
      if (end === "goaway")
        hop.app().frame(FRAME.goaway, 0, 0, Uint8Array.of(0, 0, 0, 1, 0, 0, 0, 0));
      if (end === "reset") hop.app().end.stream?.reset();
      else hop.app().end.end();
      hop.pass(2_000);
      expect(hop.client.closed?.is).toBe("failed");
      expect(hop.client.text).not.toContain("\r\n0\r\n");
      hop.expectServing(1, 1);
    }
  });

  test("6.8 what an app says of a stream that it gave up by GOAWAY is nobody's: it was asked elsewhere", () => {
    const hop = new ClientHop().ask();
    const first = hop.client;
    hop.client = hop.dial();
    hop.ask();
    hop.app().frame(FRAME.goaway, 0, 0, Uint8Array.of(0, 0, 0, 1, 0, 0, 0, 0));
    hop.app().headers(3, [[":status", "500"]]);
    hop.app(0).headers(1, [[":status", "204"]]);
    hop.pass();
    hop.app(1).headers(1, [[":status", "202"]]);
    hop.pass();
    expect(hop.statuses).toEqual([202]);
    expect(first.text).toStartWith("HTTP/1.1 204 ");
    hop.expectNothingLeft();
  });

  test("8.3.1 OPTIONS * passes", () => {
    const hop = new ServerHop();
    hop.client.headers(1, [
      [":method", "OPTIONS"],
      [":scheme", "http"],
      [":path", "*"],
      [":authority", "a"],
    ]);
    hop.pass();
    expect(hop.seen).toStartWith("OPTIONS * HTTP/1.1\r\nhost: a\r\n");
    expect(hop.heard()).toEqual(answered(1));
  });
});
