// HBONE as a peer that is no agent speaks it: what it may ask for, what it is answered, and what the app sees.
import { describe, expect, test } from "bun:test";
import { app, settle } from "../../test/support/http-conversation.ts";
import { type Fields, Http2End } from "../../test/support/http2-end.ts";
import {
  type FixtureOptions,
  MeshFixture,
  SERVER_ID,
  serverWorkload,
  workload,
} from "../../test/support/mesh-fixture.ts";
import { CODE, FRAME } from "../protocol/http2/frame.ts";
import { serveHbone } from "./hbone.ts";

const PEER = "spiffe://cluster.local/ns/shop/sa/cart";
const APP = "10.0.0.2:8080";
const connecting = (authority: string, more: Fields = []): Fields => [
  [":method", "CONNECT"],
  [":authority", authority],
  ["baggage", "k8s.namespace.name=shop"],
  ["forwarded", "for=10.9.9.9"],
  ...more,
];

function peerOf(mesh: MeshFixture, as = SERVER_ID): Http2End {
  const end = new Http2End("client");
  const peer = { identity: PEER, serverName: "", alpn: "h2", as };
  const [near, far] = mesh.server.network.accept(end, { address: "10.0.0.9", mesh: peer });
  end.attach(far);
  mesh.server.plane.acceptTunnels(near, (mine) => serveHbone(mesh.server.plane, near, mine));
  settle(mesh);
  end.take();
  return end;
}

/** What a CONNECT on stream 1 is answered. */
function asked(mesh: MeshFixture, fields = connecting(APP), as = SERVER_ID): string[] {
  const peer = peerOf(mesh, as);
  peer.headers(1, fields, false);
  settle(mesh);
  return peer.take();
}
const declined = (status: number): string[] => [
  `HEADERS 1 :status=${status} END`,
  `RST 1 ${CODE.noError}`,
];
const allowing = (principal: string) => {
  const rules = [{ from: [{ principals: [principal] }], to: [], when: [] }];
  const authorization = { deny: [], allow: [{ policy: "default/p", rules }] };
  return { workloads: [serverWorkload({ authorization })] };
};

function nothingIsLeft(mesh: MeshFixture): void {
  mesh.server.plane.drain();
  settle(mesh, 60_000);
  expect(mesh.server.plane.openConnections).toBe(0);
}

