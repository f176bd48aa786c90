import { afterAll, expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CannotListen } from "./cannot-listen.ts";
import { listenLocally, listenOn } from "./listening-socket.ts";
import { type LocalServer, serveLocally } from "./local-http.ts";

const directory = mkdtempSync(join(tmpdir(), "ironmesh-local-"));
afterAll(() => rmSync(directory, { recursive: true }));
const answerWith = (body: string) => () => ({ status: 200, contentType: "text/plain", body });
const unix = (name: string): string => join(directory, name);

/** One request on a connection that is kept; `again` asks once more there. */
async function keep(
  path: string,
): Promise<{ readonly ended: Promise<void>; ask(): Promise<string> }> {
  const socket = connect({ path });
  await new Promise<void>((resolve) => socket.once("connect", () => resolve()));
  const ended = new Promise<void>((resolve) => socket.once("end", () => resolve()));
  return {
    ended,
    ask: () =>
      new Promise((resolve) => {
        socket.once("data", (bytes) => resolve(bytes.toString().split("\r\n\r\n")[1] ?? ""));
        socket.write("GET / HTTP/1.1\r\nhost: agent\r\n\r\n");
      }),
  };
}

test("the admin socket is for its owner and group alone, answers on kept connections, and replaces what a killed agent left", async () => {
  const path = unix("admin.sock");
  serveLocally(listenLocally(path, undefined), answerWith("first")).close();
  const server = serveLocally(listenLocally(path, undefined), answerWith("second"));
  expect(statSync(path).mode & 0o777).toBe(0o660);
  const client = await keep(path);
  for (let i = 0; i < 3; i++) expect(await client.ask()).toBe("second");
  server.close();
});

test("a server that closes ends idle connections, and answers what was asked and who has not asked yet; its path, and a successor on its socket, stay", async () => {
  const path = unix("handed.sock");
  const asked = Promise.withResolvers<void>();
  const old = Promise.withResolvers<string>();
  let questions = 0;
  const first: LocalServer = serveLocally(listenLocally(path, undefined), async () => {
    if (questions++ === 0) return answerWith("at once")();
    asked.resolve();
    return answerWith(await old.promise)();
  });
  const [idle, busy, late] = [await keep(path), await keep(path), await keep(path)];
  expect(await idle.ask()).toBe("at once");
  const answer = busy.ask();
  await asked.promise;
  // As another process would have it: a descriptor of its own for the same socket.
  const { openLibrary } = await import("./ffi.ts");
  const second = serveLocally(
    openLibrary("libc.so.6", { dup: "i32 i32" }).dup(first.fd),
    answerWith("new"),
  );
  first.close();
  await idle.ended;
  old.resolve("old");
  expect(await Promise.all([answer, late.ask()])).toEqual(["old", "old"]);
  await Promise.all([busy.ended, late.ended]);
  expect(existsSync(path)).toBe(true);
  for (let i = 0; i < 3; i++) expect(await (await keep(path)).ask()).toBe("new");
  second.close();
});

test("a port that is taken, and a path that is too long, are told in words", async () => {
  const { createServer } = await import("node:net");
  const taken = createServer();
  await new Promise<void>((resolve) => taken.listen(0, "127.0.0.1", resolve));
  const { port } = taken.address() as { port: number };
  expect(() => listenOn("127.0.0.1", port)).toThrow(CannotListen);
  taken.close();
  expect(() => listenLocally(unix("x".repeat(120)), undefined)).toThrow("108 bytes");
});
