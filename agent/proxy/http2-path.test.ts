import { describe, expect, test } from "bun:test";
import { answering, app, ok, settle } from "../../test/support/http-conversation.ts";
import { blockOf, GET_FIELDS, Http2End, POST_FIELDS } from "../../test/support/http2-end.ts";
import {
  CLIENT_ID,
  type FixtureOptions,
  MeshFixture,
  serverWorkload,
  service,
  VIP,
} from "../../test/support/mesh-fixture.ts";
import { CODE, FLAG, FRAME, SETTING } from "../protocol/http2/frame.ts";

const TO = { address: VIP, port: 80 };
const OK_5 = ["HEADERS 1 :status=200 content-length=5", "DATA 1 hello END"];

function dial(mesh: MeshFixture): Http2End {
  const end = new Http2End("client");
  end.attach(mesh.client.dialOut(TO, end));
  settle(mesh, 50);
  end.take();
  return end;
}

/** What a GET on stream 1 is answered. */
function asked(mesh: MeshFixture): string[] {
  const client = dial(mesh);
  client.headers(1, GET_FIELDS);
  settle(mesh);
  return client.take();
}

/** A mesh whose app answers every head with the same. */
function answered(text = ok(), options: FixtureOptions = {}): MeshFixture {
  const mesh = new MeshFixture(options);
  app(
    mesh,
    answering(() => text),
  );
  return mesh;
}

const refused = (mesh: MeshFixture, reason: string): number =>
  mesh.client.count("ironmesh_http2_refused_total", { reason });

