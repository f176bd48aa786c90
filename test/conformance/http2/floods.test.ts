// What a peer may make us do for nothing (RFC 9113 10.5): each flood ends its connection with ENHANCE_YOUR_CALM, counted by its name, and holds
// nothing afterwards. And conduct that only looks like one passes.
import { describe, expect, test } from "bun:test";
import { INTERIM_BYTES_MAX, INTERIM_MAX } from "../../../agent/protocol/http1/interim.ts";
import { CODE, FLAG, FRAME, SETTING } from "../../../agent/protocol/http2/frame.ts";
import { blockOf, GET_FIELDS, type Http2End, POST_FIELDS } from "../../support/http2-end.ts";
import { answered, ClientHop, ServerHop } from "../../support/http2-hop.ts";

const get = blockOf(GET_FIELDS);
const MORE = 12_000;

/** Ended, for that reason, once. */
function expectCalmed(hop: ServerHop | ClientHop, end: Http2End, reason: string): void {
  hop.pass(3_000);
  const ends = end.take().filter((line) => line.startsWith("GOAWAY"));
  expect(ends.map((line) => Number(line.split(" ")[2]))).toEqual([CODE.enhanceYourCalm]);
  expect(end.isClosed).toBe(true);
  expect(hop.refused(reason)).toBe(1);
}

