import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, readlinkSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { mapArena, openLibrary } from "./ffi.ts";
import { AF_UNIX, openLibc, SOCK_DGRAM } from "./libc.ts";
import { Notifier, openServiceManager } from "./notify.ts";

/** The manager's end, by libc: the runtime has no unix datagrams. Messages wait in the kernel until they are asked for. */
function manager(address: string) {
  const libc = { ...openLibc(), ...openLibrary("libc.so.6", { recvmsg: "i32 i32 at i32" }) };
  const { base, bytes, words } = mapArena(16_384);
  const path = Buffer.from(address);
  if (address.startsWith("@")) path[0] = 0;
  bytes.set([AF_UNIX, 0, ...path]);
  const socket = libc.socket(AF_UNIX, SOCK_DGRAM, 0);
  expect(libc.bind(socket, base, 2 + path.length)).toBe(0);
  return {
    /** The next message; -1: no descriptor came with it. */
    next(): { text: string; fd: number } {
      words.set([base + 8_192, 0, 4_096, 0], 512 >> 2);
      words.set([0, 0, 0, 0, base + 512, 0, 1, 0, base + 1_024, 0, 256, 0, 0, 0], 256 >> 2);
      const count = libc.recvmsg(socket, base + 256, 0);
      const hasControl = (words[(256 + 40) >> 2] as number) > 0;
      const text = Buffer.from(bytes.slice(8_192, 8_192 + count)).toString();
      return { text, fd: hasControl ? (words[(1_024 + 16) >> 2] as number) : -1 };
    },
    end: () => void libc.close(socket),
  };
}

for (const kind of ["path", "abstract"]) {
  test(`assignments arrive as one datagram, by ${kind}`, () => {
    const directory = mkdtempSync(join(tmpdir(), "im-notify-"));
    const address = kind === "path" ? join(directory, "n") : `@im-notify-${process.pid}`;
    const { next, end } = manager(address);
    const notifier = new Notifier(address);
    expect(notifier.tell(["READY=1", "STATUS=version 3"])).toBe(true);
    expect(notifier.tell(["WATCHDOG=1"])).toBe(true);
    expect(next()).toEqual({ text: "READY=1\nSTATUS=version 3", fd: -1 });
    expect(next()).toEqual({ text: "WATCHDOG=1", fd: -1 });
    end();
    rmSync(directory, { recursive: true });
  });
}

test("a listener that is stored arrives as itself", () => {
  const address = `@im-notify-fd-${process.pid}`;
  const { next, end } = manager(address);
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { fd } = listener as unknown as { fd: number };
  expect(new Notifier(address).tell(["FDSTORE=1", "FDNAME=im"], fd)).toBe(true);
  const got = next();
  expect(got.text).toBe("FDSTORE=1\nFDNAME=im");
  expect(readlinkSync(`/proc/self/fd/${got.fd}`)).toBe(readlinkSync(`/proc/self/fd/${fd}`));
  openLibc().close(got.fd);
  listener.stop(true);
  end();
});

test("a manager that is not there, and a text too long for one datagram, are told by false", () => {
  expect(new Notifier("/nowhere/notify").tell(["READY=1"])).toBe(false);
  expect(new Notifier("/nowhere/notify").tell([`STATUS=${"x".repeat(4_000)}`])).toBe(false);
});

test("what the manager said is for this process alone, and leaves the environment", () => {
  const env = {
    NOTIFY_SOCKET: "@here",
    WATCHDOG_USEC: "5000000",
    WATCHDOG_PID: "7",
    LISTEN_PID: "8",
    LISTEN_FDS: "2",
    LISTEN_FDNAMES: "a:b",
    PATH: "/bin",
  };
  expect(openServiceManager({ ...env }, 7)).toEqual({
    notifySocket: "@here",
    watchdogMs: 5_000,
    kept: [],
  });
  const left = { ...env };
  expect(openServiceManager(left, 9)).toMatchObject({ watchdogMs: undefined, kept: [] });
  expect(left as Record<string, string>).toEqual({ PATH: "/bin" });
  expect(
    openServiceManager({ NOTIFY_SOCKET: "here", LISTEN_PID: "9", LISTEN_FDS: "-1" }, 9),
  ).toEqual({
    notifySocket: undefined,
    watchdogMs: undefined,
    kept: [],
  });
});

test("descriptors that were kept come with their names, and are not inherited by our children", () => {
  const server = createServer();
  server.listen(0, "127.0.0.1");
  // Numbers from 3 on are this test process's own; they are only flagged, which the runtime does anyway.
  const { kept } = openServiceManager({ LISTEN_PID: "9", LISTEN_FDS: "1", LISTEN_FDNAMES: "x" }, 9);
  expect(kept).toEqual([{ fd: 3, name: "x" }]);
  const flags = /flags:\s+(\d+)/.exec(readFileSync("/proc/self/fdinfo/3", "utf8"))?.[1] ?? "0";
  expect(Number.parseInt(flags, 8) & 0o2000000).toBe(0o2000000);
  server.close();
});