describe("a client that speaks HTTP/2 to an app that speaks HTTP/1.1", () => {
  test("is answered through the mesh, with routes, identity, ids and metrics as any other", () => {
    const mesh = new MeshFixture();
    const apps = app(mesh, (end) => (end.text.endsWith("\r\n\r\n") ? ok() : undefined));
    const client = dial(mesh);
    client.headers(1, [...GET_FIELDS, ["x-a", "1"], ["te", "trailers"]]);
    settle(mesh);
    expect(client.take()).toEqual(OK_5);
    const seen = apps[0]?.text ?? "";
    expect(seen).toStartWith("GET /a?b=c HTTP/1.1\r\nhost: server\r\nx-a: 1\r\nte: trailers\r\n");
    expect(seen).toContain(`URI=${CLIENT_ID}\r\n`);
    expect(seen).toContain("traceparent: 00-");
    for (const [side, reporter] of [
      [mesh.client, "source"],
      [mesh.server, "destination"],
    ] as const)
      expect(side.count("istio_requests_total", { reporter, response_code: "200" })).toBe(1);
  });

  test("is HTTP/2 in the access log of its agent", () => {
    const mesh = answered(ok(), { accessLog: "on" });
    asked(mesh);
    expect(mesh.client.records().map((record) => record["protocol"])).toEqual(["HTTP/2"]);
    // Between agents it is HTTP/1.1 in streams.
    expect(mesh.server.records().map((record) => record["protocol"])).toEqual(["HTTP/1.1"]);
  });

  test("may have many streams under way, and each gets its own answer", () => {
    const mesh = new MeshFixture();
    app(mesh, (end) => {
      const path = /^GET (\S+)/.exec(end.take())?.[1] ?? "";
      return ok(`to ${path}`);
    });
    const client = dial(mesh);
    for (let id = 1; id < 200; id += 2)
      client.headers(id, [
        ...GET_FIELDS.slice(0, 2),
        [":path", `/${id}`],
        [":authority", "server"],
      ]);
    settle(mesh);
    const bodies = client.take().filter((line) => line.startsWith("DATA"));
    expect(bodies).toHaveLength(100);
    for (let id = 1; id < 200; id += 2) expect(bodies).toContain(`DATA ${id} to /${id} END`);
  });

  test("tells the loop of each head, also of those that one event brings", () => {
    const mesh = answered();
    const client = dial(mesh);
    const before = mesh.client.arrivals.messages;
    for (const id of [1, 3, 5]) client.headers(id, GET_FIELDS);
    settle(mesh);
    expect(mesh.client.arrivals.messages - before).toBe(3);
  });

  test("sends content with its length or without, and trailers, which reach the app", () => {
    const mesh = new MeshFixture();
    const apps = app(mesh, (end) => (/hello$|x-end: 1\r\n\r\n$/.test(end.text) ? ok() : undefined));
    const client = dial(mesh);
    client.headers(1, [...POST_FIELDS, ["content-length", "5"]], false);
    client.data(1, "hel");
    client.data(1, "lo", true);
    settle(mesh);
    expect(client.take()).toEqual(OK_5);
    client.headers(3, POST_FIELDS, false);
    client.data(3, "hello");
    client.headers(3, [["x-end", "1"]]);
    settle(mesh);
    const bodies = apps.map(({ text }) => text).join("");
    expect(bodies).toContain("\r\n\r\nhello");
    expect(bodies).toContain("\r\n\r\n5\r\nhello\r\n0\r\nx-end: 1\r\n\r\n");
  });

  test("gets chunks as data, interim responses, and trailers at the end", () => {
    const head = "HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\n";
    const body =
      "transfer-encoding: chunked\r\nConnection: x-hop\r\nX-Hop: 1\r\nX-Kept: 2\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n";
    expect(asked(answered(head + body))).toEqual([
      "HEADERS 1 :status=103 link=a",
      "HEADERS 1 :status=200 x-kept=2",
      "DATA 1 hi",
      "HEADERS 1 x-sum=7 END",
    ]);
  });

  test("gets responses without content as such", () => {
    expect(asked(answered("HTTP/1.1 204 No\r\n\r\n"))).toEqual(["HEADERS 1 :status=204 END"]);
    expect(asked(answered("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"))).toEqual([
      "HEADERS 1 :status=200 content-length=0 END",
    ]);
  });

  test("cookies in several fields are one field to an app of HTTP/1.1, RFC 9113 8.2.3", () => {
    const mesh = new MeshFixture();
    const apps = app(mesh, () => ok());
    const client = dial(mesh);
    client.headers(1, [...GET_FIELDS, ["cookie", "a=1"], ["x", "y"], ["cookie", "b=2"]]);
    settle(mesh);
    expect(apps[0]?.text).toContain("cookie: a=1; b=2\r\nx: y\r\n");
  });

  test("a body of any size passes both ways within the windows of both ends", () => {
    const big = "x".repeat(300_000);
    for (const splits of [false, true]) {
      const mesh = new MeshFixture({ network: { splits }, seed: 5 });
      app(mesh, (end) =>
        end.text.length > 300_000 && end.text.endsWith("0\r\n\r\n") ? ok(big) : undefined,
      );
      const client = dial(mesh);
      client.headers(1, POST_FIELDS, false);
      let sent = 0;
      for (let turn = 0; sent < big.length && turn < 400; turn++) {
        const allowed = Math.min(
          65_535 + (client.credit.get(1) ?? 0) - sent,
          65_535 + (client.credit.get(0) ?? 0) - sent,
          16_384,
          big.length - sent,
        );
        if (allowed > 0) client.data(1, big.slice(0, allowed), sent + allowed === big.length);
        sent += allowed;
        settle(mesh, 20);
      }
      settle(mesh, 3_000);
      const lines = client.take();
      const received = lines
        .filter((line) => line.startsWith("DATA 1"))
        .map((line) => line.split(" ")[2] ?? "");
      expect(received.join("")).toBe(big);
      expect(lines.at(-1)).toEndWith(" END");
    }
  });

  test("a window that is full holds up its own stream and no other", () => {
    const mesh = answered(ok("y".repeat(100_000)));
    const client = dial(mesh);
    client.isPolite = false;
    client.word(FRAME.windowUpdate, 0, 1_000_000);
    client.headers(1, GET_FIELDS);
    settle(mesh);
    const bytes = (lines: string[], id: number) =>
      lines.reduce(
        (sum, line) =>
          sum + (line.startsWith(`DATA ${id} `) ? (line.split(" ")[2]?.length ?? 0) : 0),
        0,
      );
    const first = client.take();
    expect(bytes(first, 1)).toBe(65_535);
    client.headers(3, GET_FIELDS);
    settle(mesh);
    expect(bytes(client.take(), 3)).toBe(65_535);
    client.word(FRAME.windowUpdate, 1, 40_000);
    settle(mesh);
    expect(bytes(client.take(), 1)).toBe(100_000 - 65_535);
    // A smaller initial window makes what is left negative, RFC 9113 6.9.2.
    client.setting(SETTING.initialWindowSize, 10);
    client.headers(5, GET_FIELDS);
    settle(mesh);
    expect(bytes(client.take(), 5)).toBe(10);
  });
});

