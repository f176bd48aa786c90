// RFC 8441, WebSocket over HTTP/2, by section and in both roles: what a client may ask of the agent, what the agent asks of an app.
import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { CODE, FLAG, FRAME, SETTING } from "../../../agent/protocol/http2/frame.ts";
import { type Fields, GET_FIELDS, Http2End } from "../../support/http2-end.ts";
import { ClientHop, EACH, ServerHop } from "../../support/http2-hop.ts";

const OFFER: Fields = [
  ["sec-websocket-version", "13"],
  ["sec-websocket-protocol", "chat, superchat"],
  ["sec-websocket-extensions", "permessage-deflate"],
  ["origin", "http://server"],
];
const asking = (protocol: string, more: Fields = OFFER): Fields => [
  [":method", "CONNECT"],
  [":protocol", protocol],
  ...GET_FIELDS.slice(1),
  ...more,
];
const WEBSOCKET = asking("websocket");
const without = (name: string): Fields => WEBSOCKET.filter((field) => field[0] !== name);

const acceptOf = (key: string): string =>
  createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
const keyIn = (text: string): string => /sec-websocket-key: (.*)\r\n/.exec(text)?.[1] ?? "";
const switching = (accept: string): string =>
  `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: chat\r\n\r\n`;
const OPENED = "HEADERS 1 :status=200 sec-websocket-protocol=chat";

/** A client has asked the agent for a WebSocket on stream 1. */
function asked(options: ConstructorParameters<typeof ServerHop>[0] = {}): ServerHop {
  const hop = new ServerHop({ ...options, answers: false });
  hop.client.headers(1, WEBSOCKET, false);
  return hop.pass();
}

/** And the app has opened it. */
function opened(options?: Parameters<typeof asked>[0]): ServerHop {
  const hop = asked(options);
  hop.apps[0]?.send(switching(acceptOf(keyIn(hop.seen))));
  hop.pass();
  expect(hop.client.take()).toEqual([OPENED]);
  const [app] = hop.apps;
  if (app !== undefined) app.text = "";
  return hop;
}

const GET_WEBSOCKET =
  "GET /chat HTTP/1.1\r\nhost: server\r\nconnection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-version: 13\r\n\r\n";
const offering = (): Http2End => {
  const end = new Http2End("server", true);
  end.setting(SETTING.enableConnectProtocol, 1);
  return end;
};
/** Somebody has asked for a WebSocket in HTTP/1.1, of an app that offers them. */
const wanted = (splits = false): ClientHop => {
  const hop = new ClientHop({ splits }, offering);
  hop.client.send(GET_WEBSOCKET);
  return hop.pass();
};
const headsIn = (hop: ClientHop): string[] =>
  hop
    .app()
    .take()
    .filter((line) => line.startsWith("HEADERS"));
const SWITCHED =
  "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";
function stands(splits = false): ClientHop {
  const hop = wanted(splits);
  hop.app().take();
  hop.app().headers(1, [[":status", "200"]], false);
  hop.pass();
  expect(hop.client.take()).toBe(`${SWITCHED}connection: upgrade\r\n\r\n`);
  return hop;
}

