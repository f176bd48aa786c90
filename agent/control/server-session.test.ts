import { beforeEach, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { VirtualClock } from "../../test/support/virtual-clock.ts";
import { type AgentMessage, MESSAGE_BYTES_MAX, UNITS_PER_MESSAGE_MAX } from "../api/session.ts";
import { SeededRandom } from "../base/clock.ts";
import { SILENT_LOG } from "../base/log.ts";
import { err, ok } from "../base/result.ts";
import { compile } from "../policy/compile.ts";
import { ConfigPlane } from "./config-plane.ts";
import { parseManifest } from "./manifest.ts";
import { parseServerMessage } from "./server-messages.ts";
import {
  CONNECT_TIMEOUT_MS,
  type ConnectionEvents,
  RECONNECT_BASE_MS,
  RECONNECT_MAX_MS,
  ServerSession,
} from "./server-session.ts";

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const unitOf = (body: unknown) => {
  const text = JSON.stringify(body);
  return { hash: createHash("sha256").update(text).digest("hex"), body: text };
};
const MESH = unitOf({
  is: "mesh",
  mesh: { trustDomain: "mesh.test", rootNamespace: "istio-system", outboundPolicy: "allow_any" },
});

class Dialled {
  readonly said: AgentMessage[] = [];
  pings = 0;
  isClosed = false;
  readonly server: string;
  readonly events: ConnectionEvents;

  constructor(server: string, events: ConnectionEvents) {
    this.server = server;
    this.events = events;
  }
}

class World {
  readonly clock = new VirtualClock();
  readonly dialled: Dialled[] = [];
  /** What a manifest's signature is made to be. */
  isSigned = true;
  readonly plane = new ConfigPlane(
    { host: "vm-1", slotFirst: 0, slotCapacity: 100 },
    {
      store: {
        save: async () => {},
        loadCompiled: async () => undefined,
        loadPorts: async () => [],
        loadSources: async () => undefined,
      },
      compile,
      hostAddresses: () => [],
      clearSlots() {},
      onSnapshot() {},
      log: SILENT_LOG,
    },
  );
  readonly session = new ServerSession(
    { host: "vm-1", agentVersion: "1", runs: ["a/b"], servers: ["https://one", "https://two"] },
    {
      plane: this.plane,
      transport: {
        connect: (server, events) => {
          const dialled = new Dialled(server, events);
          this.dialled.push(dialled);
          return {
            send: (text) => void dialled.said.push(JSON.parse(text)),
            ping: () => void dialled.pings++,
            close: () => {
              dialled.isClosed = true;
            },
          };
        },
      },
      verify: async (signed) => {
        const manifest = parseManifest(signed.payload);
        return manifest !== undefined && this.isSigned
          ? ok(manifest)
          : err("the signature does not hold");
      },
      explain: async (id) => {
        if (id === "bug") throw new Error("a bug");
        return err(`gone: ${id}`);
      },
      clock: this.clock,
      timers: this.clock,
      random: new SeededRandom(3),
      log: SILENT_LOG,
    },
  );

  get last(): Dialled {
    const last = this.dialled.at(-1);
    if (last === undefined) throw new Error("nothing was dialled");
    return last;
  }

  async hear(message: unknown): Promise<void> {
    this.last.events.onText(JSON.stringify(message));
    await settled();
  }

  hearManifest(version: number, units: readonly string[]): Promise<void> {
    const payload = JSON.stringify({ epoch: 1, version, host: "vm-1", units, issuedAtMs: 0 });
    return this.hear({ type: "manifest", manifest: { payload, signature: "", certificates: [] } });
  }
}

let world: World;
beforeEach(() => {
  world = new World();
  world.session.start();
});

test("a session says hello with what it runs, and acks what it takes", async () => {
  world.last.events.onOpen();
  await world.hear({ type: "units", units: [MESH] });
  await world.hearManifest(4, [MESH.hash]);
  expect(world.last.said).toEqual([
    {
      speaks: ["decisions/1"],
      type: "hello",
      agentVersion: "1",
      host: "vm-1",
      runs: ["a/b"],
      epoch: 0,
      version: 0,
      units: [],
    },
    { type: "ack", epoch: 1, version: 4 },
  ]);
  world.last.events.onClose("cut");
  world.clock.pass(RECONNECT_BASE_MS);
  world.last.events.onOpen();
  expect(world.last.said[0]).toMatchObject({ epoch: 1, version: 4, units: [MESH.hash] });
});

test("what a refused version brought is not counted as known", async () => {
  world.last.events.onOpen();
  await world.hear({ type: "units", units: [unitOf({ is: "quota" }), MESH] });
  await world.hearManifest(4, [MESH.hash, unitOf({ is: "quota" }).hash]);
  expect(world.last.said[1]).toMatchObject({ type: "nack", epoch: 1, version: 4 });
  expect(world.session.status.lastNack?.[0]).toContain("quota");
  await world.hearManifest(5, [MESH.hash]);
  expect(world.last.isClosed).toBe(true);
});

test("a manifest that is not believed ends the connection and changes nothing", async () => {
  world.last.events.onOpen();
  world.isSigned = false;
  await world.hear({ type: "units", units: [MESH] });
  await world.hearManifest(4, [MESH.hash]);
  expect(world.last.isClosed).toBe(true);
  expect(world.plane.snapshot).toBeUndefined();
  expect(world.session.status).toMatchObject({
    state: "waiting",
    lastError: "the signature does not hold",
  });
});

test("a question about a decision is answered under its turn, also where the answer fails", async () => {
  world.last.events.onOpen();
  expect(world.last.said[0]).toMatchObject({ type: "hello", speaks: ["decisions/1"] });
  await world.hear({ type: "decision", turn: 7, id: "3h7k2q-0a1b2-c" });
  await world.hear({ type: "decision", turn: 8, id: "bug" });
  expect(world.last.said.slice(1)).toEqual([
    { type: "decision", turn: 7, error: "gone: 3h7k2q-0a1b2-c" },
    { type: "decision", turn: 8, error: "the agent failed at it: see its log" },
  ]);
  for (const nonsense of [{ turn: -1, id: "a" }, { turn: 1 }, { turn: 1, id: "a".repeat(65) }])
    expect(parseServerMessage(JSON.stringify({ type: "decision", ...nonsense })).ok).toBe(false);
});

test("a silent server is noticed within 3 s, one that answers pings never", () => {
  world.last.events.onOpen();
  for (let second = 0; second < 60; second++) {
    world.clock.pass(1_000);
    world.last.events.onPong();
  }
  expect(world.dialled).toHaveLength(1);
  expect(world.last.pings).toBe(60);
  world.clock.pass(3_000);
  expect(world.dialled[0]?.isClosed).toBe(true);
});

test("a server that accepts and says nothing is given up after the connect timeout", () => {
  world.clock.pass(CONNECT_TIMEOUT_MS);
  expect(world.last.isClosed).toBe(true);
  expect(world.session.status.state).toBe("waiting");
});

test("reconnects go to the servers in turn, ever more slowly, never slower than the bound", () => {
  const times: number[] = [];
  for (let i = 0; i < 14; i++) {
    const before = world.dialled.length;
    world.last.events.onClose("refused");
    const sinceMs = world.clock.nowMs();
    world.clock.until(() => world.dialled.length > before);
    times.push(world.clock.nowMs() - sinceMs);
  }
  expect(times[0]).toBeLessThanOrEqual(RECONNECT_BASE_MS);
  expect(Math.max(...times)).toBeLessThanOrEqual(RECONNECT_MAX_MS);
  expect(times.at(-1)).toBeGreaterThan(RECONNECT_MAX_MS / 2 - 1);
  expect(world.dialled.slice(0, 3).map(({ server }) => server)).toEqual([
    "https://one",
    "https://two",
    "https://one",
  ]);
});

test("a stopped session dials no more and hears nothing", async () => {
  world.last.events.onOpen();
  world.session.stop();
  expect(world.last.isClosed).toBe(true);
  await world.hear({ type: "units", units: [MESH] });
  world.last.events.onClose("late");
  world.clock.pass(60_000);
  expect(world.dialled).toHaveLength(1);
});

test("messages beyond their bounds, of unknown types or with altered units are nonsense", () => {
  const reasonOf = (message: unknown): string => {
    const parsed = parseServerMessage(
      typeof message === "string" ? message : JSON.stringify(message),
    );
    return parsed.ok ? "taken" : parsed.error;
  };
  expect(reasonOf({ type: "units", units: [MESH] })).toBe("taken");
  expect(reasonOf({ type: "units", units: [{ ...MESH, body: `${MESH.body} ` }] })).toContain(
    "does not match",
  );
  const many = Array.from({ length: UNITS_PER_MESSAGE_MAX + 1 }, () => MESH);
  expect(reasonOf({ type: "units", units: many })).toContain("too many");
  expect(reasonOf({ type: "units", units: [null] })).toContain("without hash");
  expect(reasonOf({ type: "run", command: "x" })).toContain("unknown type");
  expect(reasonOf({ type: "manifest", manifest: { payload: 1 } })).toContain("without payload");
  expect(reasonOf("rubbish")).toContain("not JSON");
  expect(reasonOf("null")).toContain("not an object");
  expect(reasonOf(" ".repeat(MESSAGE_BYTES_MAX + 1))).toContain("too large");
});
