// Opaque streams on real sockets and the runtime's TLS, with somebody between the two agents who can end a direction by a FIN.
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { once } from "node:events";
import net from "node:net";
import { type TestLeaf, testAuthority, testLeaf } from "../../../test/support/test-pki.ts";
import { TextEnd } from "../../../test/support/text-stream.ts";
import { MESH_ALPN_OPAQUE, MESH_ALPN_OPAQUE_FRAMED, MESH_ALPNS } from "../../api/mesh-wire.ts";
import type { Stream } from "../../base/net.ts";
import { Loop } from "../../os/loop.ts";
import { MeshTls } from "../../os/mesh-tls.ts";
import { OsNetwork } from "../../os/network.ts";
import { listenTcp, localEnd } from "../../os/socket.ts";
import { OpaqueStreams } from "./opaque-streams.ts";

const A = "spiffe://test.mesh/ns/default/sa/a";
const B = "spiffe://test.mesh/ns/default/sa/b";
const NAME = "5432.db.db-1.default.ironmesh";
const loop = new Loop();
let keys: { a: TestLeaf; b: TestLeaf; trustBundle: string[] };
const stops: (() => void)[] = [];

beforeAll(async () => {
  const root = await testAuthority();
  keys = { a: await testLeaf(root, [A]), b: await testLeaf(root, [B]), trustBundle: [root.pem] };
  await loop.start();
});
afterAll(() => {
  for (const stop of stops) stop();
  loop.stop();
});

const counts = { cut: 0, old: 0 };

function streamsOf(mesh: MeshTls): OpaqueStreams {
  return new OpaqueStreams(
    { alpn: MESH_ALPN_OPAQUE, framedAlpn: MESH_ALPN_OPAQUE_FRAMED },
    {
      network: new OsNetwork(loop, mesh),
      timers: loop.wheel,
      soon: (task) => loop.again({ onReady: task }),
      onCut: () => counts.cut++,
      onOldPeer: () => counts.old++,
    },
  );
}

async function until(holds: () => boolean, what: string): Promise<void> {
  const dueMs = Date.now() + 20_000;
  while (!holds()) {
    if (Date.now() > dueMs) throw new Error(`never: ${what}`);
    await Bun.sleep(2);
  }
}

/** Somebody who sees all packets: passes them on, as ends and resets, and can end either direction. */
async function between(
  port: number,
): Promise<{ port: number; end(of: "client" | "server"): void }> {
  let client: net.Socket | undefined;
  let server: net.Socket | undefined;
  const middle = net.createServer({ allowHalfOpen: true }, (one) => {
    client = one;
    server = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    for (const socket of [one, server]) socket.on("error", () => {});
    one.on("data", (bytes) => server?.write(bytes));
    server.on("data", (bytes) => one.write(bytes));
    one.on("end", () => server?.end());
    server.on("end", () => one.end());
    one.on("close", () => server?.resetAndDestroy());
    server.on("close", () => one.resetAndDestroy());
  });
  middle.listen(0, "127.0.0.1");
  await once(middle, "listening");
  stops.push(() => middle.close());
  return {
    port: (middle.address() as net.AddressInfo).port,
    end: (of) => (of === "client" ? client : server)?.end(),
  };
}

async function connected(alpns: readonly string[] = MESH_ALPNS) {
  counts.cut = 0;
  counts.old = 0;
  const mesh = new MeshTls(loop, alpns);
  mesh.setKeys({ identities: [keys.b], trustBundle: keys.trustBundle });
  const accepting = streamsOf(mesh);
  const server = new TextEnd();
  const fd = listenTcp(loop, "127.0.0.1", 0);
  if (!fd.ok) throw new Error(fd.error);
  const { port } = localEnd(loop, fd.value);
  const listener = mesh.listen(
    fd.value,
    {
      onAccept: (stream) => {
        const take = (one: Stream) => void server.attach(one);
        if (!accepting.accept(stream, take)) take(stream);
      },
      onRefused: () => {},
      onRefusedPeer: () => {},
      onProven: () => {},
      identityFor: (name) => (name === NAME ? B : undefined),
      namelessAlpn: "h2",
      soleIdentity: () => undefined,
    },
    keys.b,
  );
  stops.push(() => listener.stop(true));
  const middle = await between(port);
  const own = new MeshTls(loop, MESH_ALPNS);
  own.setKeys({ identities: [keys.a], trustBundle: keys.trustBundle });
  const client = new TextEnd();
  client.stream = streamsOf(own).dial(
    {
      is: "mesh",
      ...{ address: "127.0.0.1", port: middle.port, as: A, serverName: NAME },
      ...{ alpn: MESH_ALPN_OPAQUE, peers: [B] },
    },
    client,
  );
  client.send("hello");
  await until(() => server.text === "hello", "the first bytes");
  return { client, server, end: middle.end };
}