describe("an app that speaks HTTP/2", () => {
  const http2Mesh = (options: FixtureOptions = {}): { mesh: MeshFixture; apps: Http2End[] } => {
    const mesh = new MeshFixture(options);
    const [port] = serverWorkload().ports;
    if (port === undefined) throw new Error("the fixture has a port");
    mesh.swapServer({ workloads: [serverWorkload({ ports: [{ ...port, speaks: "http2" }] })] });
    const apps: Http2End[] = [];
    mesh.server.network.listen(8080, (stream) => apps.push(new Http2End("server").attach(stream)));
    return { mesh, apps };
  };

  test("is asked in HTTP/2, whatever the client speaks, over one connection", () => {
    const { mesh, apps } = http2Mesh();
    const client = dial(mesh);
    client.headers(1, [...GET_FIELDS, ["te", "trailers"]]);
    settle(mesh, 20);
    client.headers(3, POST_FIELDS, false);
    client.data(3, "abc");
    settle(mesh, 20);
    const [asked] = apps;
    expect(apps).toHaveLength(1);
    const seen = asked?.take().join("\n") ?? "";
    expect(seen).toMatch(
      /^(SETTINGS ACK\n)?HEADERS 1 :method=GET :scheme=http :path=\/a\?b=c :authority=server te=trailers /,
    );
    expect(seen).toContain(`URI=${CLIENT_ID} END`);
    expect(seen).toContain("HEADERS 3 :method=POST");
    expect(seen).toContain("DATA 3 abc");
    // The answer to a request that still comes, both ways at once, and trailers.
    asked?.headers(
      3,
      [
        [":status", "200"],
        ["content-type", "application/grpc"],
      ],
      false,
    );
    asked?.data(3, "one");
    settle(mesh, 20);
    expect(client.take()).toEqual([
      "HEADERS 3 :status=200 content-type=application/grpc",
      "DATA 3 one",
    ]);
    client.data(3, "more", true);
    settle(mesh, 20);
    expect(asked?.take()).toEqual(["DATA 3 more END"]);
    asked?.headers(3, [["grpc-status", "0"]]);
    asked?.headers(1, [
      [":status", "200"],
      ["grpc-status", "5"],
    ]);
    settle(mesh, 20);
    expect(client.take().sort()).toEqual([
      "HEADERS 1 :status=200 grpc-status=5 content-length=0 END",
      "HEADERS 3 grpc-status=0 END",
    ]);
  });

  test("a client that gives up has its stream reset at the app, and an app that does has it reset at the client", () => {
    const { mesh, apps } = http2Mesh();
    const client = dial(mesh);
    client.headers(1, POST_FIELDS, false);
    settle(mesh, 20);
    client.word(FRAME.rstStream, 1, CODE.cancel);
    settle(mesh, 20);
    expect(apps[0]?.take()).toContain(`RST 1 ${CODE.cancel}`);
    client.headers(3, GET_FIELDS);
    settle(mesh, 20);
    apps[0]?.headers(3, [[":status", "200"]], false);
    settle(mesh, 20);
    apps[0]?.word(FRAME.rstStream, 3, CODE.internalError);
    settle(mesh, 20);
    expect(client.take()).toEqual(["HEADERS 3 :status=200", `RST 3 ${CODE.internalError}`]);
    expect(mesh.server.count("istio_requests_total", { response_flags: "UC" })).toBe(1);
  });

  test("responses that are malformed are answered 502, and counted", () => {
    for (const [fields, reason] of [
      [[["x-a", "1"]], "pseudo_field"],
      [[[":status", "101"]], "pseudo_field"],
      [
        [
          [":status", "200"],
          ["X-A", "1"],
        ],
        "field_name",
      ],
      [
        [
          [":status", "200"],
          ["x-a", "1\r\nx-b: 2"],
        ],
        "field_value",
      ],
      [
        [
          [":status", "200"],
          ["connection", "close"],
        ],
        "connection_field",
      ],
      [
        [
          [":status", "200"],
          ["content-length", "3"],
        ],
        "content_length",
      ],
    ] as const) {
      const { mesh, apps } = http2Mesh();
      const client = dial(mesh);
      client.headers(1, POST_FIELDS);
      settle(mesh, 20);
      apps[0]?.headers(1, fields);
      settle(mesh);
      expect(client.take()[0]).toMatch(/^HEADERS 1 :status=50[23] /);
      expect(mesh.server.count("ironmesh_http2_refused_total", { reason })).toBe(1);
    }
  });

  test("a server that goes away loses nothing it did not begin, and the next request finds another connection", () => {
    const { mesh, apps } = http2Mesh();
    const client = dial(mesh);
    client.headers(1, GET_FIELDS);
    settle(mesh, 20);
    const payload = new Uint8Array(8);
    payload[3] = 1;
    apps[0]?.frame(FRAME.goaway, 0, 0, payload);
    settle(mesh, 20);
    client.headers(3, GET_FIELDS);
    settle(mesh, 20);
    expect(apps).toHaveLength(2);
    apps[1]?.headers(1, [[":status", "204"]]);
    apps[0]?.headers(1, [[":status", "204"]]);
    settle(mesh);
    expect(client.take().sort()).toEqual([
      "HEADERS 1 :status=204 END",
      "HEADERS 3 :status=204 END",
    ]);
    expect(apps[0]?.isClosed).toBe(true);
  });

  test("no more streams than it allows are begun; the others wait", () => {
    const { mesh, apps } = http2Mesh();
    mesh.server.network.listen(8080, (stream) => {
      const one = new Http2End("server").attach(stream);
      one.setting(SETTING.maxConcurrentStreams, 1);
      apps.push(one);
    });
    const client = dial(mesh);
    client.headers(1, GET_FIELDS);
    settle(mesh, 40);
    client.headers(3, GET_FIELDS);
    settle(mesh, 40);
    const heads = () => apps[0]?.take().filter((line) => line.startsWith("HEADERS")).length;
    expect(heads()).toBe(1);
    apps[0]?.headers(1, [[":status", "204"]]);
    settle(mesh, 40);
    expect(heads()).toBe(1);
    apps[0]?.headers(3, [[":status", "204"]]);
    settle(mesh, 40);
    expect(client.take()).toEqual(["HEADERS 1 :status=204 END", "HEADERS 3 :status=204 END"]);
  });

  test("a service that no agent guards is asked in HTTP/2 where its port says so", () => {
    const mesh = new MeshFixture();
    const apps: Http2End[] = [];
    mesh.fabric
      .host("10.0.0.9")
      .listen(8080, (stream) => apps.push(new Http2End("server").attach(stream)));
    const [port] = service().ports;
    if (port === undefined) throw new Error("the fixture has a port");
    const base = mesh.client.plane.view?.snapshot.endpoints[0];
    if (base === undefined) throw new Error("the fixture has an endpoint");
    mesh.swapClient({
      services: [service({ ports: [{ ...port, speaks: "http2" }] })],
      endpoints: [{ ...base, address: "10.0.0.9", mesh: undefined }],
    });
    dial(mesh).headers(1, GET_FIELDS);
    settle(mesh);
    expect(apps[0]?.take().join()).toContain("HEADERS 1 :method=GET");
  });
});

