import { expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { snapshot, workload } from "../../test/support/mesh-fixture.ts";
import type { FromThread, ToThread } from "../control/thread-messages.ts";
import { splitSnapshot } from "../policy/snapshot-pieces.ts";
import { closeLeftBehind, type LoopDescriptors } from "./left-behind.ts";
import { startThread } from "./thread.ts";

const listens = (port: number): boolean =>
  readFileSync("/proc/self/net/tcp", "utf8").includes(
    `0100007F:${port.toString(16).toUpperCase().padStart(4, "0")} 00000000:0000 0A`,
  );

/** A port that was free a moment ago. */
async function freePort(): Promise<number> {
  const server = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = server;
  server.stop(true);
  return port;
}

/** A real data thread that serves; returns what is left of it and a way to end it. */
async function serve(ports: readonly [host: number, inbound: number, workload: number]) {
  const [hostListenerPort, inboundPort, outboundPort] = ports;
  let descriptors: LoopDescriptors = { epoll: -1, ring: undefined };
  let tellServing = (): void => {};
  const serving = new Promise<void>((resolve) => {
    tellServing = resolve;
  });
  let tellExit = (): void => {};
  const exited = new Promise<void>((resolve) => {
    tellExit = resolve;
  });
  const thread = startThread<FromThread, ToThread>({
    onMessage: (message) => {
      if (message.type === "started") descriptors = message.descriptors;
      if (message.type === "serving") tellServing();
    },
    onExit: () => tellExit(),
  });
  const config = {
    index: 0,
    seed: 1,
    slots: new SharedArrayBuffer(4096),
    beat: new SharedArrayBuffer(4),
    takesFaults: false,
    held: new SharedArrayBuffer(4096),
    buckets: { memory: new SharedArrayBuffer(16), seed: [1, 2] as const },
    connectionsMax: 10,
    http: { headersMax: 100, headerTimeoutMs: 10_000, bodyTimeoutMs: 60_000 },
    drainTimeoutMs: 100,
    accessLog: "off" as const,
    hostListenerPort,
    inboundPort,
    meshPort: 0,
    hasIpv6: false,
    usesUring: true,
    resumesSessions: true,
    takesDatagrams: false,
    resolvers: [],
    dns: undefined,
    notifySocket: undefined,
    kept: [],
  };
  thread.send({ type: "start", config });
  const workloads = [workload("client", { outboundPort })];
  for (const piece of splitSnapshot(snapshot("10.0.0.1", { workloads })))
    thread.send({ type: "snapshot", piece });
  await serving;
  const die = (): Promise<void> => {
    thread.send({ type: "snapshot", piece: { is: "nonsense" } as never }); // a bug: uncaught in the thread
    return exited;
  };
  return { descriptors, die };
}

test("a thread that died leaves its listeners open, and they are closed for it, with what waited there", async () => {
  const ports = [await freePort(), await freePort(), await freePort()] as const;
  const { descriptors, die } = await serve(ports);
  await die();
  expect([listens(ports[0]), listens(ports[2])]).toEqual([true, true]);
  const client = connect(ports[0], "127.0.0.1");
  await new Promise<void>((resolve) => client.once("connect", resolve));
  const ended = new Promise<string | undefined>((resolve) =>
    client.once("error", (error: NodeJS.ErrnoException) => resolve(error.code)),
  );
  expect(closeLeftBehind(descriptors)).toBe(3);
  expect(await ended).toBe("ECONNRESET");
  expect([listens(ports[0]), listens(ports[2])]).toEqual([false, false]);
  for (const fd of [descriptors.epoll, descriptors.ring])
    expect(fd === undefined || existsSync(`/proc/self/fd/${fd}`)).toBe(fd === undefined);
});