describe("3, the setting", () => {
  test("clients are told that they may, in the first settings", () => {
    const hop = new ServerHop();
    const end = new Http2End("client");
    const settings: number[][] = [];
    const { onData } = end;
    end.onData = (stream, bytes, start, stop) => {
      if (bytes[start + 3] === FRAME.settings && settings.length === 0)
        for (let at = start + 9; at < start + 9 + (bytes[start + 2] ?? 0); at += 6)
          settings.push([...bytes.subarray(at, at + 6)]);
      onData.call(end, stream, bytes, start, stop);
    };
    end.attach(hop.mesh.client.dialOut({ address: "240.240.0.1", port: 80 }, end));
    hop.pass();
    expect(settings).toContainEqual([0, SETTING.enableConnectProtocol, 0, 0, 0, 1]);
  });

  const WRONG: readonly (readonly [string, readonly number[]])[] = [
    ["another value than 0 or 1", [2]],
    ["0 after 1: what was offered is not taken back", [1, 0]],
  ];
  test.each(WRONG)("%s, by a client", (_rule, values) => {
    const hop = new ServerHop();
    for (const value of values) hop.client.setting(SETTING.enableConnectProtocol, value);
    hop.expectOver(CODE.protocolError);
  });

  test.each(WRONG)("%s, by an app", (_rule, values) => {
    const hop = new ClientHop().ask();
    for (const value of values) hop.app().setting(SETTING.enableConnectProtocol, value);
    hop.expectOver(CODE.protocolError);
  });

  test("an app is asked only once it has said that it may be", () => {
    const hop = new ClientHop({}, () => {
      const end = new Http2End("server", true);
      end.isPolite = false; // not an answer to our settings before its own
      return end;
    });
    hop.client.send(GET_WEBSOCKET);
    hop.pass();
    expect(hop.app().take()).toEqual([]);
    hop.app().setting(SETTING.enableConnectProtocol, 1);
    hop.pass();
    expect(headsIn(hop)[0]).toStartWith("HEADERS 1 :method=CONNECT :protocol=websocket");
  });

  test("an app that never offered it is not asked: 501, by the agent, and the app is as well as before", () => {
    const hop = new ClientHop();
    hop.client.send(GET_WEBSOCKET);
    hop.pass();
    expect(hop.statuses).toEqual([501]);
    expect(hop.client.text).toContain("takes no WebSockets over it (RFC 8441");
    expect(headsIn(hop)).toEqual([]);
    expect(hop.refused("no_tunnels")).toBe(1);
    hop.expectServing(0, 1);
    hop.expectNothingLeft();
  });
});

describe("4, the extended CONNECT method", () => {
  test.each([
    ["`:protocol` with another method than CONNECT", [[":protocol", "websocket"], ...GET_FIELDS]],
    ["without :scheme", without(":scheme")],
    ["without :path", without(":path")],
    ["`:protocol` twice", [[":protocol", "websocket"], ...WEBSOCKET]],
    ["an empty protocol", asking("")],
    ["what is no name of a protocol", asking("web socket")],
    ["`:protocol` behind a field", [...without(":protocol"), [":protocol", "websocket"]]],
    ["a length", [...WEBSOCKET, ["content-length", "5"]]],
    ["8.2.2 of RFC 9113 holds: no Upgrade", [...WEBSOCKET, ["upgrade", "websocket"]]],
    ["nor Connection", [...WEBSOCKET, ["connection", "upgrade"]]],
  ] as readonly (readonly [string, Fields])[])("malformed: %s", (_rule, fields) => {
    for (const options of EACH) {
      const hop = new ServerHop(options);
      hop.client.headers(1, fields, false);
      hop.pass();
      expect(hop.client.take()).toEqual([`RST 1 ${CODE.protocolError}`]);
      expect(hop.seen).toBe("");
      hop.expectServing(3);
    }
  });

  test.each(["connect-udp", "connect-ip", "webtransport", "x"])(
    "another protocol is answered 501 and counted: %s",
    (protocol) => {
      const hop = new ServerHop();
      hop.client.headers(1, asking(protocol), false);
      hop.pass();
      expect(hop.client.take()).toEqual(["HEADERS 1 :status=501 END", `RST 1 ${CODE.noError}`]);
      expect(hop.refused("protocol_unsupported")).toBe(1);
      expect(hop.seen).toBe("");
      hop.expectServing(3);
    },
  );

  test("CONNECT without a protocol is refused as it was", () => {
    const hop = new ServerHop();
    hop.client.headers(1, [
      [":method", "CONNECT"],
      [":authority", "server:80"],
    ]);
    hop.pass();
    expect(hop.client.take()[0]).toStartWith("HEADERS 1 :status=400 ");
    expect(hop.seen).toBe("");
  });

  test("the authority says whom the request is for, and is nobody that is dialled", () => {
    const hop = new ServerHop({ answers: false });
    const fields = WEBSOCKET.map((field) =>
      field[0] === ":authority" ? ([":authority", "10.9.9.9:22"] as const) : field,
    );
    hop.client.headers(1, fields, false);
    hop.pass();
    expect(hop.seen).toContain("GET /a?b=c HTTP/1.1\r\nhost: 10.9.9.9:22\r\n");
  });
});