describe("requests that are malformed, RFC 9113 8.1.1", () => {
  test.each([
    ["an upper-case name", [...GET_FIELDS, ["X-A", "1"]], "field_name"],
    ["no name", [...GET_FIELDS, ["", "1"]], "field_name"],
    ["a colon in a name", [...GET_FIELDS, ["x:a", "1"]], "field_name"],
    ["a line end in a value", [...GET_FIELDS, ["x-a", "1\r\nx-evil: 2"]], "field_value"],
    ["a NUL in a value", [...GET_FIELDS, ["x-a", "1\0"]], "field_value"],
    ["a blank around a value", [...GET_FIELDS, ["x-a", " 1"]], "field_value"],
    ["connection", [...GET_FIELDS, ["connection", "close"]], "connection_field"],
    ["transfer-encoding", [...GET_FIELDS, ["transfer-encoding", "chunked"]], "connection_field"],
    ["upgrade", [...GET_FIELDS, ["upgrade", "websocket"]], "connection_field"],
    ["keep-alive", [...GET_FIELDS, ["keep-alive", "1"]], "connection_field"],
    ["proxy-connection", [...GET_FIELDS, ["proxy-connection", "1"]], "connection_field"],
    ["te of more than trailers", [...GET_FIELDS, ["te", "gzip"]], "connection_field"],
    ["no method", GET_FIELDS.slice(1), "pseudo_field"],
    ["no path", GET_FIELDS.filter(([name]) => name !== ":path"), "pseudo_field"],
    ["no scheme", GET_FIELDS.filter(([name]) => name !== ":scheme"), "pseudo_field"],
    ["two methods", [GET_FIELDS[0], ...GET_FIELDS], "pseudo_field"],
    [
      "a pseudo-header field behind others",
      [...GET_FIELDS.slice(0, 3), ["x", "y"], [":authority", "a"]],
      "pseudo_field",
    ],
    ["a status", [...GET_FIELDS, [":status", "200"]], "pseudo_field"],
    ["an unknown pseudo-header field", [...GET_FIELDS, [":protocol", "websocket"]], "pseudo_field"],
    [
      "an empty path",
      [...GET_FIELDS.slice(0, 2), [":path", ""], [":authority", "a"]],
      "pseudo_field",
    ],
    [
      "a path with a blank",
      [...GET_FIELDS.slice(0, 2), [":path", "/a b"], [":authority", "a"]],
      "pseudo_field",
    ],
    [
      "a path that is a URI",
      [...GET_FIELDS.slice(0, 2), [":path", "http://a/"], [":authority", "a"]],
      "pseudo_field",
    ],
    ["a method with a blank", [[":method", "GET /x"], ...GET_FIELDS.slice(1)], "pseudo_field"],
    [
      "a line end in the authority",
      [...GET_FIELDS.slice(0, 3), [":authority", "a\r\nx: y"]],
      "pseudo_field",
    ],
    ["a host that is another", [...GET_FIELDS, ["host", "other"]], "host"],
    ["two hosts", [...GET_FIELDS.slice(0, 3), ["host", "a"], ["host", "a"]], "host"],
    [
      "a length with content that is none",
      [...GET_FIELDS, ["content-length", "1"]],
      "content_length",
    ],
    ["a length that is no number", [...GET_FIELDS, ["content-length", "+1"]], "content_length"],
    [
      "two lengths",
      [...GET_FIELDS, ["content-length", "0"], ["content-length", "0"]],
      "content_length",
    ],
    ["CONNECT with a path", [[":method", "CONNECT"], ...GET_FIELDS.slice(1)], "pseudo_field"],
  ] as const)("%s: the stream is reset, the connection lives", (_, fields, reason) => {
    const mesh = answered();
    const client = dial(mesh);
    client.headers(1, fields as typeof GET_FIELDS);
    client.headers(3, GET_FIELDS);
    settle(mesh);
    expect(client.take()).toEqual([
      `RST 1 ${CODE.protocolError}`,
      ...OK_5.map((line) => line.replace(" 1 ", " 3 ")),
    ]);
    expect(refused(mesh, reason)).toBe(1);
  });

  test("content that is longer or shorter than its length, and trailers behind a length", () => {
    const mesh = answered();
    const client = dial(mesh);
    const withLength = [...POST_FIELDS, ["content-length", "3"]] as const;
    client.headers(1, withLength, false);
    client.data(1, "abcd");
    client.headers(3, withLength, false);
    client.data(3, "ab", true);
    client.headers(5, withLength, false);
    client.data(5, "abc");
    client.headers(5, [["x-end", "1"]]);
    client.headers(7, POST_FIELDS, false);
    client.headers(7, [[":path", "/"]]);
    client.headers(9, POST_FIELDS, false);
    client.headers(9, [["x-end", "1"]], false);
    settle(mesh);
    expect(client.take()).toEqual([
      `RST 1 ${CODE.protocolError}`,
      `RST 3 ${CODE.protocolError}`,
      `RST 5 ${CODE.http11Required}`,
      `RST 7 ${CODE.protocolError}`,
      `RST 9 ${CODE.protocolError}`,
    ]);
    expect(mesh.server.count("istio_requests_total", { response_code: "200" })).toBe(0);
  });

  test("what is well-formed and cannot be served is answered 400: another scheme, CONNECT, no authority", () => {
    const mesh = answered();
    const client = dial(mesh);
    client.headers(1, [GET_FIELDS[0] ?? ["", ""], [":scheme", "https"], ...GET_FIELDS.slice(2)]);
    client.headers(3, [
      [":method", "CONNECT"],
      [":authority", "server:80"],
    ]);
    client.headers(5, GET_FIELDS.slice(0, 3));
    settle(mesh);
    const heads = client.take().filter((line) => line.startsWith("HEADERS"));
    expect(heads).toHaveLength(3);
    for (const head of heads) expect(head).toContain(":status=400");
  });

  test("more fields than a head may have is 431, and the next stream is served", () => {
    const mesh = answered();
    const client = dial(mesh);
    client.headers(1, [
      ...GET_FIELDS,
      ...Array.from({ length: 120 }, (_, i) => [`x-${i}`, "1"] as const),
    ]);
    client.headers(3, [
      ...GET_FIELDS,
      ...Array.from({ length: 100 }, (_, i) => [`x-${i}`, "1"] as const),
    ]);
    client.headers(5, GET_FIELDS);
    settle(mesh);
    const seen = client.take();
    expect(seen.filter((line) => line.includes(":status=431"))).toHaveLength(2);
    expect(seen).toContain("DATA 5 hello END");
  });
});