describe("floods of a client", () => {
  const calmed = (reason: string, say: (end: Http2End, hop: ServerHop) => void): void => {
    const hop = new ServerHop({ answers: false });
    say(hop.client, hop);
    expectCalmed(hop, hop.client, reason);
    hop.expectNothingLeft();
  };

  test("rapid reset (CVE-2023-44487)", () =>
    calmed("rapid_reset", (client) => {
      for (let id = 1; id < 2_400; id += 2) {
        client.headers(id, GET_FIELDS);
        client.word(FRAME.rstStream, id, CODE.cancel);
      }
    }));

  test.each([
    ["a window by 0", (end: Http2End, id: number) => end.word(FRAME.windowUpdate, id, 0)],
    [
      "a window that overflows",
      (end: Http2End, id: number) => end.word(FRAME.windowUpdate, id, 0x7fff_ffff),
    ],
    ["DATA behind the end", (end: Http2End, id: number) => end.data(id, "x")],
    ["HEADERS behind the end", (end: Http2End, id: number) => end.headers(id, GET_FIELDS)],
    [
      "PRIORITY of another length",
      (end: Http2End, id: number) => end.frame(FRAME.priority, 0, id, new Uint8Array(4)),
    ],
  ])("made you reset (CVE-2025-8671): %s", (_how, say) =>
    calmed("made_you_reset", (client) => {
      for (let id = 1; id < 2_400; id += 2) {
        client.headers(id, GET_FIELDS);
        say(client, id);
      }
    }),
  );

  test("made you reset: malformed requests, and lists that are too long", () => {
    calmed("made_you_reset", (client) => {
      for (let id = 1; id < 2_400; id += 2) client.headers(id, [...GET_FIELDS, ["X", "1"]]);
    });
    const many = Array.from({ length: 120 }, (_, i) => [`x-${i}`, "1"] as const);
    calmed("made_you_reset", (client) => {
      for (let id = 1; id < 2_400; id += 2) client.headers(id, [...GET_FIELDS, ...many]);
    });
  });

  test.each([
    ["settings_flood", (end: Http2End) => end.frame(FRAME.settings, 0, 0)],
    ["ping_flood", (end: Http2End) => end.frame(FRAME.ping, 0, 0, new Uint8Array(8))],
    ["ping_flood", (end: Http2End) => end.frame(FRAME.ping, FLAG.ack, 0, new Uint8Array(8))],
    ["priority_flood", (end: Http2End) => end.frame(FRAME.priority, 0, 1, new Uint8Array(5))],
    ["empty_data", (end: Http2End) => end.frame(FRAME.data, 0, 1)],
    ["empty_data", (end: Http2End) => end.frame(FRAME.data, FLAG.padded, 1, new Uint8Array(1))],
    ["window_flood", (end: Http2End) => end.word(FRAME.windowUpdate, 0, 1)],
    ["unknown_frames", (end: Http2End) => end.frame(99, 0, 1)],
    ["goaway_flood", (end: Http2End) => end.frame(FRAME.goaway, 0, 0, new Uint8Array(8))],
  ] as const)("%s", (reason, say) =>
    calmed(reason, (client) => {
      client.headers(1, POST_FIELDS, false);
      for (let i = 0; i < MORE; i++) say(client);
    }),
  );

  test("late_frames: for streams that are over", () =>
    calmed("late_frames", (client) => {
      client.headers(1, GET_FIELDS);
      client.word(FRAME.windowUpdate, 1, 0); // we reset it
      for (let i = 0; i < MORE; i++) client.data(1, "x");
    }));

  test("CONTINUATION without end (CVE-2024-27316): empty, and full of fields", () => {
    calmed("continuations", (client) => {
      client.frame(FRAME.headers, 0, 1);
      for (let i = 0; i < 17; i++) client.frame(FRAME.continuation, 0, 1);
    });
    calmed("continuations", (client) => {
      client.frame(FRAME.headers, 0, 1, new Uint8Array(16_000).fill(0x82));
      for (let i = 0; i < 4; i++)
        client.frame(FRAME.continuation, 0, 1, new Uint8Array(16_000).fill(0x82));
    });
  });

  test("HPACK bombs: one octet that means a whole table, and a name that is copied into it again and again", () => {
    const entry = [0x40, 3, 120, 45, 97, 0x7f, 0xa1, 0x1e, ...new Array<number>(4_000).fill(97)];
    for (const bomb of [
      new Array<number>(12_000).fill(0x80 | 62),
      // The name at 62 with an empty value, which takes its place.
      new Array<number[]>(6_000).fill([0x40 | 62, 0]).flat(),
      new Array<number>(12_000).fill(0x80 | 16),
    ])
      calmed("hpack_bomb", (client) => {
        const name = [0x40, 0x7f, 0xa1, 0x1e, ...new Array<number>(4_000).fill(97), 0];
        const first = bomb[1] === 0 ? name : entry;
        client.frame(
          FRAME.headers,
          FLAG.endHeaders | FLAG.endStream,
          1,
          Uint8Array.from([...get, ...first]),
        );
        client.frame(
          FRAME.headers,
          FLAG.endHeaders | FLAG.endStream,
          3,
          Uint8Array.from([...get, ...bomb]),
        );
      });
  });

  test("slow reads: credit by the octet", () => {
    const hop = new ServerHop({ answers: false });
    const { client } = hop;
    client.isPolite = false;
    client.setting(SETTING.initialWindowSize, 0);
    client.headers(1, GET_FIELDS);
    hop.pass();
    hop.apps[0]?.send(`HTTP/1.1 200 OK\r\ncontent-length: 50000\r\n\r\n${"x".repeat(50_000)}`);
    hop.pass();
    for (let i = 0; i < 2 * MORE && !client.isClosed; i++) {
      client.word(FRAME.windowUpdate, 1, 1);
      if (i % 10 === 0) hop.mesh.clock.pass(1);
    }
    expectCalmed(hop, client, "window_flood");
    hop.expectNothingLeft();
  });

  test("slow reads: a client that makes us answer and reads nothing is cut at what may wait for it", () => {
    const hop = new ServerHop({ answers: false });
    const { client } = hop;
    client.end.stream?.pause();
    for (let i = 0; i < 40; i++) {
      client.headers(2 * i + 1, GET_FIELDS);
      for (let k = 0; k < 1_000 && i < 30; k++) client.frame(FRAME.ping, 0, 0, new Uint8Array(8));
      hop.pass(1_000); // each second allows a thousand
    }
    hop.pass(3_000);
    expect(hop.refused("slow_read")).toBe(1);
    expect(hop.host.plane.openConnections).toBe(0);
  });

  test("slow heads: a preface, settings, a frame or a block that does not come to its end", () => {
    for (const say of [
      (end: Http2End) => end.end.send(Uint8Array.of(0, 0)),
      (end: Http2End) => end.frame(FRAME.headers, 0, 1, get),
      (end: Http2End) => end.end.send(Uint8Array.of(0, 0, 9, 4, 0, 0, 0, 0, 0, 1)),
    ]) {
      const hop = new ServerHop();
      say(hop.client);
      hop.pass(9_000);
      expect(hop.client.isClosed).toBe(false);
      expectCalmed(hop, hop.client, "slow_head");
    }
  });
});

