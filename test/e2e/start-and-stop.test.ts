// How an agent begins and ends: a taken port is told in one sentence, and a stop ends what is under way before it ends the agent.
import {
  afterAll,
  afterEach,
  beforeAll,
  describe,
  expect,
  setDefaultTimeout,
  test,
} from "bun:test";
import type { ChildProcess } from "node:child_process";
import { MESH_PORT } from "../../agent/api/mesh-wire.ts";
import { canRun, eventually } from "../support/hosts.ts";
import type { Remote } from "../support/remote.ts";
import { type Member, Mesh } from "./mesh.ts";
import { UID } from "./ports.ts";

setDefaultTimeout(60_000);
const can = await canRun("starts and stops of agents");
let mesh: Mesh;

beforeAll(async () => {
  if (can) mesh = await Mesh.up();
});
afterAll(() => mesh?.down());

const endOf = (child: ChildProcess): Promise<number | NodeJS.Signals | null> =>
  new Promise((resolve) => child.once("exit", (code, signal) => resolve(code ?? signal)));

const listen = (who: Remote, port: number, address: string): Promise<void> =>
  who.run(
    (kit, p, a) =>
      new Promise<void>((resolve, reject) => {
        const server = kit.createServer(() => {});
        server.once("error", reject);
        server.listen(p, a, () => resolve());
        kit.sockets.set("taken", { destroy: () => server.close() } as never);
      }),
    port,
    address,
  );
const letGo = (who: Remote): Promise<void> =>
  who.run(async (kit) => void kit.sockets.get("taken")?.destroy());

/** A request whose body comes back as it is sent; returns when its first part came back. */
const begin = (client: Remote, address: string): Promise<string> =>
  client.run(
    (kit, host) =>
      new Promise<string>((resolve) => {
        const socket = kit.connect(80, host);
        kit.sockets.set("exchange", socket);
        socket.on("error", (error) => resolve(error.message));
        socket.on("data", (bytes) => resolve(bytes.toString()));
        socket.write(
          "POST /echo HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n",
        );
      }),
    address,
  );
/** Sends the rest; what came then, until the connection ended. */
const finish = (client: Remote): Promise<string> =>
  client.run(
    (kit) =>
      new Promise<string>((resolve) => {
        let text = "";
        const socket = kit.sockets.get("exchange");
        socket?.on("data", (bytes) => {
          text += bytes.toString();
        });
        socket?.once("close", () => resolve(text));
        socket?.end("4\r\nlast\r\n0\r\n\r\n");
      }),
  );

describe.skipIf(!can)("an agent that is told to stop", () => {
  let told: Member = "a";
  // Also when it did not end as it should: the next test has both agents.
  afterEach(async () => {
    await mesh.kill(told);
    mesh.startAgent(told);
    await mesh.untilServing(told);
  });
  for (const host of ["a", "b"] as const satisfies readonly Member[]) {
    test(`accepts no more, lets the request under way end, and ends with code 0: host ${host}`, async () => {
      const client = await mesh.remote("a", UID.client);
      const here = await mesh.remote(host, 0);
      told = host;
      await mesh.kill(host);
      const agent = mesh.startAgent(host);
      await mesh.untilServing(host);
      const { vip4 } = await mesh.vipOf("web.default.mesh");
      await eventually("a request", async () => (await mesh.curl("http://web/up")).code === "200");
      expect(await begin(client, vip4)).toContain("first");
      const ended = endOf(agent);
      agent.kill("SIGTERM");
      const listener = { host: "127.0.0.1", port: 15001 };
      await eventually("it accepts no more", async () => {
        const dialled = await here.run((kit, options) => kit.converse(options), listener);
        return dialled.how === "refused";
      });
      expect(agent.exitCode).toBe(null);
      const startedMs = performance.now();
      expect(await finish(client)).toContain("4\r\nlast\r\n0\r\n\r\n");
      expect(await ended).toBe(0);
      expect(performance.now() - startedMs).toBeLessThan(5_000);
      expect((await mesh.accessOf(host, "/echo")).response_code).toBe(200);
    });
  }
});

describe.skipIf(!can)("an agent that finds one of its ports taken", () => {
  beforeAll(() => mesh.kill("b"));
  const ports = [
    ["the host's listener", 15001, "127.0.0.1"],
    ["the inbound listener", 15006, "0.0.0.0"],
    ["the mesh port", MESH_PORT, "0.0.0.0"],
    ["the metrics port", 15020, "127.0.0.1"],
  ] as const;
  for (const [what, port, address] of ports) {
    test(`ends with code 1 and a sentence that names it: ${what}`, async () => {
      const other = await mesh.remote("b", 0);
      await listen(other, port, address);
      const before = mesh.log("agent-b").length;
      expect(await endOf(mesh.startAgent("b"))).toBe(1);
      const said = mesh.log("agent-b").slice(before);
      const errors = said.split("\n").filter((line) => line.startsWith("error: "));
      expect(errors).toHaveLength(1);
      expect(errors[0]).toMatch(
        new RegExp(
          `^error: cannot listen on \\S+:${port}: EADDRINUSE; another process has port ${port}: stop it `,
        ),
      );
      expect(said).not.toContain("died");
      await letGo(other);
    });
  }
});