describe("mistakes that end the connection", () => {
  const data = new Uint8Array(3);
  const block = blockOf(GET_FIELDS);
  const cases: readonly (readonly [string, (client: Http2End) => void, number])[] = [
    [
      "a frame longer than we take",
      (c) => c.frame(FRAME.data, 0, 1, new Uint8Array(16_385)),
      CODE.frameSizeError,
    ],
    ["DATA of stream 0", (c) => c.frame(FRAME.data, 0, 0, data), CODE.protocolError],
    ["DATA of a stream that never was", (c) => c.frame(FRAME.data, 0, 1, data), CODE.protocolError],
    [
      "padding that is longer than its frame",
      (c) => c.frame(FRAME.headers, FLAG.padded | FLAG.endHeaders, 1, Uint8Array.from([9, 1])),
      CODE.protocolError,
    ],
    ["HEADERS of stream 0", (c) => c.headers(0, GET_FIELDS), CODE.protocolError],
    ["HEADERS of a stream of ours", (c) => c.headers(2, GET_FIELDS), CODE.protocolError],
    [
      "a stream below one that was",
      (c) => {
        c.headers(5, GET_FIELDS);
        c.headers(3, GET_FIELDS);
      },
      CODE.protocolError,
    ],
    [
      "a block that is none",
      (c) => c.frame(FRAME.headers, FLAG.endHeaders, 1, Uint8Array.from([0x80])),
      CODE.compressionError,
    ],
    [
      "CONTINUATION of nothing",
      (c) => c.frame(FRAME.continuation, FLAG.endHeaders, 1, block),
      CODE.protocolError,
    ],
    [
      "another frame within a block",
      (c) => {
        c.frame(FRAME.headers, 0, 1, block);
        c.frame(FRAME.ping, 0, 0, new Uint8Array(8));
      },
      CODE.protocolError,
    ],
    [
      "CONTINUATION of another stream",
      (c) => {
        c.frame(FRAME.headers, 0, 1, block);
        c.frame(FRAME.continuation, 4, 3, block);
      },
      CODE.protocolError,
    ],
    ["SETTINGS of a stream", (c) => c.frame(FRAME.settings, 0, 1), CODE.protocolError],
    ["SETTINGS of another length", (c) => c.frame(FRAME.settings, 0, 0, data), CODE.frameSizeError],
    [
      "an answer to SETTINGS with content",
      (c) => c.frame(FRAME.settings, FLAG.ack, 0, new Uint8Array(6)),
      CODE.frameSizeError,
    ],
    [
      "a window larger than can be",
      (c) => c.setting(SETTING.initialWindowSize, 0x8000_0000),
      CODE.flowControlError,
    ],
    [
      "a frame size smaller than can be",
      (c) => c.setting(SETTING.maxFrameSize, 100),
      CODE.protocolError,
    ],
    ["push that is neither", (c) => c.setting(SETTING.enablePush, 2), CODE.protocolError],
    [
      "PUSH_PROMISE",
      (c) => c.frame(FRAME.pushPromise, 4, 1, new Uint8Array(5)),
      CODE.protocolError,
    ],
    ["PING of a stream", (c) => c.frame(FRAME.ping, 0, 1, new Uint8Array(8)), CODE.protocolError],
    ["PING of another length", (c) => c.frame(FRAME.ping, 0, 0, data), CODE.frameSizeError],
    [
      "GOAWAY of a stream",
      (c) => c.frame(FRAME.goaway, 0, 1, new Uint8Array(8)),
      CODE.protocolError,
    ],
    [
      "RST_STREAM of a stream that never was",
      (c) => c.word(FRAME.rstStream, 1, 0),
      CODE.protocolError,
    ],
    [
      "RST_STREAM of another length",
      (c) => c.frame(FRAME.rstStream, 0, 1, data),
      CODE.frameSizeError,
    ],
    [
      "PRIORITY of stream 0",
      (c) => c.frame(FRAME.priority, 0, 0, new Uint8Array(5)),
      CODE.protocolError,
    ],
    [
      "WINDOW_UPDATE of another length",
      (c) => c.frame(FRAME.windowUpdate, 0, 0, data),
      CODE.frameSizeError,
    ],
    ["WINDOW_UPDATE by nothing", (c) => c.word(FRAME.windowUpdate, 0, 0), CODE.protocolError],
    [
      "WINDOW_UPDATE beyond what can be",
      (c) => c.word(FRAME.windowUpdate, 0, 0x7fff_ffff),
      CODE.flowControlError,
    ],
    [
      "WINDOW_UPDATE of a stream that never was",
      (c) => c.word(FRAME.windowUpdate, 7, 1),
      CODE.protocolError,
    ],
  ];
  test.each(cases)("%s", (_, make, code) => {
    const mesh = answered();
    const client = dial(mesh);
    make(client);
    settle(mesh, 2_000);
    expect(
      client
        .take()
        .filter((line) => line.startsWith("GOAWAY"))
        .map((line) => Number(line.split(" ")[2])),
    ).toEqual([code]);
    expect(client.isClosed).toBe(true);
    expect(mesh.client.plane.openConnections).toBe(0);
  });

  test("more content than the windows allow", () => {
    const mesh = new MeshFixture();
    mesh.server.network.listen(8080, (stream) => stream.pause());
    const client = dial(mesh);
    client.headers(1, POST_FIELDS, false);
    for (let i = 0; i < 80; i++) client.frame(FRAME.data, 0, 1, new Uint8Array(16_384));
    settle(mesh, 500);
    expect(refused(mesh, "flow_control")).toBe(1);
    expect(client.take()).toEqual([`RST 1 ${CODE.flowControlError}`]);
  });

  test("a preface that is none, and a first frame that is no SETTINGS", () => {
    const mesh = answered();
    const client = new Http2End("client");
    client.attach(mesh.client.dialOut(TO, client));
    settle(mesh, 20);
    const other = new Http2End("server"); // says no preface
    other.attach(mesh.client.dialOut(TO, other));
    settle(mesh);
    expect(other.isClosed).toBe(true);
    expect(client.isClosed).toBe(false);
  });
});