describe("floods of an app", () => {
  test.each([
    ["settings_flood", (end: Http2End) => end.frame(FRAME.settings, 0, 0)],
    ["ping_flood", (end: Http2End) => end.frame(FRAME.ping, 0, 0, new Uint8Array(8))],
    ["priority_flood", (end: Http2End) => end.frame(FRAME.priority, 0, 1, new Uint8Array(5))],
    ["window_flood", (end: Http2End) => end.word(FRAME.windowUpdate, 0, 1)],
    ["unknown_frames", (end: Http2End) => end.frame(99, 0, 1)],
    ["ping_flood", (end: Http2End) => end.frame(FRAME.ping, FLAG.ack, 0, new Uint8Array(8))],
    ["late_frames", (end: Http2End) => end.word(FRAME.rstStream, 1, CODE.cancel)],
    [
      "goaway_flood",
      (end: Http2End) => end.frame(FRAME.goaway, 0, 0, Uint8Array.of(0, 0, 0, 1, 0, 0, 0, 0)),
    ],
  ] as const)("%s", (reason, say) => {
    const hop = new ClientHop().ask();
    for (let i = 0; i < MORE; i++) say(hop.app());
    expectCalmed(hop, hop.app(), reason);
    hop.expectNoAnswer();
    hop.expectServing(1, 1);
  });

  test("CONTINUATION without end, and an HPACK bomb", () => {
    const endless = new ClientHop().ask();
    endless.app().frame(FRAME.headers, 0, 1);
    for (let i = 0; i < 17; i++) endless.app().frame(FRAME.continuation, 0, 1);
    expectCalmed(endless, endless.app(), "continuations");
    const bomb = new ClientHop().ask();
    const entry = [0x40, 1, 97, 0x7f, 0xa1, 0x1e, ...new Array<number>(4_000).fill(97)];
    const block = [0x88, ...entry, ...new Array<number>(12_000).fill(0x80 | 62)];
    bomb.app().frame(FRAME.headers, FLAG.endHeaders | FLAG.endStream, 1, Uint8Array.from(block));
    expectCalmed(bomb, bomb.app(), "hpack_bomb");
  });

  test("empty_data", () => {
    const hop = new ClientHop().ask();
    hop.app().headers(1, [[":status", "200"]], false);
    for (let i = 0; i < MORE; i++) hop.app().frame(FRAME.data, 0, 1);
    expectCalmed(hop, hop.app(), "empty_data");
    expect(hop.client.closed?.is).toBe("failed");
  });

  test("made you reset: an app whose answers are all malformed", () => {
    const hop = new ClientHop();
    const clients = Array.from({ length: 90 }, () => hop.dial());
    let id = 1;
    for (let asked = 0; asked < 1_170 && hop.apps[0]?.isClosed !== true; asked += clients.length) {
      for (const client of clients) client.send("GET / HTTP/1.1\r\nhost: server\r\n\r\n");
      hop.mesh.clock.pass(1);
      for (const _ of clients) {
        hop.app().headers(id, [[":status", "1"]]);
        id += 2;
      }
      hop.mesh.clock.pass(1);
    }
    expectCalmed(hop, hop.app(), "made_you_reset");
  });

  test("slow reads: an app that makes us answer and reads nothing is cut at what may wait for it", () => {
    const hop = new ClientHop().ask();
    const app = hop.app();
    app.end.stream?.pause();
    for (let i = 0; i < 40; i++) {
      for (let k = 0; k < 1_000; k++) app.frame(FRAME.ping, 0, 0, new Uint8Array(8));
      hop.pass(1_000); // each second allows a thousand
    }
    hop.pass(3_000);
    expect(hop.refused("slow_read")).toBe(1);
    hop.expectNoAnswer();
    hop.expectServing(1, 1);
  });

  const interim = (hop: ClientHop, count: number, value = ""): void => {
    for (let i = 0; i < count; i++)
      hop.app().headers(
        1,
        value === ""
          ? [[":status", "103"]]
          : [
              [":status", "103"],
              ["x", value],
            ],
        false,
      );
    hop.pass();
  };

  test("interim responses: as many as one request may get, one more, and more bytes of them", () => {
    const most = new ClientHop().ask();
    interim(most, INTERIM_MAX);
    most.app().headers(1, [[":status", "204"]]);
    most.pass();
    expect(most.statuses).toEqual([...new Array(INTERIM_MAX).fill(103), 204]);
    for (const [count, value, passed] of [
      [INTERIM_MAX + 1, "", INTERIM_MAX],
      [30, "y".repeat(10_000), Math.floor(INTERIM_BYTES_MAX / 10_030)],
    ] as const) {
      const hop = new ClientHop().ask();
      interim(hop, count, value);
      expect(hop.app().take()).toEqual([`RST 1 ${CODE.enhanceYourCalm}`]);
      expect(hop.statuses).toEqual([...new Array(passed).fill(103), 502]);
      expect(hop.refused("interim_flood")).toBe(1);
      hop.expectServing(0, 3);
    }
  });

  test("interim responses to a client that does not read: no more are held for it than it may get", () => {
    const hop = new ClientHop({ config: { streamIdleTimeoutMs: 5_000 } });
    hop.client.stream?.pause();
    hop.ask();
    interim(hop, 1_000, "y".repeat(1_000));
    expect(hop.refused("interim_flood")).toBe(1);
    expect(hop.app().take()).toEqual([`RST 1 ${CODE.enhanceYourCalm}`]);
    hop.expectNothingLeft();
  });
});

