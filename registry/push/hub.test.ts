import { beforeEach, expect, test } from "bun:test";
import { ANSWERS_PER_EDGE_MAX, EDGES_FORMAT, type EdgeReport } from "../../agent/api/edges.ts";
import type { ServerMessage } from "../../agent/api/session.ts";
import { SILENT_LOG } from "../../agent/base/log.ts";
import { sample } from "../../test/support/reporting-mesh.ts";
import { VirtualClock } from "../../test/support/virtual-clock.ts";
import { NACK_REASONS_MAX } from "./agent-messages.ts";
import { type AgentSession, ANSWER_TIMEOUT_MS, HELLO_TIMEOUT_MS } from "./agent-session.ts";
import { COALESCE_MS, Hub } from "./hub.ts";
import { Publication, sha256Hex } from "./units.ts";

/** A socket that takes everything, or nothing until told. */
class TestSocket {
  readonly sent: ServerMessage[] = [];
  closed: { code: number; reason: string } | undefined;
  isBlocked = false;
  #release: (() => void) | undefined;

  send(text: string): Promise<void> {
    this.sent.push(JSON.parse(text) as ServerMessage);
    if (!this.isBlocked) return Promise.resolve();
    return new Promise((resolve) => {
      this.#release = resolve;
    });
  }
  release(): void {
    this.isBlocked = false;
    this.#release?.();
  }
  close(code: number, reason: string): void {
    this.closed = { code, reason };
  }
  get versions(): number[] {
    return this.sent.flatMap((message) =>
      message.type === "manifest" ? JSON.parse(message.manifest.payload).version : [],
    );
  }
  get bodies(): string[] {
    return this.sent.flatMap((m) => (m.type === "units" ? m.units.map((u) => u.body) : []));
  }
}

const publication = (version: number, bodies: readonly string[] = [`body ${version}`]) =>
  new Publication(
    { epoch: 1, version },
    bodies.map((body) => ({ unit: { hash: sha256Hex(body), body }, scope: { is: "all" } })),
    new Map(),
  );

let clock: VirtualClock;
let hub: Hub;
let socket: TestSocket;
let session: AgentSession;
/** Lets promises settle; virtual time stands still meanwhile. */
const settle = async () => {
  for (let i = 0; i < 20; i++) await Promise.resolve();
};
const connect = (host: string, to: TestSocket): AgentSession => {
  const made = hub.connect({ host, remoteAddress: undefined }, to);
  if (made === undefined) throw new Error("the hub is full");
  return made;
};
const hello = (parts: object = {}) => {
  const none = { epoch: 0, version: 0, units: [] };
  const fixed = { type: "hello", agentVersion: "1", host: "a", runs: ["k"] };
  session.receive(JSON.stringify({ ...fixed, ...none, ...parts }));
};
const answer = (type: "ack" | "nack", version: number, parts: object = {}) =>
  session.receive(JSON.stringify({ type, epoch: 1, version, ...parts }));

const heard: [host: string, report: EdgeReport][] = [];
beforeEach(() => {
  heard.length = 0;
  clock = new VirtualClock();
  const signer = {
    sign: (payload: string) => Promise.resolve({ payload, signature: "", certificates: [] }),
  };
  hub = new Hub({
    signer,
    clock,
    timers: clock,
    log: SILENT_LOG,
    heard: (host, report) => heard.push([host, report]),
  });
  socket = new TestSocket();
  session = connect("a", socket);
});

test("a change is pushed at once, and a burst within the next milliseconds as one", async () => {
  hub.publish(publication(1));
  hello();
  await settle();
  expect(socket.versions).toEqual([1]);
  answer("ack", 1);
  clock.pass(COALESCE_MS);
  hub.publish(publication(2));
  await settle();
  expect(socket.versions).toEqual([1, 2]);
  answer("ack", 2);
  for (let version = 3; version < 20; version++) hub.publish(publication(version));
  await settle();
  expect(socket.versions).toEqual([1, 2]);
  clock.pass(COALESCE_MS);
  await settle();
  expect(socket.versions).toEqual([1, 2, 19]);
});

test("an agent still busy with a version gets the newest when it answers, not those between", async () => {
  hub.publish(publication(1));
  hello();
  await settle();
  for (let version = 2; version < 6; version++) {
    clock.pass(COALESCE_MS * 2);
    hub.publish(publication(version));
  }
  await settle();
  expect(socket.versions).toEqual([1]);
  answer("ack", 1);
  await settle();
  expect(socket.versions).toEqual([1, 5]);
});

test("units go out once; after a refusal those of the refused version go out again", async () => {
  hub.publish(publication(1, ["x", "y"]));
  hello({ units: [sha256Hex("x")] });
  await settle();
  expect(socket.bodies).toEqual(["y"]);
  answer("ack", 1);
  clock.pass(COALESCE_MS);
  hub.publish(publication(2, ["x", "y", "z"]));
  await settle();
  expect(socket.bodies).toEqual(["y", "z"]);
  answer("nack", 2, { reasons: ["z is wrong"] });
  clock.pass(COALESCE_MS);
  hub.publish(publication(3, ["x", "y", "z", "w"]));
  await settle();
  expect(socket.bodies).toEqual(["y", "z", "z", "w"]);
});