describe("floods", () => {
  const flooded = (make: (client: Http2End, mesh: MeshFixture) => void, reason: string): void => {
    const mesh = answered();
    const client = dial(mesh);
    make(client, mesh);
    settle(mesh, 2_000);
    expect(refused(mesh, reason)).toBe(1);
    expect(client.isClosed).toBe(true);
    expect(mesh.client.plane.openConnections).toBe(0);
  };

  test("rapid reset", () =>
    flooded((client) => {
      for (let id = 1; id < 2_400; id += 2) {
        client.headers(id, GET_FIELDS);
        client.word(FRAME.rstStream, id, CODE.cancel);
      }
    }, "rapid_reset"));

  test("made you reset: mistakes of streams", () =>
    flooded((client) => {
      for (let id = 1; id < 2_400; id += 2) {
        client.headers(id, GET_FIELDS);
        client.word(FRAME.windowUpdate, id, 0);
      }
    }, "made_you_reset"));

  test("SETTINGS, PING, PRIORITY, empty DATA, frames nobody knows", () => {
    for (const [reason, send] of [
      ["settings_flood", (client: Http2End) => client.frame(FRAME.settings, 0, 0)],
      ["ping_flood", (client: Http2End) => client.frame(FRAME.ping, 0, 0, new Uint8Array(8))],
      [
        "priority_flood",
        (client: Http2End) => client.frame(FRAME.priority, 0, 1, new Uint8Array(5)),
      ],
      ["empty_data", (client: Http2End) => client.frame(FRAME.data, 0, 1)],
      ["unknown_frames", (client: Http2End) => client.frame(99, 0, 1)],
    ] as const)
      flooded((client) => {
        client.headers(1, POST_FIELDS, false);
        for (let i = 0; i < 12_000; i++) send(client);
      }, reason);
  });

  test("CONTINUATION without end", () =>
    flooded((client) => {
      client.frame(FRAME.headers, 0, 1);
      for (let i = 0; i < 40; i++) client.frame(FRAME.continuation, 0, 1);
    }, "continuations"));

  test("streams beyond the limit are refused, and the others served", () => {
    const mesh = new MeshFixture();
    app(mesh, () => undefined);
    const client = dial(mesh);
    for (let id = 1; id <= 601; id += 2) client.headers(id, GET_FIELDS);
    settle(mesh);
    expect(client.take().filter((line) => line.endsWith(` ${CODE.refusedStream}`))).toHaveLength(
      51,
    );
  });

  test("a client that asks and does not read is cut, and holds little meanwhile", () => {
    const mesh = answered(ok("z".repeat(1_000)), { config: { streamIdleTimeoutMs: 5_000 } });
    const client = dial(mesh);
    client.isPolite = false;
    client.setting(SETTING.initialWindowSize, 0);
    for (let id = 1; id < 400; id += 2) client.headers(id, GET_FIELDS);
    settle(mesh, 20_000);
    expect(client.take().filter((line) => line.startsWith("RST"))).toHaveLength(200);
    expect(mesh.client.plane.openConnections).toBe(1);
  });

  test("a head that does not come to its end", () => {
    for (const begin of [
      (client: Http2End) => client.frame(FRAME.headers, 0, 1, blockOf(GET_FIELDS)),
      (client: Http2End) => client.end.send(Uint8Array.from([0, 0])),
    ]) {
      const mesh = answered();
      const client = dial(mesh);
      begin(client);
      settle(mesh, 9_000);
      expect(client.isClosed).toBe(false);
      settle(mesh, 2_000);
      expect(client.isClosed).toBe(true);
      expect(refused(mesh, "slow_head")).toBe(1);
    }
  });
});

