// Stream errors of RFC 9113 (5.4.2): that stream is reset with the right code, and the connection serves the next. And what a peer may do:
// the connection bears it.
import { describe, expect, test } from "bun:test";
import { CODE, FLAG, FRAME, SETTING } from "../../../agent/protocol/http2/frame.ts";
import { blockOf, GET_FIELDS, type Http2End, POST_FIELDS } from "../../support/http2-end.ts";
import { ANSWER, answered, ClientHop, EACH, ServerHop } from "../../support/http2-hop.ts";

const each = (ids: readonly number[], say: (id: number) => void): void => {
  for (const id of ids) say(id);
};
const zeros = (count: number): Uint8Array => new Uint8Array(count);
const WITH_LENGTH = [...POST_FIELDS, ["content-length", "3"]] as const;

/** Said of stream 1, which the client has not ended and nobody has answered. */
const OF_OPEN = [
  ["6.3 PRIORITY of 4 octets", CODE.frameSizeError, (e) => e.frame(FRAME.priority, 0, 1, zeros(4))],
  ["6.3 PRIORITY of 6 octets", CODE.frameSizeError, (e) => e.frame(FRAME.priority, 0, 1, zeros(6))],
  ["6.9 WINDOW_UPDATE by 0", CODE.protocolError, (e) => e.word(FRAME.windowUpdate, 1, 0)],
  [
    "6.9 WINDOW_UPDATE by 0 but for the reserved bit",
    CODE.protocolError,
    (e) => e.word(FRAME.windowUpdate, 1, 0x8000_0000),
  ],
  [
    "6.9.1 a window beyond 2^31-1",
    CODE.flowControlError,
    (e) => e.word(FRAME.windowUpdate, 1, 2 ** 31 - 1),
  ],
] as const satisfies readonly (readonly [string, number, (end: Http2End) => void])[];

describe("stream errors by anybody", () => {
  test.each(OF_OPEN)("%s, by a client", (_rule, code, say) => {
    for (const options of EACH) {
      const hop = new ServerHop({ ...options }).begin();
      say(hop.client);
      hop.pass();
      expect(hop.client.take()).toEqual([`RST 1 ${code}`]);
      for (const app of hop.apps) expect(app.closed).toEqual({ is: "failed", code: "ECONNRESET" });
      hop.expectServing(3);
      hop.client.end.stream?.reset();
      hop.expectNothingLeft();
    }
  });

  test.each(OF_OPEN)("%s, by an app", (_rule, code, say) => {
    const hop = new ClientHop().ask();
    say(hop.app());
    hop.pass();
    expect(hop.app().take()).toContain(`RST 1 ${code}`);
    hop.expectNoAnswer();
    hop.expectServing(0, 3);
    hop.expectNothingLeft();
  });
});