describe("a tunnel of HBONE", () => {
  for (const splits of [false, true]) {
    test(`carries bytes both ways, each direction with its own end${splits ? ", in pieces" : ""}`, () => {
      const mesh = new MeshFixture({ network: splits ? { splits } : {} });
      const apps = app(mesh, () => undefined);
      const peer = peerOf(mesh);
      peer.headers(1, connecting(APP), false);
      peer.data(1, "early ");
      settle(mesh);
      peer.data(1, "GET / HTTP/9");
      settle(mesh);
      expect(apps[0]?.take()).toBe("early GET / HTTP/9");
      apps[0]?.send("hello");
      apps[0]?.end();
      settle(mesh);
      const seen = peer.take();
      expect(seen[0]).toBe("HEADERS 1 :status=200");
      expect(seen.join("").replaceAll("DATA 1 ", "")).toEndWith("hello END");
      peer.data(1, "bye", true);
      settle(mesh);
      expect(apps[0]?.text).toBe("bye");
      expect(apps[0]?.closed).toEqual({ is: "ended" });
      nothingIsLeft(mesh);
    });
  }

  test("takes 256 KiB ahead of its app, and a dozen whose apps do not read keep no other waiting", () => {
    const mesh = new MeshFixture();
    const apps = app(mesh, () => undefined);
    const peer = peerOf(mesh);
    peer.isPolite = false;
    const stuck = Array.from({ length: 12 }, (_, i) => 2 * i + 1);
    for (const id of stuck) {
      peer.headers(id, connecting(APP), false);
      settle(mesh);
      apps.at(-1)?.stream?.pause();
      for (let sent = 0; sent < 16; sent++) peer.data(id, "x".repeat(16_384));
    }
    settle(mesh);
    peer.headers(25, connecting(APP), false);
    peer.data(25, "y".repeat(16_384));
    settle(mesh);
    expect(apps.at(-1)?.bytesReceived).toBe(16_384);
    expect(peer.take().filter((line) => /^(?:RST|GOAWAY)/.test(line))).toEqual([]);
    for (const end of apps) end.stream?.resume();
    settle(mesh, 2_000);
    expect(apps.map(({ bytesReceived }) => bytesReceived)).toEqual([
      ...stuck.map(() => 262_144),
      16_384,
    ]);
    peer.data(1, "z".repeat(16_384));
    settle(mesh);
    expect(apps[0]?.bytesReceived).toBe(278_528);
    expect(peer.credit.get(1)).toBeGreaterThanOrEqual(131_072);
  });

  test("more than it was given credit for ends it, and no other", () => {
    const mesh = new MeshFixture();
    const apps = app(mesh, () => undefined);
    const peer = peerOf(mesh);
    peer.isPolite = false;
    for (const id of [1, 3]) {
      peer.headers(id, connecting(APP), false);
      settle(mesh);
    }
    apps[0]?.stream?.pause();
    for (let sent = 0; sent < 40; sent++) peer.data(1, "x".repeat(16_384));
    peer.data(3, "well");
    settle(mesh);
    expect(peer.take()).toContain(`RST 1 ${CODE.flowControlError}`);
    expect([apps[0]?.closed?.is, apps[1]?.text]).toEqual(["failed", "well"]);
  });

  test("many share a connection, each with a fate of its own", () => {
    const mesh = new MeshFixture();
    const apps = app(mesh, () => undefined);
    const peer = peerOf(mesh);
    for (const id of [1, 3, 5]) {
      peer.headers(id, connecting(APP), false);
      settle(mesh);
    }
    for (const id of [1, 3, 5]) peer.data(id, `of ${id}`);
    peer.word(FRAME.rstStream, 3, CODE.cancel);
    settle(mesh);
    apps[2]?.stream?.reset();
    settle(mesh);
    expect(apps.map(({ closed }) => closed?.is)).toEqual([undefined, "failed", undefined]);
    expect(apps[0]?.text).toBe("of 1");
    expect(peer.take()).toContain(`RST 5 ${CODE.cancel}`);
    nothingIsLeft(mesh);
  });

  test("is a TCP connection of the identity that TLS proved, to metrics and log", () => {
    const mesh = new MeshFixture({ accessLog: "on" });
    const apps = app(mesh, () => undefined);
    const peer = peerOf(mesh);
    peer.headers(1, connecting(APP), false);
    peer.data(1, "12345", true);
    settle(mesh);
    apps[0]?.end();
    settle(mesh);
    const labels = { source_principal: PEER, connection_security_policy: "mutual_tls" };
    expect(mesh.server.count("istio_tcp_connections_opened_total", labels)).toBe(1);
    expect(mesh.server.count("istio_tcp_received_bytes_total", labels)).toBe(5);
    expect(mesh.server.records()).toMatchObject([
      {
        downstream_peer_identity: PEER,
        upstream_host: APP,
        bytes_received: 5,
        response_flags: "-",
      },
    ]);
  });

  test("what is not read stays with its sender", () => {
    const mesh = new MeshFixture();
    const apps = app(mesh, () => undefined);
    const peer = peerOf(mesh);
    peer.headers(1, connecting(APP), false);
    settle(mesh);
    apps[0]?.stream?.pause();
    let sent = 0;
    for (let may = 65_535; sent + 16_384 <= may && sent < 2_000_000; sent += 16_384) {
      peer.data(1, "y".repeat(16_384));
      settle(mesh, 20);
      may = 65_535 + (peer.credit.get(1) ?? 0);
    }
    expect(sent).toBeLessThan(600_000);
    peer.end.stream?.reset();
    settle(mesh);
    expect(apps[0]?.closed).toEqual({ is: "failed", code: "ECONNRESET" });
    nothingIsLeft(mesh);
  });

  test("that policy does not admit is a 401, and a decision that can be explained", () => {
    const mesh = new MeshFixture();
    const apps = app(mesh, () => undefined);
    mesh.swapServer(allowing("cluster.local/ns/shop/sa/other"));
    expect(asked(mesh)).toEqual(declined(401));
    expect(apps).toEqual([]);
    expect(mesh.server.refusals).toHaveLength(1);
    mesh.swapServer(allowing("cluster.local/ns/shop/sa/cart"));
    expect(asked(mesh)).toEqual(["HEADERS 1 :status=200"]);
  });

  test("is reset once a new policy would not admit it, or its port is declared no more", () => {
    for (const changes of [allowing("cluster.local/ns/shop/sa/other"), { workloads: [] }]) {
      const mesh = new MeshFixture();
      const apps = app(mesh, () => undefined);
      const peer = peerOf(mesh);
      peer.headers(1, connecting(APP), false);
      settle(mesh);
      peer.take();
      mesh.swapServer(changes);
      settle(mesh);
      expect(peer.take()).toEqual([`RST 1 ${CODE.cancel}`]);
      expect(apps[0]?.closed?.is).toBe("failed");
    }
  });

  test("to an app that is not there is a 503", () => {
    expect(asked(new MeshFixture())).toEqual(declined(503));
  });

  test.each([
    ["10.0.0.2:8081", 404, "not_declared"],
    ["10.0.0.3:8080", 404, "not_declared"], // declared here, but not there
    ["127.0.0.1:8080", 404, "not_declared"],
    ["server:8080", 400, "authority_invalid"],
    ["10.0.0.2", 400, "authority_invalid"],
    ["10.0.0.2:0", 400, "authority_invalid"],
    ["10.0.0.2:65536", 400, "authority_invalid"],
    ["10.0.0.02:8080", 400, "authority_invalid"],
    ["user@10.0.0.2:8080", 400, "authority_invalid"],
    ["[fd00::2]", 400, "authority_invalid"],
    ["[10.0.0.2]:8080", 400, "authority_invalid"],
  ] as const)("to %s is a %d by name: %s", (authority, status, reason) => {
    const mesh = new MeshFixture();
    const apps = app(mesh, () => undefined);
    expect(asked(mesh, connecting(authority))).toEqual(declined(status));
    expect(mesh.server.count("ironmesh_connections_refused_total", { reason })).toBe(1);
    expect(apps).toEqual([]);
    nothingIsLeft(mesh);
  });

  test("to the port of another identity than the one it was shown is a 400", () => {
    const mesh = new MeshFixture();
    const as = workload("other").identity;
    expect(asked(mesh, connecting(APP), as)).toEqual(declined(400));
    const reason = "another_identity";
    expect(mesh.server.count("ironmesh_connections_refused_total", { reason })).toBe(1);
  });
});