describe("the end of a connection", () => {
  test("draining, a client is told, what it asked meanwhile is answered, and the connection closes", () => {
    const mesh = new MeshFixture();
    const apps = app(mesh, () => undefined);
    const client = dial(mesh);
    client.headers(1, GET_FIELDS);
    settle(mesh, 20);
    mesh.client.plane.drain();
    settle(mesh, 20);
    expect(client.take()).toEqual([`GOAWAY ${0x7fff_ffff} 0`, "GOAWAY 1 0"]);
    expect(client.isClosed).toBe(false);
    for (const one of apps) one.send(ok());
    settle(mesh, 2_000);
    expect(client.take()).toEqual(OK_5);
    expect(client.isClosed).toBe(true);
    expect(mesh.client.plane.openConnections).toBe(0);
  });

  test("idle for too long, it is ended in order", () => {
    const mesh = answered(ok(), { config: { idleTimeoutMs: 1_000 } });
    const client = dial(mesh);
    client.headers(1, GET_FIELDS);
    settle(mesh, 100);
    client.take();
    settle(mesh, 5_000);
    expect(client.take()[0]).toStartWith("GOAWAY");
    expect(client.isClosed).toBe(true);
  });

  test("a ping is answered", () => {
    const mesh = answered();
    const client = dial(mesh);
    client.frame(FRAME.ping, 0, 0, new Uint8Array(8).fill(7));
    settle(mesh);
    expect(client.take()).toEqual(["PONG"]);
  });

  test("a client that is gone leaves nothing behind", () => {
    const mesh = new MeshFixture();
    app(mesh, () => undefined);
    const client = dial(mesh);
    for (let id = 1; id < 40; id += 2) client.headers(id, GET_FIELDS);
    settle(mesh, 20);
    client.end.stream?.reset();
    settle(mesh);
    expect(mesh.client.plane.openConnections).toBe(0);
    expect(mesh.server.plane.openConnections).toBe(0);
    expect(mesh.client.count("istio_requests_total", { response_flags: "DC" })).toBe(20);
  });
});
