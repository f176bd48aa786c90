import { expect, test } from "bun:test";
import { testAuthority, testLeaf } from "../../test/support/test-pki.ts";
import { MESH_ALPN_OPAQUE, MESH_ALPNS } from "../api/mesh-wire.ts";
import { IGNORE } from "../base/net.ts";
import { Loop } from "./loop.ts";
import { MeshTls } from "./mesh-tls.ts";
import { listenTcp, localEnd } from "./socket.ts";

const ACCOUNT = "spiffe://test.mesh/ns/default/sa/a";
const NAME = "9080.reviews.reviews-v1.default.ironmesh";
const AT_ONCE = 48;
const IN_ALL = 600;

// As at an agent whose clients make a connection for each request: as soon as one is there, the next is dialled.
test("of many that dial at once none is passed over: those who came later are not served first", async () => {
  const root = await testAuthority();
  const leaf = await testLeaf(root, [ACCOUNT]);
  const loop = new Loop();
  await loop.start();
  const mesh = new MeshTls(loop, MESH_ALPNS, 0);
  mesh.setKeys({ identities: [leaf], trustBundle: [root.pem] });
  const fd = listenTcp(loop, "127.0.0.1", 0);
  if (!fd.ok) throw new Error(fd.error);
  const { port } = localEnd(loop, fd.value);
  const refused: string[] = [];
  const listener = mesh.listen(
    fd.value,
    {
      onAccept(stream) {
        stream.handler = IGNORE;
        stream.write(Buffer.from("x"), 0, 1);
      },
      onRefused: (reason) => void refused.push(reason),
      onRefusedPeer() {},
      onResumed() {},
      identityFor: () => ACCOUNT,
      namelessAlpn: "h2",
      soleIdentity: () => undefined,
    },
    leaf,
  );
  let begun = 0;
  let done = 0;
  /** Of each, how many were done between its dial and its end. */
  const passedBy: number[] = [];
  await new Promise<void>((resolve, reject) => {
    const next = (): void => {
      if (begun === IN_ALL) return;
      begun++;
      const from = done;
      mesh.dial(
        {
          ...{ is: "mesh", address: "127.0.0.1", port, serverName: NAME, as: ACCOUNT },
          ...{ alpn: MESH_ALPN_OPAQUE, peers: [ACCOUNT] },
        },
        {
          ...IGNORE,
          onData(stream) {
            passedBy.push(done - from);
            done++;
            stream.close();
            next();
            if (done === IN_ALL) resolve();
          },
          onClose: (_stream, reason) => reject(new Error(JSON.stringify(reason))),
        },
      );
    };
    for (let i = 0; i < AT_ONCE; i++) next();
  });
  listener.stop(true);
  loop.stop();
  expect(refused).toEqual([]);
  expect(Math.max(...passedBy)).toBeLessThan(3 * AT_ONCE);
});
