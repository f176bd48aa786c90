import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import tls from "node:tls";
import {
  type TestAuthority,
  type TestLeaf,
  testAuthority,
  testLeaf,
} from "../../test/support/test-pki.ts";
import { MESH_ALPN_HTTP, MESH_ALPN_OPAQUE, MESH_ALPNS } from "../api/mesh-wire.ts";
import type { CloseReason, MeshRefusal, MeshTarget, Stream, StreamHandler } from "../base/net.ts";
import { Loop } from "./loop.ts";
import { type MeshKeys, MeshTls } from "./mesh-tls.ts";
import { listenTcp, localEnd } from "./socket.ts";

const A = "spiffe://test.mesh/ns/default/sa/a";
const B = "spiffe://test.mesh/ns/default/sa/b";
const NAME = "9080.reviews.reviews-v1.default.ironmesh";
const loop = new Loop();
const quiet: StreamHandler = {
  onOpen() {},
  onData() {},
  onWritable() {},
  onEnd() {},
  onClose() {},
};
let root: TestAuthority;
let a: TestLeaf;
let b: TestLeaf;

beforeAll(async () => {
  root = await testAuthority();
  a = await testLeaf(root, [A]);
  b = await testLeaf(root, [B]);
  await loop.start();
});
afterAll(() => loop.stop());

interface Server {
  readonly port: number;
  readonly refused: MeshRefusal[];
  readonly peers: readonly (readonly [MeshRefusal, address: string, serverName: string])[];
  readonly accepted: Stream[];
  /** Handshakes, and those of them that were resumed. */
  proven: number;
  resumed: number;
  /** Of the workloads, for clients without SNI. */
  sole: string | undefined;
  setKeys(keys: MeshKeys): void;
  stop(): void;
}

const echo = (stream: Stream): void => {
  stream.handler = {
    ...quiet,
    onData: (s, bytes, start, end) => {
      s.write(bytes, start, end);
    },
    onEnd: (s) => s.endWrite(),
  };
};

/** Serves identity B under NAME. */
function serve(onStream: (stream: Stream) => void = echo): Server {
  const mesh = new MeshTls(loop, MESH_ALPNS);
  mesh.setKeys({ identities: [b], trustBundle: [root.pem] });
  const refused: MeshRefusal[] = [];
  const peers: Server["peers"][number][] = [];
  const accepted: Stream[] = [];
  const fd = listenTcp(loop, "127.0.0.1", 0);
  if (!fd.ok) throw new Error(fd.error);
  const { port } = localEnd(loop, fd.value);
  const server: Server = {
    ...{ port, refused, peers, accepted, proven: 0, resumed: 0, sole: undefined },
    setKeys: (keys) => void mesh.setKeys(keys),
    stop: () => listener.stop(true),
  };
  const listener = mesh.listen(
    fd.value,
    {
      onAccept(stream) {
        accepted.push(stream);
        onStream(stream);
      },
      onRefused: (reason) => refused.push(reason),
      onRefusedPeer: (...told) => peers.push(told),
      onProven: (isResumed) => {
        server.proven++;
        if (isResumed) server.resumed++;
      },
      identityFor: (name) => (name === NAME ? B : undefined),
      namelessAlpn: "h2",
      soleIdentity: () => server.sole,
    },
    b,
  );
  return server;
}

function dial(port: number, keys: TestLeaf, over: Partial<MeshTarget> = {}, trust = root.pem) {
  const mesh = new MeshTls(loop, MESH_ALPNS);
  mesh.setKeys({ identities: [keys], trustBundle: [trust] });
  return dialBy(mesh, port, { as: keys.identity, ...over });
}

function dialBy(mesh: MeshTls, port: number, over: Partial<MeshTarget> & { as: string }) {
  const target: MeshTarget = {
    is: "mesh",
    address: "127.0.0.1",
    port,
    serverName: NAME,
    alpn: MESH_ALPN_HTTP,
    peers: [B],
    ...over,
  };
  return new Promise<{ stream: Stream; text: string; reason: CloseReason | undefined }>(
    (resolve) => {
      let text = "";
      const stream = mesh.dial(target, {
        ...quiet,
        onOpen: (s) => {
          s.write(Buffer.from("hello"), 0, 5);
        },
        onData: (s, bytes, start, end) => {
          text += Buffer.from(bytes.slice(start, end)).toString();
          if (text.length >= 5) s.endWrite();
        },
        onEnd: (s) => {
          s.close();
          resolve({ stream: s, text, reason: undefined });
        },
        onClose: (s, reason) => resolve({ stream: s, text, reason }),
      });
      expect(stream.isOpen).toBe(false);
    },
  );
}

