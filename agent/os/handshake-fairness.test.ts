import { expect, test } from "bun:test";
import { testAuthority, testLeaf } from "../../test/support/test-pki.ts";
import { MESH_ALPN_OPAQUE, MESH_ALPNS } from "../api/mesh-wire.ts";
import { IGNORE, type MeshTarget, type Stream, type StreamHandler } from "../base/net.ts";
import { Loop } from "./loop.ts";
import { MeshTls } from "./mesh-tls.ts";
import { listenTcp, localEnd } from "./socket.ts";

const ACCOUNT = "spiffe://test.mesh/ns/default/sa/a";
const NAME = "9080.reviews.reviews-v1.default.ironmesh";
const AT_ONCE = 48;
const IN_ALL = 600;

interface World {
  readonly port: number;
  /** Handshakes that the listener has not done yet. */
  unproven(): number;
  /** Reasons, and which of them it told of the peer. */
  readonly refused: string[];
  readonly refusedPeers: string[];
  dial(handler: StreamHandler): void;
}

/** A listener that sends each caller a byte, on a loop that lives as long as `run`. */
async function withListener(run: (world: World) => Promise<void>): Promise<void> {
  const root = await testAuthority();
  const leaf = await testLeaf(root, [ACCOUNT]);
  const loop = new Loop();
  await loop.start();
  const mesh = new MeshTls(loop, MESH_ALPNS, 0);
  mesh.setKeys({ identities: [leaf], trustBundle: [root.pem] });
  const fd = listenTcp(loop, "127.0.0.1", 0);
  if (!fd.ok) throw new Error(fd.error);
  const { port } = localEnd(loop, fd.value);
  const [refused, refusedPeers]: [string[], string[]] = [[], []];
  const acceptor = {
    onAccept(stream: Stream) {
      stream.handler = IGNORE;
      stream.write(Buffer.from("x"), 0, 1);
    },
    onRefused: (reason: string) => void refused.push(reason),
    onRefusedPeer: (reason: string) => void refusedPeers.push(reason),
    onProven() {},
    identityFor: () => ACCOUNT,
    namelessAlpn: "h2",
    soleIdentity: () => undefined,
  };
  const listener = mesh.listen(fd.value, acceptor, leaf);
  const target: MeshTarget = {
    ...{ is: "mesh" as const, address: "127.0.0.1", port, serverName: NAME, as: ACCOUNT },
    ...{ alpn: MESH_ALPN_OPAQUE, peers: [ACCOUNT] },
  };
  try {
    await run({
      ...{ port, refused, refusedPeers, unproven: () => mesh.handshakes },
      dial: (handler) => void mesh.dial(target, handler),
    });
  } finally {
    listener.stop(true);
    loop.stop();
  }
}

// As at an agent whose clients make a connection for each request: as soon as one is there, the next is dialled.
test("of many that dial at once none is passed over: those who came later are not served first", () =>
  withListener(async ({ dial, refused }) => {
    let begun = 0;
    let done = 0;
    /** Of each, how many were done between its dial and its end. */
    const passedBy: number[] = [];
    await new Promise<void>((resolve, reject) => {
      const next = (): void => {
        if (begun === IN_ALL) return;
        begun++;
        const from = done;
        dial({
          ...IGNORE,
          onData(stream) {
            passedBy.push(done - from);
            done++;
            stream.close();
            next();
            if (done === IN_ALL) resolve();
          },
          onClose: (_stream, reason) => reject(new Error(JSON.stringify(reason))),
        });
      };
      for (let i = 0; i < AT_ONCE; i++) next();
    });
    expect(refused).toEqual([]);
    expect(Math.max(...passedBy)).toBeLessThan(3 * AT_ONCE);
  }));

test("who waited for over two seconds behind others is refused, and who comes then is served", () =>
  withListener(async ({ dial, port, refused, refusedPeers, unproven }) => {
    const crowd = 200;
    let gone = 0;
    const socket = { data() {}, error() {}, close: () => void gone++ };
    const callers = Array.from({ length: crowd }, () =>
      Bun.connect({ hostname: "127.0.0.1", port, socket }),
    );
    await Promise.all(callers);
    await until(() => unproven() >= crowd / 2);
    const behind = unproven();
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2_100); // the thread stands
    const served = new Promise<void>((resolve, reject) => {
      dial({
        ...IGNORE,
        onData: () => resolve(),
        onClose: (_stream, reason) => reject(new Error(JSON.stringify(reason))),
      });
    });
    await served;
    await until(() => gone >= refused.length);
    expect(refused.length).toBeGreaterThan(behind - 20); // a few were begun before it stood
    expect(new Set(refused)).toEqual(new Set(["overloaded"]));
    expect(refusedPeers).toEqual(refused);
  }));

async function until(isSo: () => boolean): Promise<void> {
  for (const end = Date.now() + 5_000; !isSo(); ) {
    if (Date.now() > end) throw new Error("it did not come to that within 5 s");
    await new Promise((resolve) => setImmediate(resolve));
  }
}
