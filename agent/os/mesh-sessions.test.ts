import { afterAll, beforeAll, expect, test } from "bun:test";
import {
  type TestAuthority,
  type TestLeaf,
  testAuthority,
  testLeaf,
} from "../../test/support/test-pki.ts";
import { MeshSessions } from "./mesh-sessions.ts";

test("the session that was replaced longest ago makes room for a new one", () => {
  const sessions = new MeshSessions(256);
  const session = (n: number) => Uint8Array.from([n & 255]);
  for (let i = 0; i < 256; i++) sessions.keep(`k${i}`, session(i));
  sessions.keep("k0", session(7));
  sessions.keep("new", session(1));
  expect(sessions.find("k1")).toBeUndefined();
  expect(sessions.find("k0")).toEqual(session(7));
  expect(sessions.find("new")).toEqual(session(1));
  sessions.drop("new");
  expect(sessions.find("new")).toBeUndefined();
  sessions.clear();
  expect(sessions.find("k0")).toBeUndefined();
});

test("a table for none keeps none", () => {
  const sessions = new MeshSessions(0);
  sessions.keep("k", Uint8Array.of(1));
  expect(sessions.find("k")).toBeUndefined();
});

/** What the runtime says at the end of a handshake. */
interface Verdict {
  readonly code: string | undefined;
  readonly isResumed: boolean;
  readonly names: string | undefined;
}
interface Socket {
  isSessionReused(): boolean;
  setSession(session: Uint8Array): void;
  getPeerX509Certificate(): { subjectAltName?: string } | undefined;
  write(text: string): number;
  end(): void;
}

let root: TestAuthority;
let server: { readonly port: number; stop(closes: boolean): void };
const verdicts: Verdict[] = [];

beforeAll(async () => {
  root = await testAuthority();
  const own = await testLeaf(root, ["spiffe://test.mesh/server"]);
  const socket = {
    handshake: (one: Socket, _done: boolean, error: { code: string } | null) => {
      const names = one.getPeerX509Certificate()?.subjectAltName;
      verdicts.push({ code: error?.code, isResumed: one.isSessionReused(), names });
    },
    data: (one: Socket) => void one.write("seen"),
  };
  const tls = {
    ...keysOf(own),
    ca: root.pem,
    requestCert: true,
    rejectUnauthorized: false,
    minVersion: 0x0304,
  };
  const options = { hostname: "127.0.0.1", port: 0, socket, tls };
  server = Bun.listen(
    options as unknown as Parameters<typeof Bun.listen>[0],
  ) as unknown as typeof server;
});
afterAll(() => server.stop(true));

const keysOf = ({ keyPem, certificates }: TestLeaf) => ({
  key: keyPem,
  cert: certificates.join("\n"),
});

/** A connection that says a word; the session it was given. */
function visit(leaf: TestLeaf, session?: Uint8Array): Promise<Uint8Array | undefined> {
  return new Promise((resolve) => {
    let given: Uint8Array | undefined;
    const socket = {
      open: (one: Socket) => {
        if (session !== undefined) one.setSession(session);
      },
      session: (_one: Socket, next: Uint8Array) => {
        given = next;
      },
      handshake: (one: Socket) => void one.write("hello"),
      data: (one: Socket) => one.end(),
      close: () => resolve(given),
    };
    const tls = { ...keysOf(leaf), rejectUnauthorized: false };
    const options = { hostname: "127.0.0.1", port: server.port, socket, tls };
    Bun.connect(options as unknown as Parameters<typeof Bun.connect>[0]);
  });
}

test("the runtime says of a resumed session what it said of the certificate that made it", async () => {
  const A = "spiffe://test.mesh/a";
  const other = await testAuthority("other");
  for (const [leaf, code] of [
    [await testLeaf(root, [A]), undefined],
    [await testLeaf(other, [A]), "UNABLE_TO_VERIFY_LEAF_SIGNATURE"],
    [await testLeaf(root, [A], -60_000), "CERT_HAS_EXPIRED"],
  ] as const) {
    verdicts.length = 0;
    await visit(leaf, await visit(leaf));
    const names = `URI:${A}`;
    expect(verdicts).toEqual([
      { code, isResumed: false, names },
      { code, isResumed: true, names },
    ]);
  }
});

test("whatever certificate the client holds by then: a session is that of the identity that made it", async () => {
  const maker = await testLeaf(root, ["spiffe://test.mesh/a"]);
  const bearer = await testLeaf(await testAuthority("other"), ["spiffe://test.mesh/b"]);
  verdicts.length = 0;
  await visit(bearer, await visit(maker));
  expect(verdicts[1]).toEqual({
    code: undefined,
    isResumed: true,
    names: "URI:spiffe://test.mesh/a",
  });
});