describe("5, WebSocket of a client", () => {
  test("an app of HTTP/1.1 is asked by RFC 6455, with a key of ours and the client's own offer", () => {
    for (const options of EACH) {
      const hop = asked(options);
      const [head = ""] = hop.seen.split("\r\n\r\n");
      expect(head).toStartWith("GET /a?b=c HTTP/1.1\r\nhost: server\r\n");
      const lines = head.split("\r\n");
      for (const [name, value] of OFFER) expect(lines).toContain(`${name}: ${value}`);
      expect(lines).toContain("upgrade: websocket");
      expect(lines).toContain("connection: upgrade");
      expect(keyIn(hop.seen)).toMatch(/^[A-Za-z0-9+/]{22}==$/);
      expect(head).not.toMatch(/transfer-encoding|content-length/);
    }
  });

  test("each has a key of its own, and one that a client sends goes nowhere", () => {
    const keys = [1, 2].map(() => {
      const hop = new ServerHop({ answers: false });
      hop.client.headers(1, [...WEBSOCKET, ["sec-websocket-key", "client"]], false);
      hop.pass();
      expect(hop.seen).not.toContain("client");
      return keyIn(hop.seen);
    });
    expect(keys[0]).not.toBe(keys[1]);
  });

  test("the app's 101 is a 200 without what was for HTTP/1.1, and bytes go both ways as they are", () => {
    for (const options of EACH) {
      const hop = opened(options);
      hop.client.data(1, "\x01\x00GET / HTTP/1.1\r\n\r\n");
      hop.pass();
      hop.apps[0]?.send("0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n");
      hop.pass();
      expect(hop.seen).toBe("\x01\x00GET / HTTP/1.1\r\n\r\n");
      expect(hop.heard()).toEqual(["DATA 1 0\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"]);
      hop.client.end.stream?.reset();
      hop.expectNothingLeft();
    }
  });

  test.each([
    ["no Sec-WebSocket-Accept", () => switching("").replace(/Sec-WebSocket-Accept: \r\n/, "")],
    ["that of another key", () => switching(acceptOf("dGhlIHNhbXBsZSBub25jZQ=="))],
    [
      "two",
      (key: string) =>
        `${switching(acceptOf(key))}`.replace(
          "Sec-WebSocket-P",
          "Sec-WebSocket-Accept: x\r\nSec-WebSocket-P",
        ),
    ],
    ["another protocol", (key: string) => switching(acceptOf(key)).replace("websocket\r", "x\r")],
    [
      "a 200, which to the client would be a tunnel",
      () => "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ],
    ["a 204", () => "HTTP/1.1 204 X\r\n\r\n"],
  ])(
    "an app's answer that no client of HTTP/1.1 would take for a WebSocket is a 502: %s",
    (_how, answer) => {
      for (const options of EACH) {
        const hop = asked(options);
        hop.apps[0]?.send(answer(keyIn(hop.seen)));
        hop.pass();
        expect(hop.client.take()[0]).toStartWith("HEADERS 1 :status=502 ");
        hop.expectNothingLeft();
      }
    },
  );

  test("a refusal of the app's is its answer, and what the client said in the tunnel is nobody's", () => {
    for (const options of EACH) {
      const hop = asked(options);
      hop.client.data(1, "GET /smuggled HTTP/1.1\r\nhost: server\r\n\r\n");
      hop.pass();
      hop.apps[0]?.send("HTTP/1.1 403 No\r\ncontent-length: 2\r\n\r\nno");
      hop.pass();
      expect(hop.heard()).toEqual([
        "HEADERS 1 :status=403 content-length=2",
        "DATA 1 no END",
        `RST 1 ${CODE.noError}`,
      ]);
      expect(hop.seen).not.toContain("smuggled");
      // The lane takes the next stream.
      hop.client.headers(3, GET_FIELDS);
      hop.pass();
      expect(hop.seen).toContain("GET /a?b=c HTTP/1.1\r\nhost: server\r\nx-request-id");
      expect(hop.seen).not.toContain("smuggled");
    }
  });

  test("what the client says before the answer comes to the app behind its 101, an end too", () => {
    for (const options of EACH) {
      const hop = asked(options);
      hop.client.data(1, "early ");
      hop.client.data(1, "bird", true);
      hop.pass();
      expect(hop.seen).not.toContain("early");
      const [app] = hop.apps;
      app?.send(switching(acceptOf(keyIn(hop.seen))));
      hop.pass();
      expect(hop.seen).toEndWith("\r\n\r\nearly bird");
      expect(app?.hasEnded).toBe(true);
      app?.send("bye");
      app?.end();
      hop.pass();
      const heard = hop.heard();
      expect(heard[0]).toBe(OPENED);
      expect(heard.slice(1).join("")).toBe("DATA 1 bye END");
      hop.expectNothingLeft();
    }
  });

  test("END_STREAM with the request is a client that has nothing to say", () => {
    const hop = new ServerHop({ answers: false });
    hop.client.headers(1, WEBSOCKET, true);
    hop.pass();
    const [app] = hop.apps;
    app?.send(`${switching(acceptOf(keyIn(hop.seen)))}hi`);
    hop.pass();
    expect(app?.hasEnded).toBe(true);
    app?.end();
    hop.pass();
    expect(hop.heard()).toEqual([OPENED, "DATA 1 hi END"]);
    hop.expectNothingLeft();
  });

  test("END_STREAM is an orderly end of one direction, each way, and the other goes on", () => {
    for (const options of EACH) {
      const first = opened(options);
      first.client.data(1, "last", true);
      first.pass();
      expect(first.seen).toBe("last");
      expect(first.apps[0]?.hasEnded).toBe(true);
      first.apps[0]?.send("still here");
      first.pass();
      expect(first.heard()).toEqual(["DATA 1 still here"]);
      first.apps[0]?.end();
      first.pass();
      expect(first.client.take()).toEqual(["DATA 1  END"]);
      first.expectNothingLeft();

      const second = opened(options);
      second.apps[0]?.send("last");
      second.apps[0]?.end();
      second.pass();
      expect(second.heard().join("")).toBe("DATA 1 last END");
      second.client.data(1, "still here");
      second.pass();
      expect(second.seen).toBe("still here");
      second.client.frame(FRAME.data, FLAG.endStream, 1);
      second.pass();
      expect(second.apps[0]?.closed).toEqual({ is: "ended" });
      second.expectNothingLeft();
    }
  });

  test("RST_STREAM is a reset, each way, with CANCEL from us", () => {
    for (const options of EACH) {
      const hop = opened(options);
      hop.client.word(FRAME.rstStream, 1, CODE.cancel);
      hop.pass();
      expect(hop.apps[0]?.closed).toEqual({ is: "failed", code: "ECONNRESET" });
      hop.expectNothingLeft();

      const other = opened(options);
      other.apps[0]?.stream?.reset();
      other.pass();
      expect(other.client.take()).toEqual([`RST 1 ${CODE.cancel}`]);
      other.expectNothingLeft();
    }
  });

  test("a reset while the app thinks about it, and the end of the connection, are resets to the app", () => {
    for (const say of [
      (hop: ServerHop) => hop.client.word(FRAME.rstStream, 1, CODE.cancel),
      (hop: ServerHop) => hop.client.end.stream?.reset(),
    ]) {
      for (const begin of [asked, opened]) {
        const hop = begin();
        hop.client.data(1, "unread");
        say(hop);
        hop.pass();
        expect(hop.apps[0]?.closed).toEqual({ is: "failed", code: "ECONNRESET" });
        hop.expectNothingLeft();
      }
    }
  });

  test("8.5 of RFC 9113: fields in a tunnel are a stream error", () => {
    const hop = opened();
    hop.client.headers(1, [["x-end", "1"]]);
    hop.pass();
    expect(hop.client.take()).toEqual([`RST 1 ${CODE.protocolError}`]);
    expect(hop.apps[0]?.closed).toEqual({ is: "failed", code: "ECONNRESET" });
    expect(hop.refused("fields_in_tunnel")).toBe(1);
  });

  test("much goes both ways within the windows, and what is not read stays with its sender", () => {
    const big = "x".repeat(300_000);
    for (const options of EACH) {
      const hop = opened(options);
      hop.apps[0]?.send(big);
      hop.pass(2_000);
      expect(hop.heard().join("").slice(7)).toBe(big);
      hop.apps[0]?.stream?.pause();
      let sent = 0;
      for (let allowed = 65_535; sent + 16_384 <= allowed && sent < 2_000_000; sent += 16_384) {
        hop.client.data(1, "y".repeat(16_384));
        hop.pass(20);
        allowed = 65_535 + (hop.client.credit.get(1) ?? 0);
      }
      expect(sent).toBeLessThan(600_000);
      hop.client.end.stream?.reset();
      hop.expectNothingLeft();
    }
  });

  test("other streams of the connection are served beside it", () => {
    const hop = new ServerHop();
    hop.client.headers(1, WEBSOCKET, false);
    hop.pass();
    hop.client.take();
    for (let id = 3; id < 20; id += 2) hop.expectServing(id);
  });
});

describe("5, WebSocket to an app of HTTP/2", () => {
  test("is asked for by CONNECT without the handshake of HTTP/1.1, and its client gets the 101 that it can check", () => {
    for (const splits of [false, true]) {
      const hop = wanted(splits);
      const [head = ""] = headsIn(hop);
      expect(head).toStartWith(
        "HEADERS 1 :method=CONNECT :protocol=websocket :scheme=http :path=/chat :authority=server sec-websocket-version=13",
      );
      expect(head).not.toMatch(/sec-websocket-key|upgrade|connection=| END$/);
      hop.app().headers(
        1,
        [
          [":status", "200"],
          ["sec-websocket-protocol", "chat"],
          ["sec-websocket-accept", "mine"],
        ],
        false,
      );
      hop.pass();
      expect(hop.client.take()).toBe(
        `${SWITCHED}sec-websocket-protocol: chat\r\nconnection: upgrade\r\n\r\n`,
      );
    }
  });

  test("bytes go both ways, each direction ends by itself", () => {
    for (const splits of [false, true]) {
      const hop = stands(splits);
      hop.app().data(1, "hello");
      hop.client.send("\x01GET / HTTP/9\r\n\r\n");
      hop.pass();
      expect(hop.client.take()).toBe("hello");
      expect(hop.app().take().join("")).toContain("HTTP/9");
      hop.client.end();
      hop.pass();
      expect(hop.app().take()).toEqual(["DATA 1  END"]);
      hop.app().data(1, "bye", true);
      hop.pass();
      expect(hop.client.take()).toBe("bye");
      expect(hop.client.hasEnded || hop.client.closed?.is === "ended").toBe(true);
      hop.expectNothingLeft();
    }
  });

  test("resets are resets", () => {
    const hop = stands();
    hop.app().word(FRAME.rstStream, 1, CODE.cancel);
    hop.pass();
    expect(hop.client.closed).toEqual({ is: "failed", code: "ECONNRESET" });
    hop.expectServing(0, 3);
    const ended = stands();
    ended.app().data(1, "", true);
    ended.app().word(FRAME.rstStream, 1, CODE.noError);
    ended.pass();
    expect(ended.client.closed).toEqual({ is: "failed", code: "ECONNRESET" });
    const other = stands();
    other.client.stream?.reset();
    other.pass();
    expect(other.app().take()).toEqual([`RST 1 ${CODE.cancel}`]);
    for (const one of [hop, ended, other]) one.expectNothingLeft();
  });

  test("a refusal of the app's is its answer, and our direction ends", () => {
    const hop = wanted();
    hop.app().take();
    hop.app().headers(1, [[":status", "403"]], false);
    hop.app().data(1, "no", true);
    hop.pass();
    expect(hop.statuses).toEqual([403]);
    expect(hop.app().take()).toEqual(["DATA 1  END"]);
    hop.expectServing(0, 3);
    hop.expectNothingLeft();
  });

  test.each([
    ["no key", GET_WEBSOCKET.replace(/sec-websocket-key: .*\r\n/, "")],
    ["a key of another length", GET_WEBSOCKET.replace("dGhl", "")],
    [
      "two keys",
      GET_WEBSOCKET.replace("\r\n\r\n", "\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"),
    ],
    ["another method", GET_WEBSOCKET.replace("GET", "POST")],
  ])("%s: 400, and the app is not asked", (_rule, text) => {
    const hop = new ClientHop({}, offering);
    hop.client.send(text);
    hop.pass();
    expect(hop.statuses).toEqual([400]);
    expect(headsIn(hop)).toEqual([]);
    expect(hop.refused("no_websocket")).toBe(1);
  });

  test("an Upgrade to something else is not passed on, and its client sees that nothing was switched", () => {
    const hop = new ClientHop({}, offering);
    hop.client.send(GET_WEBSOCKET.replace("upgrade: websocket", "upgrade: echo"));
    hop.pass();
    expect(headsIn(hop)[0]).toStartWith("HEADERS 1 :method=GET ");
  });
});
