// A WebSocket over HTTP/2 through two agents: what holds for the tunnel of an Upgrade in HTTP/1.1 holds for it.
import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { app, settle, withRoute } from "../../test/support/http-conversation.ts";
import { type Fields, GET_FIELDS, Http2End } from "../../test/support/http2-end.ts";
import { MeshFixture, NO_HEADERS, serverWorkload, VIP } from "../../test/support/mesh-fixture.ts";
import { CODE, SETTING } from "../protocol/http2/frame.ts";

const FIELDS: Fields = [
  [":method", "CONNECT"],
  [":protocol", "websocket"],
  ...GET_FIELDS.slice(1),
  ["x-as", "b"],
];

function dial(mesh: MeshFixture): Http2End {
  const end = new Http2End("client");
  end.attach(mesh.client.dialOut({ address: VIP, port: 80 }, end));
  end.headers(1, FIELDS, false);
  settle(mesh);
  return end;
}

const switched = (head: string): string => {
  const key = /sec-websocket-key: (.*)\r\n/.exec(head)?.[1] ?? "";
  const hash = createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`);
  return `HTTP/1.1 101 X\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: ${hash.digest("base64")}\r\n\r\n`;
};
const webSocketApp = (mesh: MeshFixture) =>
  app(mesh, (end) => (end.text.endsWith("\r\n\r\n") ? switched(end.take()) : undefined));

const onlyFor = (value: string) => {
  const when = [{ key: { is: "header", name: "x-as" } as const, values: [value] }];
  const rules = [{ from: [], to: [{ methods: ["GET"] }], when }];
  return {
    workloads: [
      serverWorkload({ authorization: { deny: [], allow: [{ policy: "default/p", rules }] } }),
    ],
  };
};
const headers = (end: Http2End): string[] =>
  end.take().filter((line) => /^HEADERS|^RST/.test(line));

describe("a WebSocket over HTTP/2", () => {
  test("is recorded by both agents as the GET that became a tunnel", () => {
    const mesh = new MeshFixture({ accessLog: "on" });
    webSocketApp(mesh);
    const client = dial(mesh);
    expect(headers(client)).toEqual(["HEADERS 1 :status=200"]);
    client.data(1, "ping");
    settle(mesh);
    for (const [side, reporter, protocol] of [
      [mesh.client, "source", "HTTP/2"],
      [mesh.server, "destination", "HTTP/1.1"],
    ] as const) {
      expect(side.count("istio_requests_total", { reporter, response_code: "101" })).toBe(1);
      expect(side.records()).toMatchObject([
        { method: "GET", path: "/a?b=c", protocol, response_code: 101 },
      ]);
    }
  });

  test("passes to an app of HTTP/2 that offers it, and is one there", () => {
    const mesh = new MeshFixture();
    const [port] = serverWorkload().ports;
    if (port === undefined) throw new Error("the fixture has a port");
    mesh.swapServer({ workloads: [serverWorkload({ ports: [{ ...port, speaks: "http2" }] })] });
    const apps: Http2End[] = [];
    mesh.server.network.listen(8080, (stream) => {
      const end = new Http2End("server", true);
      end.setting(SETTING.enableConnectProtocol, 1);
      apps.push(end.attach(stream));
    });
    const client = dial(mesh);
    const [, request = ""] = apps[0]?.take() ?? [];
    expect(request).toStartWith("HEADERS 1 :method=CONNECT :protocol=websocket ");
    apps[0]?.headers(1, [[":status", "200"]], false);
    apps[0]?.data(1, "hello");
    settle(mesh);
    client.data(1, "bye", true);
    settle(mesh);
    expect(client.take()).toContain("DATA 1 hello");
    const heard = apps[0]?.take().join() ?? "";
    expect(heard).toContain("DATA 1 bye");
    expect(heard).toEndWith(" END");
    apps[0]?.word(3, 1, CODE.cancel);
    settle(mesh);
    expect(client.take()).toEqual([`RST 1 ${CODE.cancel}`]);
    expect(mesh.server.plane.openConnections).toBe(0);
  });

  test("is admitted by policy as a GET, and cut once a new one would not admit it", () => {
    const mesh = new MeshFixture();
    const apps = webSocketApp(mesh);
    mesh.swapServer(onlyFor("b"));
    const client = dial(mesh);
    expect(headers(client)).toEqual(["HEADERS 1 :status=200"]);
    mesh.swapServer(onlyFor("c"));
    settle(mesh);
    expect(client.take()).toEqual([`RST 1 ${CODE.cancel}`]);
    expect(apps[0]?.closed).toEqual({ is: "failed", code: "ECONNRESET" });
  });

  test("that policy forbids is a 403, and its stream is over", () => {
    const mesh = new MeshFixture();
    webSocketApp(mesh);
    mesh.swapServer(onlyFor("c"));
    const seen = headers(dial(mesh));
    expect(seen[0]).toStartWith("HEADERS 1 :status=403 ");
    expect(seen[1]).toBe(`RST 1 ${CODE.noError}`);
  });

  test("that a route answers itself with a 2xx is reset: to its client that would be a tunnel", () => {
    const mesh = withRoute({
      name: "r",
      matches: [],
      headers: NO_HEADERS,
      action: { is: "direct", status: 200, body: "teapot" },
    });
    expect(headers(dial(mesh))).toEqual([`RST 1 ${CODE.internalError}`]);
  });
});