describe("on a connection of HBONE", () => {
  const refused = (fields: Fields, options: FixtureOptions = {}) => {
    const mesh = new MeshFixture(options);
    const seen = asked(mesh, fields);
    const count = (reason: string) => mesh.server.count("ironmesh_http2_refused_total", { reason });
    return { seen, count };
  };

  test("another request than CONNECT is a 400", () => {
    const get = [
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "/"],
      [":authority", APP],
    ] as const;
    const extended = [[":method", "CONNECT"], [":protocol", "websocket"], ...get.slice(1)] as const;
    for (const fields of [get, extended]) {
      const { seen, count } = refused(fields);
      expect(seen).toEqual(declined(400));
      expect(count("no_connect")).toBe(1);
    }
  });

  test("a malformed one is reset", () => {
    for (const fields of [
      [...connecting(APP), [":path", "/"]],
      connecting(APP, [["connection", "close"]]),
      connecting(APP, [["content-length", "5"]]),
    ] as Fields[])
      expect(refused(fields).seen).toEqual([`RST 1 ${CODE.protocolError}`]);
  });

  test("more than 16 KiB of fields are a 431", () => {
    const { seen, count } = refused(connecting(APP, [["baggage", "x".repeat(16_200)]]));
    expect(seen).toEqual(declined(431));
    expect(count("fields_too_long")).toBe(1);
  });

  test("a drain lets tunnels go on and takes no new ones", () => {
    const mesh = new MeshFixture();
    const apps = app(mesh, () => undefined);
    const peer = peerOf(mesh);
    peer.headers(1, connecting(APP), false);
    settle(mesh);
    peer.take();
    mesh.server.plane.drain();
    settle(mesh, 2_000);
    expect(peer.take().filter((line) => line.startsWith("GOAWAY"))).toHaveLength(2);
    peer.data(1, "still");
    settle(mesh);
    expect(apps[0]?.text).toBe("still");
    expect(apps[0]?.closed).toBeUndefined();
  });
});