describe("what only looks like a flood", () => {
  test("a long download whose client gives credit for every frame", () => {
    const hop = new ServerHop({ answers: false });
    hop.client.headers(1, GET_FIELDS);
    hop.pass();
    const chunks = 13_000;
    const [app] = hop.apps;
    app?.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    for (let i = 0; i < chunks; i++) {
      app?.send("5\r\nhello\r\n");
      if (i % 4 === 0) hop.mesh.clock.pass(1);
    }
    hop.pass(1_000);
    const text = hop.client
      .take()
      .map((line) => line.slice(7))
      .join("");
    expect(text.match(/hello/g)).toHaveLength(chunks);
    expect(hop.client.isClosed).toBe(false);
  });

  test("a thousand requests after one another, each cancelled when half of its answer is there, in ten seconds", () => {
    const hop = new ServerHop({ answers: false });
    for (let i = 0; i < 1_000; i++) {
      const id = 2 * i + 1;
      hop.client.headers(id, GET_FIELDS);
      hop.client.word(FRAME.rstStream, id, CODE.cancel);
      hop.mesh.clock.pass(10);
    }
    hop.pass();
    expect(hop.client.isClosed).toBe(false);
  });

  test("fields that are too many or too long are 431, and the connection serves on", () => {
    const hop = new ServerHop();
    hop.client.headers(1, [...GET_FIELDS, ["x", "y".repeat(15_000)], ["z", "y".repeat(1_000)]]);
    for (let i = 0; i < 1; i++) hop.pass();
    expect(hop.heard()).toEqual(answered(1));
    const long = blockOf([
      ...GET_FIELDS,
      ...Array.from({ length: 62 }, (_, i) => [`x-${i}`, "y".repeat(1_000)] as const),
    ]);
    hop.client.frame(FRAME.headers, FLAG.endStream, 3, long.slice(0, 16_384));
    for (let at = 16_384; at < long.length; at += 16_384)
      hop.client.frame(
        FRAME.continuation,
        at + 16_384 >= long.length ? FLAG.endHeaders : 0,
        3,
        long.slice(at, at + 16_384),
      );
    hop.pass();
    expect(hop.client.take()[0]).toStartWith("HEADERS 3 :status=431");
    hop.expectServing(5);
  });
});