test("each direction ends by its own end, in order", async () => {
  const { client, server } = await connected();
  client.end();
  await until(() => server.hasEnded, "the client's end");
  server.send("late answer");
  server.end();
  await until(() => client.closed !== undefined && server.closed !== undefined, "both ends");
  expect(client.text).toBe("late answer");
  expect([client.closed, server.closed]).toEqual([{ is: "ended" }, { is: "ended" }]);
  expect(counts).toEqual({ cut: 0, old: 0 });
});

describe("a FIN that neither agent sent is a reset", () => {
  for (const of of ["client", "server"] as const) {
    test(`at the ${of}, while both directions are open`, async () => {
      const ends = await connected();
      ends.end(of);
      await until(() => ends[of].closed !== undefined, "the cut");
      expect(ends[of].closed).toEqual({ is: "failed", code: "ECONNRESET" });
      expect(ends[of].hasEnded).toBe(false);
      await until(() => ends.client.closed !== undefined, "its peer is told");
      await until(() => ends.server.closed !== undefined, "its peer is told");
      expect([ends.client.hasEnded, ends.server.hasEnded]).toEqual([false, false]);
      expect(counts.cut).toBeGreaterThan(0);
    });
  }

  test("at the client, once its own direction has ended", async () => {
    const { client, server, end } = await connected();
    client.end();
    await until(() => server.hasEnded, "the client's end");
    server.send("half of the ans");
    await until(() => client.text.length === 15, "what the server said");
    end("client");
    await until(() => client.closed !== undefined, "the cut");
    expect([client.closed, client.hasEnded]).toEqual([{ is: "failed", code: "ECONNRESET" }, false]);
  });

  test("at the client, while it does not read", async () => {
    const { client, server, end } = await connected();
    client.stream?.pause();
    server.send("half of the ans");
    end("client");
    client.stream?.resume();
    await until(() => client.closed !== undefined, "the cut");
    expect([client.closed?.is, client.hasEnded]).toEqual(["failed", false]);
  });
});

test("megabytes both ways against readers that pause arrive as they were", async () => {
  const { client, server } = await connected();
  const said = new Uint8Array(6 << 20);
  for (let at = 0; at < said.length; at += 65_536)
    crypto.getRandomValues(said.subarray(at, at + 65_536));
  const hashOf = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");
  const heard = [client, server].map((end) => {
    const hash = createHash("sha256");
    let count = 0;
    const { onData } = end;
    end.keepsText = false;
    end.bytesReceived = 0;
    end.onData = (stream, bytes, start, until) => {
      hash.update(bytes.slice(start, until));
      onData.call(end, stream, bytes, start, until);
      if (++count % 16 > 0) return;
      stream.pause();
      loop.wheel.after(3, () => stream.resume());
    };
    return hash;
  });
  for (let at = 0; at < said.length; at += 70_001) {
    const piece = said.subarray(at, at + 70_001);
    client.send(piece);
    server.send(piece);
  }
  client.end();
  server.end();
  await until(() => client.closed !== undefined && server.closed !== undefined, "both ends");
  expect([client.bytesReceived, server.bytesReceived]).toEqual([said.length, said.length]);
  expect(heard.map((hash) => hash.digest("hex"))).toEqual([hashOf(said), hashOf(said)]);
  expect([client.closed, server.closed]).toEqual([{ is: "ended" }, { is: "ended" }]);
});

test("an agent that knows the older wire alone is spoken to as it speaks", async () => {
  const old = MESH_ALPNS.filter((alpn) => alpn !== MESH_ALPN_OPAQUE_FRAMED);
  const { client, server } = await connected(old);
  server.send("answer");
  await until(() => client.text === "answer", "the answer");
  client.stream?.close();
  expect(client.stream?.mesh?.alpn).toBe(MESH_ALPN_OPAQUE);
  expect(counts).toEqual({ cut: 0, old: 2 });
});