test("the status tells what runs and why not more, also after the agent has gone", async () => {
  hub.publish(publication(1));
  hello();
  await settle();
  answer("ack", 1);
  clock.pass(COALESCE_MS);
  hub.publish(publication(2));
  await settle();
  const reasons = Array.from({ length: NACK_REASONS_MAX + 5 }, (_, i) => `reason ${i}`);
  answer("nack", 2, { reasons });
  const [status] = hub.statuses();
  expect(status).toMatchObject({ host: "a", isConnected: true, acked: { epoch: 1, version: 1 } });
  expect(status?.nack?.reasons).toHaveLength(NACK_REASONS_MAX + 1);
  expect(status?.nack?.reasons.at(-1)).toBe("and 5 more");
  session.ended();
  expect(hub.statuses()).toMatchObject([{ isConnected: false, nack: { version: 2 } }]);
});

test("a refused version is no longer told once a later one is run", async () => {
  hub.publish(publication(1));
  hello();
  await settle();
  answer("nack", 1, { reasons: ["no"] });
  clock.pass(COALESCE_MS);
  hub.publish(publication(2));
  await settle();
  answer("ack", 2);
  expect(hub.statuses()[0]?.nack).toBeUndefined();
});

test("an agent that has all of the newest version is sent nothing and counts as running it", async () => {
  hub.publish(publication(4, ["x"]));
  hello({ epoch: 1, version: 4, units: [sha256Hex("x")] });
  await settle();
  expect(socket.sent).toEqual([]);
  expect(hub.statuses()[0]?.acked).toEqual({ epoch: 1, version: 4 });
});

test("an agent that takes no bytes is dropped with a reason, and at most one message waits for it", async () => {
  socket.isBlocked = true;
  const bodies = Array.from({ length: 600 }, (_, i) => `unit ${i}`);
  hub.publish(publication(1, bodies));
  hello();
  await settle();
  expect(socket.sent).toHaveLength(1);
  clock.pass(ANSWER_TIMEOUT_MS);
  expect(socket.closed).toEqual({ code: 4408, reason: "no answer to a version in time" });
  socket.release();
  await settle();
  expect(socket.sent).toHaveLength(1);
});

test("an agent that never greets or never answers is dropped", async () => {
  clock.pass(HELLO_TIMEOUT_MS);
  expect(socket.closed).toMatchObject({ code: 4408 });
  socket = new TestSocket();
  session = connect("a", socket);
  hub.publish(publication(1));
  hello();
  await settle();
  clock.pass(ANSWER_TIMEOUT_MS);
  expect(socket.closed).toMatchObject({ code: 4408 });
});

test("nonsense, an answer to what was not sent and a second hello end the session", () => {
  const nonsense: (() => void)[] = [
    () => session.receive("{"),
    () => session.receive(JSON.stringify({ type: "hello" })),
    () => session.receive(JSON.stringify({ type: "unknown" })),
    () => answer("ack", 1),
    () => {
      hello();
      hello();
    },
  ];
  for (const say of nonsense) {
    socket = new TestSocket();
    session = connect("a", socket);
    say();
    expect(socket.closed).toMatchObject({ code: 4400 });
  }
});

test("a newer session of a host replaces the older one, whose end then changes nothing", () => {
  hello();
  const newer = new TestSocket();
  const older = session;
  session = connect("a", newer);
  expect(socket.closed).toMatchObject({ code: 4409 });
  hello();
  older.ended();
  expect(hub.connectedHosts).toEqual(["a"]);
  expect(hub.hostsThatCannotRun("other")).toEqual(["a"]);
  expect(hub.hostsThatCannotRun("k")).toEqual([]);
});

const edges = (parts: object = {}) =>
  JSON.stringify({
    type: "edges",
    format: EDGES_FORMAT,
    overMs: 5_000,
    omitted: 0,
    edges: [],
    ...parts,
  });

test("what an agent tells of traffic is handed on under the host its certificate proved", () => {
  hello();
  session.receive(edges({ edges: [sample("web", "shop")] }));
  expect(heard).toMatchObject([["a", { edges: [{ requests: 600 }] }]]);
  expect(socket.closed).toBeUndefined();
});

test("traffic before hello, or beyond its bounds, ends the session", () => {
  session.receive(edges());
  expect(socket.closed?.reason).toBe("traffic before hello");
  const bad = [
    { format: EDGES_FORMAT + 1 },
    { edges: [sample("web", "shop", { requests: -1 })] },
    { edges: [sample("web", "shop", { latencies: [[99, 1]] })] },
    { edges: [{ ...sample("web", "shop"), mood: "good" }] },
    {
      edges: [
        sample("web", "shop", {
          answers: Array.from({ length: ANSWERS_PER_EDGE_MAX + 1 }, () => ({
            status: 500,
            flags: "-",
            count: 1,
          })),
        }),
      ],
    },
  ];
  for (const parts of bad) {
    socket = new TestSocket();
    session = connect("a", socket);
    hello();
    session.receive(edges(parts));
    expect(socket.closed?.code).toBe(4400);
  }
  expect(heard).toEqual([]);
});
