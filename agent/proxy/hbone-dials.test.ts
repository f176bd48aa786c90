// HBONE offered: an endpoint that is marked for it is dialled by a tunnel, here to the other agent's own accepting side.
import { describe, expect, test } from "bun:test";
import { answering, app, dial, GET, ok, settle } from "../../test/support/http-conversation.ts";
import { type Fields, Http2End } from "../../test/support/http2-end.ts";
import {
  CLIENT_ID,
  endpoint,
  MeshFixture,
  SERVER_ID,
  serverWorkload,
  service,
} from "../../test/support/mesh-fixture.ts";
import type { Protocol } from "../policy/snapshot.ts";
import { CODE, FRAME, SETTING } from "../protocol/http2/frame.ts";
import { ALPN_HBONE } from "./mesh-alpn.ts";

const TO = "10.0.0.2:8080";

function meshOf(protocol: Protocol, identity = SERVER_ID): MeshFixture {
  const mesh = new MeshFixture({ accessLog: "on" });
  const ports = service().ports.map((port) => ({ ...port, protocol }));
  const tunnel = { port: 15008, serverName: "", identity, tunnelTo: TO };
  mesh.swapClient({ services: [service({ ports })], endpoints: [endpoint(0, { mesh: tunnel })] });
  return mesh;
}

/** In the agent's place: what is said to it, and it says what the test wants. */
function ztunnel(mesh: MeshFixture): Http2End[] {
  const ends: Http2End[] = [];
  mesh.server.network.listenMesh(15008, {
    alpns: [ALPN_HBONE],
    accept: (stream) => {
      const end = new Http2End("server");
      end.attach(stream);
      ends.push(end);
    },
    identityOf: (serverName) => (serverName === "" ? SERVER_ID : undefined),
  });
  return ends;
}

function ask(mesh: MeshFixture, text: string = GET) {
  const client = dial(mesh);
  client.send(text);
  settle(mesh);
  return client;
}
const flags = (mesh: MeshFixture): unknown[] =>
  mesh.client.records().map((record) => record["response_flags"]);

describe("a peer that takes HBONE", () => {
  test("is asked for the endpoint by CONNECT, and requests go there over pooled tunnels of one connection", () => {
    const mesh = meshOf("http");
    app(
      mesh,
      answering(() => ok()),
    );
    expect([ask(mesh), ask(mesh)].map(({ text }) => text)).toEqual([ok(), ok()]);
    const labels = { source_principal: CLIENT_ID, connection_security_policy: "mutual_tls" };
    expect(mesh.server.count("istio_tcp_connections_opened_total", labels)).toBe(1);
    expect(mesh.client.count("istio_requests_total", { ...labels, response_code: "200" })).toBe(2);
    expect(mesh.client.records()).toMatchObject([{ upstream_host: TO }, { upstream_host: TO }]);
  });

  test("carries opaque bytes both ways, each direction with its own end", () => {
    const mesh = meshOf("tcp");
    const apps = app(mesh, () => undefined);
    const client = ask(mesh, "ping");
    expect(apps[0]?.text).toBe("ping");
    client.end();
    settle(mesh);
    apps[0]?.send("x".repeat(300_000));
    apps[0]?.end();
    settle(mesh, 5_000);
    expect([client.bytesReceived, client.closed]).toEqual([300_000, { is: "ended" }]);
    settle(mesh, 70_000);
    expect(mesh.client.plane.openConnections + mesh.server.plane.openConnections).toBe(0);
  });

  test("is refused as an upstream that cannot be reached where its policy, or the lack of an app, says so", () => {
    const rules = [{ from: [{ principals: ["nobody"] }], to: [], when: [] }];
    const authorization = { deny: [], allow: [{ policy: "default/p", rules }] };
    const denied = meshOf("http");
    denied.swapServer({ workloads: [serverWorkload({ authorization })] });
    for (const mesh of [denied, meshOf("http")]) {
      expect(ask(mesh).text).toStartWith("HTTP/1.1 503 ");
      settle(mesh, 1_000);
      expect(flags(mesh)).toEqual(["UF,URX"]);
    }
    const code = { code: "tunnel_denied" };
    expect(denied.client.count("ironmesh_upstream_connect_failures_total", code)).toBe(3);
  });

  test("must prove the one identity that its endpoint has", () => {
    const mesh = meshOf("tcp", "spiffe://mesh/ns/default/sa/another");
    const apps = app(mesh, () => undefined);
    const client = ask(mesh, "secret");
    settle(mesh, 1_000);
    expect([apps, client.closed !== undefined, flags(mesh)]).toEqual([[], true, ["UF"]]);
  });

  test("hears the authority, no scheme and no path, and nothing of the client before it says 200", () => {
    const mesh = meshOf("tcp");
    const peers = ztunnel(mesh);
    const client = ask(mesh, "hello");
    const [peer] = peers;
    const asked = `HEADERS 1 :method=CONNECT :authority=${TO}`;
    expect(peer?.take()).toEqual([asked, "SETTINGS ACK"]);
    peer?.headers(1, [[":status", "103"]] as Fields, false);
    peer?.headers(1, [[":status", "200"]] as Fields, false);
    settle(mesh);
    expect(peer?.take()).toEqual(["DATA 1 hello"]);
    peer?.data(1, "well");
    settle(mesh);
    expect(client.text).toBe("well");
    peer?.word(FRAME.rstStream, 1, CODE.cancel);
    settle(mesh);
    expect(client.closed?.is).toBe("failed");
  });

  test("that allows one tunnel at a time has the next one wait for it", () => {
    const mesh = meshOf("tcp");
    const peers = ztunnel(mesh);
    const first = ask(mesh, "one");
    const [peer] = peers;
    peer?.setting(SETTING.maxConcurrentStreams, 1);
    settle(mesh);
    const second = ask(mesh, "two");
    peer?.headers(1, [[":status", "200"]] as Fields, false);
    settle(mesh);
    expect(peer?.take().slice(-1)).toEqual(["DATA 1 one"]);
    first.stream?.reset();
    settle(mesh);
    peer?.headers(3, [[":status", "200"]] as Fields, false);
    settle(mesh);
    expect(peer?.take()).toContain("DATA 3 two");
    expect([peers.length, second.closed]).toEqual([1, undefined]);
  });

  test("is dialled anew for tunnels after our certificate was renewed, and those that are open live on", () => {
    const mesh = meshOf("tcp");
    const peers = ztunnel(mesh);
    ask(mesh, "one");
    peers[0]?.headers(1, [[":status", "200"]] as Fields, false);
    settle(mesh);
    mesh.client.tunnels.renewed(new Set([CLIENT_ID]));
    ask(mesh, "two");
    expect(peers).toHaveLength(2);
    peers[0]?.data(1, "still here");
    settle(mesh);
    expect(peers[0]?.take().some((line) => line.startsWith("GOAWAY"))).toBe(false);
  });
});