async function until(holds: () => boolean): Promise<void> {
  const deadline = Date.now() + 3_000;
  while (!holds()) {
    if (Date.now() > deadline) throw new Error("never came");
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

test("both ends learn each other's SPIFFE ID, the server name and the protocol, and bytes flow until both half-close", async () => {
  const server = serve();
  const { text, stream, reason } = await dial(server.port, a);
  expect(reason).toBeUndefined();
  expect(text).toBe("hello");
  expect(stream.mesh).toEqual({ identity: B, serverName: NAME, alpn: MESH_ALPN_HTTP });
  expect(server.accepted[0]?.mesh).toEqual({
    identity: A,
    serverName: NAME,
    alpn: MESH_ALPN_HTTP,
    as: B,
  });
  server.stop();
});

test("a server whose SPIFFE ID is not the one wanted gets no byte", async () => {
  const server = serve();
  const { reason, text } = await dial(server.port, a, {
    peers: ["spiffe://test.mesh/ns/default/sa/c"],
  });
  expect(reason).toEqual({ is: "connect_failed", code: "wrong_identity" });
  expect(text).toBe("");
  server.stop();
});

test("a server of another CA is refused by the client", async () => {
  const server = serve();
  const other = await testAuthority("other");
  const { reason } = await dial(server.port, a, {}, other.pem);
  expect(reason).toEqual({ is: "connect_failed", code: "untrusted_issuer" });
  server.stop();
});

async function refusedBy(
  make: (server: Server) => Promise<unknown> | unknown,
): Promise<MeshRefusal[]> {
  const server = serve();
  await make(server);
  await until(() => server.refused.length > 0 && server.peers.length > 0);
  expect(server.peers.map(([reason, address]) => [reason, address])).toEqual(
    server.refused.map((reason) => [reason, "127.0.0.1"]),
  );
  expect(server.accepted).toEqual([]);
  server.stop();
  return server.refused;
}

test("a client of another CA is refused", async () => {
  const other = await testAuthority("other");
  const stranger = await testLeaf(other, [A]);
  expect(await refusedBy((s) => dial(s.port, stranger))).toEqual(["untrusted_issuer"]);
});

test("an expired client certificate is refused", async () => {
  const old = await testLeaf(root, [A], -60_000);
  expect(await refusedBy((s) => dial(s.port, old))).toEqual(["expired"]);
});

test("a client certificate of our CA without a SPIFFE ID is refused", async () => {
  const nobody = await testLeaf(root, []);
  expect(
    await refusedBy((s) => dial(s.port, { ...nobody, identity: "none" }, { as: "none" })),
  ).toEqual(["not_spiffe"]);
});

test("a client certificate with two URI names is refused", async () => {
  const double = await testLeaf(root, [A, B]);
  expect(await refusedBy((s) => dial(s.port, double))).toEqual(["not_spiffe"]);
});

const plainTls = (port: number, options: tls.ConnectionOptions): Promise<void> =>
  new Promise((resolve) => {
    const socket = tls.connect({ host: "127.0.0.1", port, rejectUnauthorized: false, ...options });
    socket.on("error", () => resolve());
    socket.on("close", () => resolve());
    socket.on("secureConnect", () => socket.write("GET / HTTP/1.1\r\n\r\n"));
  });
const ours = () => ({ key: a.keyPem, cert: a.certificates[0] ?? "" });

test("a client without a certificate is refused", async () => {
  const refused = await refusedBy((s) =>
    plainTls(s.port, { servername: NAME, ALPNProtocols: [MESH_ALPN_HTTP] }),
  );
  expect(refused).toEqual(["no_certificate"]);
});

test("a client of HBONE that names no server is served by the only identity that there is", async () => {
  const server = serve();
  server.sole = B;
  await new Promise<void>((resolve, reject) => {
    const options = { ...ours(), servername: "", ALPNProtocols: ["h2"] };
    const socket = tls.connect({
      ...{ host: "127.0.0.1", port: server.port, rejectUnauthorized: false },
      ...options,
    });
    socket.on("error", reject);
    socket.on("secureConnect", () => socket.write("hello"));
    socket.on("data", () => resolve());
  });
  expect(server.accepted[0]?.mesh).toEqual({ identity: A, serverName: "", alpn: "h2", as: B });
  server.stop();
});

test("and refused where there are several, or another than it was shown", async () => {
  for (const sole of [undefined, A]) {
    const refused = await refusedBy((server) => {
      server.sole = sole;
      return plainTls(server.port, { ...ours(), servername: "", ALPNProtocols: ["h2"] });
    });
    expect(refused).toEqual(["ambiguous_identity"]);
  }
});

test("a client that names no server is refused", async () => {
  const refused = await refusedBy((s) =>
    plainTls(s.port, { ...ours(), servername: "", ALPNProtocols: [MESH_ALPN_HTTP] }),
  );
  expect(refused).toEqual(["no_server_name"]);
});

test("a client that names an unknown server is refused", async () => {
  const refused = await refusedBy((s) =>
    plainTls(s.port, {
      ...ours(),
      servername: "1.x.y.z.ironmesh",
      ALPNProtocols: [MESH_ALPN_HTTP],
    }),
  );
  expect(refused).toEqual(["unknown_server_name"]);
});

test("a client that offers no protocol of ours is refused", async () => {
  const refused = await refusedBy((s) => plainTls(s.port, { ...ours(), servername: NAME }));
  expect(refused).toEqual(["no_alpn"]);
});

describe("a second connection to the same place is resumed", () => {
  /** A client that keeps what it learned, and how often the server was reached how. */
  const client = (...identities: TestLeaf[]): MeshTls => {
    const mesh = new MeshTls(loop, MESH_ALPNS);
    mesh.setKeys({ identities, trustBundle: [root.pem] });
    return mesh;
  };
  const callers = (server: Server) => server.accepted.map((stream) => stream.mesh?.identity);

  test("and both ends know each other as before", async () => {
    const server = serve();
    const mesh = client(a);
    await dialBy(mesh, server.port, { as: A });
    const { stream, text } = await dialBy(mesh, server.port, { as: A });
    expect(text).toBe("hello");
    expect(stream.mesh).toEqual({ identity: B, serverName: NAME, alpn: MESH_ALPN_HTTP });
    expect([callers(server), server.resumed]).toEqual([[A, A], 1]);
    server.stop();
  });

  test("but not by who was told to resume none", async () => {
    const server = serve();
    const mesh = new MeshTls(loop, MESH_ALPNS, 0);
    mesh.setKeys({ identities: [a], trustBundle: [root.pem] });
    await dialBy(mesh, server.port, { as: A });
    const { text } = await dialBy(mesh, server.port, { as: A });
    expect([text, callers(server), server.resumed]).toEqual(["hello", [A, A], 0]);
    server.stop();
  });

  test("but not by another identity, for another peer or with another certificate", async () => {
    const server = serve();
    const other = await testLeaf(root, ["spiffe://test.mesh/ns/default/sa/c"]);
    const mesh = client(a, other);
    await dialBy(mesh, server.port, { as: A });
    await dialBy(mesh, server.port, { as: other.identity });
    const wider = [B, "spiffe://test.mesh/ns/default/sa/d"];
    await dialBy(mesh, server.port, { as: A, peers: wider });
    mesh.setKeys({ identities: [await testLeaf(root, [A]), other], trustBundle: [root.pem] });
    await dialBy(mesh, server.port, { as: A });
    expect([callers(server), server.resumed]).toEqual([[A, other.identity, A, A], 0]);
    server.stop();
  });

  test("but not after either end's trust changed, or the server's certificate", async () => {
    const server = serve();
    const second = await testAuthority("second");
    const both = [root.pem, second.pem];
    server.setKeys({ identities: [b], trustBundle: both });
    const leaf = await testLeaf(second, [A]);
    const mesh = client(leaf);
    await dialBy(mesh, server.port, { as: A });
    await dialBy(mesh, server.port, { as: A });
    expect(server.resumed).toBe(1);
    server.setKeys({ identities: [await testLeaf(root, [B])], trustBundle: both });
    await dialBy(mesh, server.port, { as: A });
    expect([server.accepted.length, server.proven, server.resumed]).toEqual([3, 3, 1]);
    server.setKeys({ identities: [b], trustBundle: [root.pem] });
    await dialBy(mesh, server.port, { as: A });
    expect([server.refused, server.accepted.length]).toEqual([["untrusted_issuer"], 3]);
    mesh.setKeys({ identities: [leaf], trustBundle: [second.pem] });
    const { reason } = await dialBy(mesh, server.port, { as: A });
    expect(reason).toEqual({ is: "connect_failed", code: "untrusted_issuer" });
    server.stop();
  });

  test("but not once the certificate it was made with has expired: the server looks again", async () => {
    const server = serve();
    const expiresMs = Date.now() + 1_500;
    const mesh = client(await testLeaf(root, [A], 1_500));
    await dialBy(mesh, server.port, { as: A });
    expect(server.accepted.length).toBe(1);
    await until(() => Date.now() > expiresMs);
    await dialBy(mesh, server.port, { as: A });
    await until(() => server.refused.length > 0);
    expect([server.refused, server.accepted.length]).toEqual([["expired"], 1]);
    server.stop();
  });

  test("and a refusal is no session: who was refused is judged anew", async () => {
    const server = serve();
    const second = await testAuthority("second");
    const mesh = client(await testLeaf(second, [A]));
    await dialBy(mesh, server.port, { as: A });
    await until(() => server.refused.length === 1);
    server.setKeys({ identities: [b], trustBundle: [root.pem, second.pem] });
    await dialBy(mesh, server.port, { as: A });
    expect([callers(server), server.resumed]).toEqual([[A], 0]);
    server.stop();
  });
});

test("a paused stream shows nothing until it is resumed, then everything in order", async () => {
  const sent = new Uint8Array(3_000_000).map((_, i) => (i * 7) & 255);
  const got: Uint8Array[] = [];
  const ended = Promise.withResolvers<void>();
  const server = serve((stream) => {
    let isPaused = false;
    stream.handler = {
      ...quiet,
      onData: (s, bytes, start, end) => {
        expect(isPaused).toBe(false);
        got.push(bytes.slice(start, end));
        isPaused = true;
        s.pause();
        loop.again({
          onReady: () => {
            isPaused = false;
            s.resume();
          },
        });
      },
      onEnd: () => ended.resolve(),
    };
  });
  const mesh = new MeshTls(loop, MESH_ALPNS);
  mesh.setKeys({ identities: [a], trustBundle: [root.pem] });
  let at = 0;
  const push = (stream: Stream): void => {
    at += stream.write(sent, at, sent.length);
    if (at === sent.length) stream.endWrite();
  };
  const target = { address: "127.0.0.1", port: server.port, serverName: NAME };
  mesh.dial(
    { is: "mesh", as: A, alpn: MESH_ALPN_OPAQUE, peers: [B], ...target },
    { ...quiet, onOpen: push, onWritable: push },
  );
  await ended.promise;
  expect(Buffer.concat(got).equals(Buffer.from(sent))).toBe(true);
  server.stop();
});

test("a peer whose app reads nothing for seconds keeps its connection and every byte, whether or not all fits into the kernel's buffers", async () => {
  const received: { stream: Stream; count: number; reason: CloseReason | undefined }[] = [];
  const server = serve((stream) => {
    const one: (typeof received)[number] = { stream, count: 0, reason: undefined };
    stream.handler = {
      ...quiet,
      onData: (_s, _bytes, start, end) => {
        one.count += end - start;
      },
      onClose: (_s, reason) => {
        one.reason = reason;
      },
    };
    stream.pause();
    received.push(one);
  });
  const mesh = new MeshTls(loop, MESH_ALPNS);
  mesh.setKeys({ identities: [a], trustBundle: [root.pem] });
  const wanted = [700_000, 24_000_000];
  const piece = new Uint8Array(100_000);
  const ends: CloseReason[] = [];
  for (const bytes of wanted) {
    let left = bytes;
    const pour = (s: Stream): void => {
      while (left > 0) {
        const sent = s.write(piece, 0, Math.min(left, piece.length));
        if (sent === 0) return;
        left -= sent;
      }
    };
    const target = {
      address: "127.0.0.1",
      port: server.port,
      serverName: NAME,
      alpn: MESH_ALPN_OPAQUE,
    };
    mesh.dial(
      { is: "mesh", ...target, as: A, peers: [B] },
      { ...quiet, onOpen: pour, onWritable: pour, onClose: (_s, reason) => ends.push(reason) },
    );
  }
  await until(() => received.length === wanted.length);
  // What is awaited is that nothing happens for longer than TCP_USER_TIMEOUT and the patience that follows.
  await new Promise((resolve) => setTimeout(resolve, 5_500));
  expect([...ends, ...received.map(({ reason }) => reason)]).toEqual([undefined, undefined]);
  for (const { stream } of received) stream.resume();
  const counts = (): number[] => received.map(({ count }) => count).toSorted((x, y) => x - y);
  await until(() => counts().join() === wanted.join());
  for (const { stream } of received) stream.close();
  server.stop();
}, 30_000);