describe("stream errors by a client", () => {
  test("5.1 half-closed (remote): DATA and HEADERS behind the end are STREAM_CLOSED", () => {
    for (const say of [
      (end: Http2End) => end.data(1, "more"),
      (end: Http2End) => end.headers(1, [["x-late", "1"]]),
      (end: Http2End) => end.headers(1, GET_FIELDS),
    ]) {
      const hop = new ServerHop({ answers: false });
      hop.client.headers(1, GET_FIELDS);
      hop.pass();
      say(hop.client);
      hop.pass();
      expect(hop.client.take()).toEqual([`RST 1 ${CODE.streamClosed}`]);
      expect(hop.seen).not.toContain("x-late");
    }
  });

  test("5.1.2 more streams than we allow are refused, so that they may be asked again", () => {
    const hop = new ServerHop({ answers: false });
    for (let id = 1; id <= 505; id += 2) hop.client.headers(id, GET_FIELDS);
    hop.pass();
    expect(hop.client.take()).toEqual([
      `RST 501 ${CODE.refusedStream}`,
      `RST 503 ${CODE.refusedStream}`,
      `RST 505 ${CODE.refusedStream}`,
    ]);
    expect(hop.refused("streams_max")).toBe(3);
  });

  test.each([0, 255])(
    "6.9.1 more than the stream's window, %d octets of padding included",
    (padding) => {
      const hop = new ServerHop({ answers: false });
      hop.mesh.fabric.silent.add("10.0.0.2:8080"); // so that nothing is read on
      hop.client.headers(1, POST_FIELDS, false);
      const payload = new Uint8Array(16_384);
      payload[0] = padding;
      const flags = padding > 0 ? FLAG.padded : 0;
      // Until no credit comes any more, and one frame beyond.
      for (let sent = 0, allowed = 65_535; sent <= allowed && sent < 1_000_000; ) {
        hop.client.frame(FRAME.data, flags, 1, payload);
        sent += payload.length;
        if (sent > allowed) break;
        hop.pass(20);
        allowed = 65_535 + (hop.client.credit.get(1) ?? 0);
      }
      hop.pass();
      expect(hop.client.take()).toEqual([`RST 1 ${CODE.flowControlError}`]);
    },
  );

  test("8.1 HEADERS in the middle that do not end the stream", () => {
    const hop = new ServerHop().begin();
    hop.client.headers(1, [["x-late", "1"]], false);
    hop.pass();
    expect(hop.client.take()).toEqual([`RST 1 ${CODE.protocolError}`]);
    expect(hop.apps[0]?.closed).toEqual({ is: "failed", code: "ECONNRESET" });
  });

  test.each([
    ["longer", (end: Http2End) => end.data(1, "abcd")],
    ["shorter", (end: Http2End) => end.data(1, "ab", true)],
    ["nothing", (end: Http2End) => end.frame(FRAME.data, FLAG.endStream, 1)],
    [
      "longer, over several frames",
      (end: Http2End) => {
        end.data(1, "ab");
        end.data(1, "cd", true);
      },
    ],
    [
      "shorter, and trailers",
      (end: Http2End) => {
        end.data(1, "a");
        end.headers(1, []);
      },
    ],
  ])("8.1.1 content that is not as long as its content-length says: %s", (_how, say) => {
    for (const splits of [false, true]) {
      const hop = new ServerHop({ splits }).begin(1, WITH_LENGTH);
      say(hop.client);
      hop.pass();
      expect(hop.client.take()).toEqual([`RST 1 ${CODE.protocolError}`]);
      for (const app of hop.apps) expect(app.closed).toEqual({ is: "failed", code: "ECONNRESET" });
      hop.expectServing(3);
    }
  });

  test("8.1.1 a length that is announced with a stream which ends at once", () => {
    const hop = new ServerHop();
    hop.client.headers(1, WITH_LENGTH);
    hop.pass();
    expect(hop.client.take()).toEqual([`RST 1 ${CODE.protocolError}`]);
    expect(hop.seen).toBe("");
  });
});

