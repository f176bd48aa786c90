// An upgrade in place: what is under way ends where it began, what comes goes to the new process, and a new file that is none changes
// nothing.
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync, copyFileSync, renameSync, writeFileSync } from "node:fs";
import { isRunning } from "../../cli/demo/daemon.ts";
import { canRun, eventually } from "../support/hosts.ts";
import type { Remote } from "../support/remote.ts";
import { type Member, Mesh } from "./mesh.ts";
import { UID } from "./ports.ts";

setDefaultTimeout(120_000);
const can = await canRun("upgrades in place");
let mesh: Mesh;
let client: Remote;
/** Of agents that no child of ours is. */
const pids: number[] = [];

beforeAll(async () => {
  if (!can) return;
  mesh = await Mesh.up();
  client = await mesh.remote("a", UID.client);
});
afterAll(async () => {
  for (const pid of pids) if (isRunning(pid)) process.kill(pid, "SIGKILL");
  await mesh?.down();
});

const pidOf = async (host: Member): Promise<number> => (await mesh.untilServing(host)).pid;

/** Sends text on a connection of that name, opened when there is none; what comes back until it holds `awaited`, or the end. */
const say = (name: string, to: string, text: string, awaited: string): Promise<string> =>
  client.run(
    (kit, socketName, host, said, end) =>
      new Promise<string>((resolve) => {
        const socket = kit.sockets.get(socketName) ?? kit.connect(80, host);
        kit.sockets.set(socketName, socket);
        let heard = "";
        socket.on("error", (error) => resolve(`${heard}${error.message}`));
        socket.on("close", () => resolve(`${heard}[closed]`));
        socket.on("data", (bytes) => {
          heard += bytes.toString();
          if (end !== "" && heard.includes(end)) resolve(heard);
        });
        socket.write(said);
      }),
    name,
    to,
    text,
    awaited,
  );

const UPLOAD =
  "POST /echo HTTP/1.1\r\nhost: web\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n";
const GET = "GET /kept HTTP/1.1\r\nhost: web\r\n\r\n";

describe.skipIf(!can)("an agent that is upgraded in place", () => {
  for (const host of ["a", "b"] as const satisfies readonly Member[]) {
    test(`ends what is under way, answers once more who was idle, and leaves with its last connection: host ${host}`, async () => {
      const { vip4 } = await mesh.vipOf("web.default.mesh");
      await eventually("a request", async () => (await mesh.curl("http://web/up")).code === "200");
      const before = await pidOf(host);
      const [upload, kept] = [`upload ${host}`, `kept ${host}`];
      expect(await say(upload, vip4, UPLOAD, "first")).toContain("first");
      expect(await say(kept, vip4, GET, "\r\n\r\n")).toStartWith("HTTP/1.1 200");
      const { code, stdout, stderr } = await mesh.upgrade(host);
      expect(`${code} ${stderr}`).toBe("0 ");
      const after = await pidOf(host);
      pids.push(after);
      expect(stdout).toContain(`(pid ${before}) -> `);
      expect(after).not.toBe(before);
      for (let i = 0; i < 20; i++) expect((await mesh.curl("http://web/new")).code).toBe("200");
      expect(isRunning(before)).toBe(true);
      expect(await say(upload, vip4, "4\r\nlast\r\n0\r\n\r\n", "0\r\n\r\n")).toContain("last");
      const again = await say(kept, vip4, GET, host === "a" ? "" : "\r\n\r\n");
      expect(again).toStartWith("HTTP/1.1 200");
      if (host === "a") expect(again).toMatch(/connection: close[\s\S]*\[closed\]$/);
    });
  }

  test("goes on untouched when the new file does not serve, and says why", async () => {
    const path = mesh.executable;
    if (path === undefined) throw new Error("this needs dist/meshctl: run `npm run build`");
    const good = `${path}.good`;
    copyFileSync(path, good);
    chmodSync(good, 0o755);
    writeFileSync(`${path}.bad`, "#!/bin/sh\nexit 3\n", { mode: 0o755 });
    renameSync(`${path}.bad`, path);
    const before = await pidOf("a");
    const { code, stderr } = await mesh.upgrade("a", good);
    renameSync(good, path);
    expect(code).toBe(1);
    expect(stderr).toContain("the new process ended with 3");
    expect(await pidOf("a")).toBe(before);
    expect((await mesh.curl("http://web/after-all")).code).toBe("200");
    await eventually("its session", async () => (await mesh.status("a"))?.server.isConnected);
  });
});
