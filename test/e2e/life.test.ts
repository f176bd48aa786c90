// What lives through what: sessions through the redirect's coming and going, names through an agent's death, traffic through the
// config server's.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { ADDRESS, canRun, eventually } from "../support/hosts.ts";
import type { Remote } from "../support/remote.ts";
import { Mesh } from "./mesh.ts";
import { BACKEND, UID } from "./ports.ts";

setDefaultTimeout(60_000);
const SSH_PORT = 22;
const can = await canRun("lives of agents, servers and sessions");
let mesh: Mesh;
let client: Remote;
let stranger: Remote;

beforeAll(async () => {
  if (!can) return;
  mesh = await Mesh.up();
  client = await mesh.remote("a", UID.client);
  stranger = await mesh.remote("a", UID.stranger);
});
afterAll(() => mesh?.down());

const query = (name: string, socket?: string): Promise<string> =>
  client.run((kit, server, n, s) => kit.query(server, n, s, 300), ADDRESS.c, name, socket);

/** Keeps a session open and says one line on it; what comes back within a second. */
const say = (who: Remote, session: string, line: string): Promise<string> =>
  who.run(
    (kit, name, text) =>
      new Promise<string>((resolve) => {
        const socket = kit.sockets.get(name);
        const timer = setTimeout(() => resolve("silence"), 1_000);
        socket?.once("data", (bytes) => {
          clearTimeout(timer);
          resolve(bytes.toString());
        });
        socket?.once("close", () => resolve("closed"));
        socket?.write(text);
      }),
    session,
    line,
  );

describe.skipIf(!can)("a live session to an undeclared port, as SSH is", () => {
  test("survives redirect apply, mode all, and remove, in both directions", async () => {
    const [there, here] = [await mesh.remote("c", 0), await mesh.remote("a", 0)];
    for (const who of [there, here]) {
      await who.run(async (kit, port) => {
        const server = kit.createServer((socket) => socket.pipe(socket));
        await new Promise<void>((resolve) => server.listen(port, "::", resolve));
      }, SSH_PORT);
    }
    const sessions = [
      [stranger, ADDRESS.c],
      [there, ADDRESS.a],
    ] as const;
    expect((await mesh.redirect("a", "remove")).code).toBe(0);
    for (const [who, host] of sessions) {
      await who.run(
        (kit, h, port) => {
          const socket = kit.connect(port, h);
          socket.on("error", () => {});
          kit.sockets.set("ssh", socket);
          return new Promise<void>((resolve) => socket.once("connect", resolve));
        },
        host,
        SSH_PORT,
      );
    }
    for (const words of [["apply"], ["apply", "--mode", "all"], ["apply"], ["remove"], ["apply"]]) {
      const [verb = "", ...rest] = words;
      const { code, stderr } = await mesh.redirect("a", verb, ...rest);
      expect(`${words.join(" ")} ${code} ${stderr}`).toBe(`${words.join(" ")} 0 `);
      for (const [who] of sessions)
        expect(await say(who, "ssh", `after ${words.join(" ")}`)).toBe(`after ${words.join(" ")}`);
    }
    const { vip4 } = await mesh.vipOf("web.default.mesh");
    // The agent renews DNS capture every 300 ms, and finds its set made anew.
    await eventually("names again", async () => (await query("web")) === vip4, 3_000);
    expect((await mesh.curl("http://web/after-all-that")).code).toBe("200");
  });
});

describe.skipIf(!can)("names", () => {
  test("of the mesh and ordinary ones resolve; through an agent's death too, on a new socket and on one in use throughout", async () => {
    const { vip4 } = await mesh.vipOf("web.default.mesh");
    expect(await query("web", "old")).toBe(vip4);
    expect(await query("www.example.org", "old")).toBe("192.0.2.53");
    expect(await query("nobody.example.net")).toBe("none");
    await mesh.kill("a");
    const diedMs = performance.now();
    for (const socket of [undefined, "old"]) {
      await eventually(
        `an ordinary name on ${socket ?? "a new"} socket`,
        async () => (await query("www.example.org", socket)) === "192.0.2.53",
        2_000,
      );
      const ms = Math.round(performance.now() - diedMs);
      console.log(
        `agent killed: ordinary names again on ${socket ?? "a new"} socket after ${ms} ms`,
      );
      expect(ms).toBeLessThan(2_000);
    }
    const startedMs = performance.now();
    mesh.startAgent("a");
    await eventually("mesh names again", async () => (await query("web", "old")) === vip4);
    console.log(`agent back: mesh names after ${Math.round(performance.now() - startedMs)} ms`);
    expect(await query("web")).toBe(vip4);
    expect((await mesh.curl("http://web/after-death")).code).toBe("200");
  });
});

describe.skipIf(!can)("without a config server", () => {
  test("traffic goes on, an agent comes back from disk with its redirect, and a change arrives once the server is back", async () => {
    await eventually("connected", async () => (await mesh.status("a"))?.server.isConnected);
    await mesh.kill("server");
    expect((await mesh.curl("http://web/no-server")).code).toBe("200");
    await mesh.kill("b");
    // Its rules stand while it is away: nobody reaches the app past it.
    const bare = { host: ADDRESS.b, port: BACKEND.http, send: "GET / HTTP/1.0\r\n\r\n" };
    const past = await (await mesh.remote("c", UID.outside)).run((kit, o) => kit.converse(o), bare);
    expect(past.text).toBe("");
    const startedMs = performance.now();
    mesh.startAgent("b");
    const { snapshotFrom } = await mesh.untilServing("b");
    expect(snapshotFrom).toBe("disk");
    await eventually("a request", async () => (await mesh.curl("http://web/disk")).code === "200");
    const ms = Math.round(performance.now() - startedMs);
    console.log(`agent restarted without a server: serves from disk after ${ms} ms`);
    mesh.startServer();
    await eventually("both connected again", async () => {
      const all = await Promise.all([mesh.status("a"), mesh.status("b")]);
      return all.every((one) => one?.server.isConnected === true);
    });
    await mesh.apply(CHANGE);
    expect((await mesh.curl("http://web/changed")).code).toBe("418");
  });
});

const CHANGE = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: { name: web }
spec:
  hosts: [web]
  http:
    - match: [{ uri: { prefix: /changed } }]
      directResponse: { status: 418 }
    - route: [{ destination: { host: web } }]
`;