describe("what a client may do", () => {
  const borne: readonly (readonly [string, (end: Http2End) => void])[] = [
    ["4.1 flags without meaning", (e) => e.frame(FRAME.ping, 0xfe, 0, zeros(8))],
    [
      "4.1 the reserved bit",
      (e) => e.end.send(Uint8Array.of(0, 0, 4, 8, 0, 128, 0, 0, 0, 128, 0, 0, 9)),
    ],
    [
      "5.5 kinds that nobody knows, on any stream",
      (e) => each([0, 1, 2, 77], (id) => e.frame(77, 255, id, zeros(9))),
    ],
    [
      "6.3 PRIORITY of streams that never were, and on itself",
      (e) => each([1, 2, 77], (id) => e.frame(FRAME.priority, 0, id, zeros(5))),
    ],
    ["6.5 SETTINGS without any", (e) => e.frame(FRAME.settings, 0, 0)],
    ["6.5.2 settings that nobody knows", (e) => e.setting(0xfa, 0xffff_ffff)],
    ["6.5.3 an acknowledgement of nothing", (e) => e.frame(FRAME.settings, FLAG.ack, 0)],
    [
      "6.5.2 the widest values",
      (e) => {
        e.setting(SETTING.initialWindowSize, 2 ** 31 - 1);
        e.setting(SETTING.maxFrameSize, 2 ** 24 - 1);
        e.setting(SETTING.maxConcurrentStreams, 0);
        e.setting(SETTING.headerTableSize, 2 ** 32 - 1);
        e.setting(SETTING.maxHeaderListSize, 0);
      },
    ],
    ["6.7 an answer to no PING", (e) => e.frame(FRAME.ping, FLAG.ack, 0, zeros(8))],
    ["6.9 credit, also for a stream that has ended", (e) => e.word(FRAME.windowUpdate, 1, 1_000)],
    ["6.4 RST_STREAM of a stream that is over", (e) => e.word(FRAME.rstStream, 1, CODE.noError)],
    ["7 a code that nobody knows", (e) => e.word(FRAME.rstStream, 1, 0xdead_beef)],
  ];
  test.each(borne)("%s", (_rule, say) => {
    for (const options of EACH) {
      const hop = new ServerHop(options);
      hop.expectServing(1);
      say(hop.client);
      hop.pass();
      hop.client.take();
      hop.expectServing(3);
    }
  });

  test("4.1, 6.2, 6.10: HEADERS with padding and priority, in pieces", () => {
    for (const options of EACH) {
      const hop = new ServerHop(options);
      const block = blockOf(GET_FIELDS);
      const first = Uint8Array.of(7, 0, 0, 0, 0, 16, ...block.slice(0, 5), 9, 9, 9, 9, 9, 9, 9);
      hop.client.frame(FRAME.headers, FLAG.padded | FLAG.priority | FLAG.endStream, 1, first);
      hop.client.frame(FRAME.continuation, 0, 1);
      for (let at = 5; at < 9; at++)
        hop.client.frame(FRAME.continuation, 0, 1, block.slice(at, at + 1));
      hop.client.frame(FRAME.continuation, FLAG.endHeaders, 1, block.slice(9));
      hop.pass();
      expect(hop.heard()).toEqual(answered(1));
      expect(hop.seen).toStartWith("GET /a?b=c HTTP/1.1\r\nhost: server\r\n");
    }
  });

  test("6.1 padding is nobody's content, and an empty DATA ends a stream", () => {
    for (const options of EACH) {
      const hop = new ServerHop(options).begin();
      hop.client.frame(FRAME.data, FLAG.padded, 1, Uint8Array.of(3, 104, 105, 0, 0, 0));
      hop.client.frame(FRAME.data, FLAG.padded, 1, Uint8Array.of(2, 0, 0));
      hop.client.frame(FRAME.data, FLAG.endStream, 1);
      hop.pass();
      expect(hop.heard()).toEqual(answered(1));
      expect(hop.seen).toEndWith("\r\n\r\n2\r\nhi\r\n0\r\n\r\n");
    }
  });

  test("5.1 closed: what was on its way to a stream that we reset is borne, and its fields are decoded", () => {
    const hop = new ServerHop().begin();
    hop.client.word(FRAME.windowUpdate, 1, 0);
    hop.pass();
    hop.client.take();
    hop.client.data(1, "late");
    // Into the table, 62, from a block that is nobody's.
    const insert = Uint8Array.of(0x40, 3, 120, 45, 97, 3, 111, 110, 101);
    hop.client.frame(FRAME.headers, FLAG.endHeaders | FLAG.endStream, 1, insert);
    hop.client.word(FRAME.rstStream, 1, CODE.cancel);
    const block = Uint8Array.of(...blockOf(GET_FIELDS), 0x80 | 62);
    hop.client.frame(FRAME.headers, FLAG.endHeaders | FLAG.endStream, 3, block);
    hop.pass();
    expect(hop.heard()).toEqual(answered(3));
    expect(hop.seen).toContain("x-a: one\r\n");
  });

  test("6.8 a client that goes away is answered what it asked, and the connection closes", () => {
    const hop = new ServerHop({ answers: false });
    hop.client.headers(1, GET_FIELDS);
    hop.client.frame(FRAME.goaway, 0, 0, zeros(40));
    hop.client.headers(3, GET_FIELDS);
    hop.pass();
    for (const app of hop.apps) app.send(ANSWER);
    hop.pass(2_000);
    expect(hop.heard()).toEqual([...answered(1), ...answered(3)]);
    expect(hop.client.isClosed).toBe(true);
    hop.expectNothingLeft();
  });

  test("6.8 what is asked after GOAWAY was answered is not looked at, and costs the others nothing", () => {
    const hop = new ServerHop({ answers: false });
    hop.client.headers(1, GET_FIELDS);
    hop.pass();
    hop.host.plane.drain();
    hop.pass();
    hop.client.take();
    hop.client.headers(3, POST_FIELDS, false);
    hop.client.data(3, "abc", true);
    hop.client.word(FRAME.rstStream, 3, CODE.cancel);
    hop.pass();
    expect(hop.client.take()).toEqual([]);
    hop.apps[0]?.send(ANSWER);
    hop.pass(2_000);
    expect(hop.heard()).toEqual(answered(1));
    expect(hop.seen.match(/HTTP\/1\.1/g)).toHaveLength(1);
    expect(hop.client.isClosed).toBe(true);
  });
});

