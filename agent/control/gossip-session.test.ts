// Gossip over real sockets of this machine's loopback.
import { afterEach, expect, test } from "bun:test";
import { createSocket } from "node:dgram";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { GossipPeer } from "../api/gossip.ts";
import { SeededRandom } from "../base/clock.ts";
import { SILENT_LOG } from "../base/log.ts";
import { systemClock, systemTimers } from "../os/clock.ts";
import { GossipSession } from "./gossip-session.ts";

const KEY = Buffer.alloc(32, 1).toString("base64");
const NEXT_KEY = Buffer.alloc(32, 2).toString("base64");

interface Node {
  readonly session: GossipSession;
  readonly peer: GossipPeer;
  readonly down: Set<string>;
}
const open: Node[] = [];
const directories: string[] = [];
afterEach(async () => {
  await Promise.all(open.splice(0).map(({ session }) => session.stop()));
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true });
});

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "0.0.0.0", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

async function node(name: string, stateDir?: string): Promise<Node> {
  const port = await freePort();
  const down = new Set<string>();
  const session = await GossipSession.open(
    { name, port, hasIpv6: false, stateDir },
    {
      clock: systemClock(),
      timers: systemTimers(),
      random: new SeededRandom(port),
      log: SILENT_LOG,
      onHealth: (host, isDown) => (isDown ? down.add(host) : down.delete(host)),
    },
  );
  const made = { session, peer: { name, address: "127.0.0.1", port }, down };
  open.push(made);
  return made;
}

function introduce(nodes: readonly Node[], keys: readonly string[] = [KEY]): void {
  for (const one of nodes) {
    const members = nodes.filter((other) => other !== one).map(({ peer }) => peer);
    one.session.follow({ keys, members });
  }
}

async function until(claim: () => boolean, withinMs = 8_000): Promise<number> {
  const startedMs = performance.now();
  while (!claim()) {
    if (performance.now() - startedMs > withinMs) throw new Error(`not within ${withinMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return performance.now() - startedMs;
}

const knowsAll = (nodes: readonly Node[]): boolean =>
  nodes.every(({ session }) =>
    session.members.every(({ status, rttMs }) => status === "alive" && rttMs !== undefined),
  );

test("members find each other, one that ends without a word gets no more traffic, and is back when it is", async () => {
  const [a, b, c] = [await node("a"), await node("b"), await node("c")];
  introduce([a, b, c]);
  await until(() => knowsAll([a, b, c]));
  await c.session.stop();
  expect(await until(() => a.down.has("c") && b.down.has("c"))).toBeLessThan(4_000);
  await until(() => a.session.members.find(({ name }) => name === "c")?.status === "dead");
  const back = await node("c");
  introduce([a, b, back]);
  await until(() => a.down.size + b.down.size === 0 && knowsAll([a, b, back]));
}, 30_000);

test("keys turn while members talk, and who has none of them is nobody", async () => {
  const [a, b, stranger] = [await node("a"), await node("b"), await node("c")];
  introduce([a, b]);
  await until(() => knowsAll([a, b]));
  for (const keys of [[KEY, NEXT_KEY], [NEXT_KEY, KEY], [NEXT_KEY]]) introduce([a, b], keys);
  stranger.session.follow({ keys: [KEY], members: [a.peer, b.peer] });
  await new Promise((resolve) => setTimeout(resolve, 1_500));
  expect(a.down.size + b.down.size).toBe(0);
  expect(stranger.session.members.map(({ status }) => status)).toEqual(["unheard", "unheard"]);
}, 30_000);

test("garbage on either socket ends nothing, and a stream that announces too much is closed", async () => {
  const [a, b] = [await node("a"), await node("b")];
  introduce([a, b]);
  await until(() => knowsAll([a, b]));
  const udp = createSocket("udp4");
  for (let size = 0; size < 1_400; size += 7)
    udp.send(Buffer.alloc(size, 1), a.peer.port, "127.0.0.1");
  const closed = await new Promise<boolean>((resolve) => {
    const socket = connect({ host: "127.0.0.1", port: a.peer.port });
    socket.on("close", () => resolve(true));
    socket.on("error", () => undefined);
    socket.write(Buffer.from([0xff, 0xff, 0xff, 0xff, 1, 2, 3]));
  });
  expect(closed).toBe(true);
  udp.close();
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  expect(a.down.size + b.down.size).toBe(0);
}, 30_000);

test("a port that is taken is tried again until it is free", async () => {
  const [a, b] = [await node("a"), await node("b")];
  const deps = { clock: systemClock(), timers: systemTimers(), random: new SeededRandom(1) };
  const told: string[] = [];
  const session = await GossipSession.open(
    { name: "c", port: b.peer.port, hasIpv6: false, stateDir: undefined },
    {
      ...deps,
      log: { ...SILENT_LOG, error: (message) => told.push(message) },
      onHealth: () => undefined,
    },
  );
  const late = { session, peer: { ...b.peer, name: "c" }, down: new Set<string>() };
  open.push(late);
  introduce([a, late]);
  expect(told).toEqual(["no part in the gossip pool for now"]);
  await b.session.stop();
  await until(() => knowsAll([a, late]));
}, 30_000);

test("keys and members outlive a restart without a server, for the agent's eyes only; a damaged file is passed over", async () => {
  const directory = mkdtempSync(join(tmpdir(), "ironmesh-gossip-"));
  directories.push(directory);
  const [a, b] = [await node("a", directory), await node("b")];
  introduce([a, b]);
  await a.session.stop();
  const file = join(directory, "gossip.json");
  expect(statSync(file).mode & 0o777).toBe(0o600);
  expect(JSON.parse(readFileSync(file, "utf8"))).toEqual({ keys: [KEY], members: [b.peer] });
  const again = await node("a", directory);
  b.session.follow({ keys: [KEY], members: [again.peer] });
  await until(() => again.session.members[0]?.status === "alive");
  writeFileSync(file, '{"keys":["short"]');
  expect((await node("a", directory)).session.members).toEqual([]);
}, 30_000);