describe("what an app may do", () => {
  const OK = [[":status", "200"]] as const;

  test("8.1 answer before it has the whole request, and ask for no more of it", () => {
    const hop = new ClientHop().ask("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc");
    hop.app().headers(1, OK, false);
    hop.app().data(1, "early", true);
    hop.app().word(FRAME.rstStream, 1, CODE.noError);
    hop.pass();
    expect(hop.statuses).toEqual([200]);
    expect(hop.client.text).toContain("early");
    hop.expectServing(0, 3);
  });

  test("8.1 interim responses before the final one; 101 is none of them", () => {
    const hop = new ClientHop().ask();
    hop.app().headers(
      1,
      [
        [":status", "103"],
        ["link", "a"],
      ],
      false,
    );
    hop.app().headers(1, [[":status", "102"]], false);
    hop.app().headers(1, [[":status", "204"]]);
    hop.pass();
    expect(hop.statuses).toEqual([103, 102, 204]);
    const other = new ClientHop().ask();
    other.app().headers(1, [[":status", "101"]], false);
    other.pass();
    expect(other.app().take()).toEqual([`RST 1 ${CODE.protocolError}`]);
    other.expectNoAnswer();
  });

  test.each([
    ["4.1 flags without meaning", (e: Http2End) => e.frame(FRAME.ping, 0xfe, 0, zeros(8))],
    [
      "5.5 kinds that nobody knows",
      (e: Http2End) => each([0, 1, 2], (id) => e.frame(77, 255, id, zeros(9))),
    ],
    ["6.3 PRIORITY", (e: Http2End) => e.frame(FRAME.priority, 0, 1, zeros(5))],
    ["6.5 more settings", (e: Http2End) => e.setting(SETTING.maxFrameSize, 2 ** 24 - 1)],
    ["6.9 credit", (e: Http2End) => e.word(FRAME.windowUpdate, 1, 1_000)],
  ] as const)("%s", (_rule, say) => {
    const hop = new ClientHop({ splits: true }).ask();
    say(hop.app());
    hop.app().headers(1, [[":status", "204"]]);
    say(hop.app());
    hop.pass();
    expect(hop.statuses).toEqual([204]);
    hop.expectServing(0, 3);
  });

  test("6.8 go away: streams it named are finished, others asked again elsewhere", () => {
    const hop = new ClientHop().ask();
    const payload = zeros(8);
    payload[3] = 1;
    hop.app().frame(FRAME.goaway, 0, 0, payload);
    hop.pass();
    const first = hop.client;
    hop.expectServing(1, 1);
    hop.app().headers(1, [
      [":status", "200"],
      ["content-length", "0"],
    ]);
    hop.pass();
    expect(first.text).toStartWith("HTTP/1.1 200 ");
  });

  const POST = "POST /p HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc";
  const lastStream = (id: number): Uint8Array => Uint8Array.of(0, 0, 0, id, 0, 0, 0, 0);
  /** What the app is asked on that stream of its nth connection. */
  const asked = (hop: ClientHop, id: number, nth = 0): boolean =>
    hop
      .app(nth)
      .take()
      .some((line) => line.startsWith(`DATA ${id} abc`));
  const expectAnswered = (hop: ClientHop, id: number, nth = 0): void => {
    hop.app(nth).headers(id, [[":status", "201"]]);
    hop.pass();
    expect(hop.statuses).toEqual([201]);
    expect(hop.host.count("istio_requests_total", { response_code: "201" })).toBe(1);
    hop.expectNothingLeft();
  };

  test("8.7 REFUSED_STREAM: not processed, so it is asked again whatever its method", () => {
    for (const splits of [false, true]) {
      const hop = new ClientHop({ splits }).ask(POST);
      hop.app().word(FRAME.rstStream, 1, CODE.refusedStream);
      hop.pass();
      expect(asked(hop, 3)).toBe(true);
      expectAnswered(hop, 3);
    }
  });

  test("8.7 REFUSED_STREAM without end: two more times, and then the client is told", () => {
    const hop = new ClientHop().ask(POST);
    for (const id of [1, 3, 5]) {
      hop.app().word(FRAME.rstStream, id, CODE.refusedStream);
      hop.pass();
      expect(asked(hop, id + 2)).toBe(id < 5);
    }
    expect(hop.statuses).toEqual([503]);
    expect(hop.host.count("istio_requests_total", { response_flags: "UR" })).toBe(1);
    hop.expectServing(0, 7);
  });

  test("8.7 another reset says nothing of what was done: what may not be sent twice is not", () => {
    for (const code of [CODE.cancel, CODE.internalError, CODE.noError]) {
      const hop = new ClientHop().ask(POST);
      hop.app().word(FRAME.rstStream, 1, code);
      hop.pass(2_000);
      expect(asked(hop, 3)).toBe(false);
      expect(hop.statuses).toEqual([503]);
      expect(hop.host.count("istio_requests_total", { response_flags: "UC" })).toBe(1);
    }
  });

  test("8.7 REFUSED_STREAM behind the beginning of an answer is a lie, and believed no more than one", () => {
    for (const begun of ["103", "200"]) {
      const hop = new ClientHop().ask(POST);
      hop.app().headers(1, [[":status", begun]], false);
      hop.app().word(FRAME.rstStream, 1, CODE.refusedStream);
      hop.pass(2_000);
      expect(asked(hop, 3)).toBe(false);
      expect(hop.statuses[0]).toBe(Number(begun));
      expect(hop.statuses).not.toContain(201);
    }
  });

  test("6.8, 8.7: a stream above the last of GOAWAY is asked again on another connection, whatever its method", () => {
    const hop = new ClientHop().ask();
    const first = hop.client;
    hop.client = hop.dial();
    hop.ask(POST);
    hop.app().frame(FRAME.goaway, 0, 0, lastStream(1));
    hop.pass();
    expect(asked(hop, 1, 1)).toBe(true);
    hop.app().headers(1, [[":status", "204"]]);
    hop.pass();
    expect(first.text).toStartWith("HTTP/1.1 204 ");
    expectAnswered(hop, 1, 1);
  });

  test("6.8, 8.7: a stream that GOAWAY names may have been processed, and is not asked twice", () => {
    const hop = new ClientHop().ask(POST);
    hop.app().frame(FRAME.goaway, 0, 0, lastStream(1));
    hop.app().end.stream?.close();
    hop.pass(2_000);
    expect(hop.apps).toHaveLength(1);
    expect(hop.statuses).toEqual([503]);
  });

  test("6.8, 8.7: what waited on a connection that goes away has not left, and is asked on another", () => {
    const hop = new ClientHop();
    hop.expectServing(0, 1); // its lane lies idle
    hop.client = hop.dial();
    hop.ask(); // another keeps the connection
    hop.app().frame(FRAME.goaway, 0, 0, lastStream(3));
    hop.pass();
    hop.client = hop.dial();
    hop.client.send(POST);
    hop.pass();
    expect(asked(hop, 1, 1)).toBe(true);
    hop.app(1).headers(1, [[":status", "201"]]);
    hop.pass();
    expect(hop.statuses).toEqual([201]);
  });

  test("5.1.2, 8.7: what waited for a stream is asked elsewhere when the connection ends", () => {
    const hop = new ClientHop().ask();
    hop.app().setting(SETTING.maxConcurrentStreams, 1);
    hop.pass();
    hop.client = hop.dial();
    hop.client.send(POST);
    hop.pass();
    expect(asked(hop, 3)).toBe(false);
    hop.app().end.stream?.reset();
    hop.pass();
    expect(asked(hop, 1, 1)).toBe(true);
  });
});
