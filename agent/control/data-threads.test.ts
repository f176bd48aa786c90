import { expect, test } from "bun:test";
import { VirtualClock } from "../../test/support/virtual-clock.ts";
import { SILENT_LOG } from "../base/log.ts";
import { SharedSlots } from "../base/slots.ts";
import { renderPrometheus } from "../observe/prometheus.ts";
import { type SeriesAnnouncement, SeriesTable } from "../observe/series.ts";
import type { Endpoint, Snapshot } from "../policy/snapshot.ts";
import { PIECE_ITEMS_MAX, SnapshotAssembly } from "../policy/snapshot-pieces.ts";
import { DataThreads, type DataThreadsDeps } from "./data-threads.ts";
import { DEATHS_WINDOW_MS } from "./death-rate.ts";
import type { ThreadConfig, ThreadEvents, ThreadHandle, ToThread } from "./thread-messages.ts";

const KEYS = { identities: [], trustBundle: ["root"] };
const SLOTS = new SharedArrayBuffer(64);
const config = (index: number): ThreadConfig => ({
  index,
  seed: 1,
  slots: SLOTS,
  held: new SharedArrayBuffer(64),
  beat: new SharedArrayBuffer(4),
  takesFaults: false,
  buckets: { memory: new SharedArrayBuffer(16), seed: [1, 2] },
  connectionsMax: 10,
  http: { headersMax: 100, headerTimeoutMs: 10_000, bodyTimeoutMs: 60_000 },
  drainTimeoutMs: 100,
  accessLog: "off",
  hostListenerPort: 1,
  inboundPort: 2,
  meshPort: 3,
  hasIpv6: false,
  usesUring: false,
  resumesSessions: true,
  takesDatagrams: false,
  resolvers: [],
  dns: undefined,
  notifySocket: undefined,
  kept: [],
});
const snapshot = (version: number, endpoints = 1): Snapshot => ({
  epoch: 1,
  version,
  trustDomain: "mesh",
  host: { name: "a", identity: "spiffe://mesh/a", addresses: [] },
  workloads: [],
  services: [],
  clusters: [],
  endpoints: Array.from({ length: endpoints }, (_, i) => ({ id: `${i}` }) as Endpoint),
  outboundPolicy: "allow_any",
});

/** The other side: keeps what it is told, and takes pieces in when the test says so. */
class FakeThread implements ThreadHandle {
  readonly told: ToThread[] = [];
  readonly events: ThreadEvents;
  readonly #assembly = new SnapshotAssembly();
  #untaken = 0;
  isStopped = false;
  ended: string | undefined;

  constructor(events: ThreadEvents) {
    this.events = events;
  }

  send(message: ToThread): void {
    this.told.push(message);
    if (message.type === "snapshot") this.#untaken++;
  }

  stop(): void {
    this.isStopped = true;
  }

  end(reason: string): void {
    this.ended = reason;
  }

  /** One turn of its loop. */
  turn(): void {
    const [first] = this.told;
    if (first?.type === "start") Atomics.add(new Int32Array(first.config.beat), 0, 1);
  }

  /** Takes in what came; returns how many pieces lay there at once. */
  take(): number {
    const lay = this.#untaken;
    const pieces = this.told.flatMap((m) => (m.type === "snapshot" ? [m.piece] : [])).slice(-lay);
    this.#untaken = 0;
    for (const piece of lay > 0 ? pieces : []) {
      const whole = this.#assembly.add(structuredClone(piece));
      if (whole !== undefined) this.serve(whole.epoch, whole.version);
      this.events.onMessage({ type: "taken" });
    }
    return lay;
  }

  /** Takes in all there is, a turn after the other; returns the most that lay there at once. */
  takeAll(): number {
    let most = 0;
    for (let lay = this.take(); lay > 0; lay = this.take()) most = Math.max(most, lay);
    return most;
  }

  serve(epoch: number, version: number): void {
    this.events.onMessage({ type: "serving", epoch, version });
  }
}

const NO_NAMES: DataThreadsDeps["names"] = { used() {}, hear() {}, told: [], wanted: [] };

function start(count: number, names = NO_NAMES) {
  const spawned: FakeThread[] = [];
  const served: number[] = [];
  const unable: string[] = [];
  const closed: number[] = [];
  const clock = new VirtualClock();
  /** Time in which no timer runs. */
  const later = { ms: 0 };
  const threads = new DataThreads({
    log: SILENT_LOG,
    names,
    clock: { nowMs: () => clock.nowMs() + later.ms },
    timers: clock,
    spawn: (events) => {
      const thread = new FakeThread(events);
      spawned.push(thread);
      return thread;
    },
    closeLeftBehind: ({ epoll }) => closed.push(epoll),
    writeAccess() {},
    onServing: (_epoch, version) => served.push(version),
    onUnable: (error) => unable.push(error.message),
  });
  threads.start(Array.from({ length: count }, (_, index) => config(index)));
  const thread = (index: number): FakeThread => {
    const found = spawned[index];
    if (found === undefined) throw new Error(`no thread ${index} was started`);
    return found;
  };
  return { threads, spawned, served, unable, closed, clock, later, thread };
}

test("a version is served only when all threads serve it, one that fell behind included", () => {
  const { threads, served, thread } = start(2);
  threads.setSnapshot(snapshot(7));
  thread(0).takeAll();
  expect(served).toEqual([]);
  threads.setSnapshot(snapshot(8));
  thread(0).takeAll();
  thread(1).takeAll();
  expect(served).toEqual([8]);
  thread(1).serve(1, 7);
  expect(served).toEqual([8]);
});

test("no two pieces of a snapshot lie before a thread at once, and a newer one overtakes what was left", () => {
  const { threads, served, thread } = start(1);
  threads.setSnapshot(snapshot(1, 50 * PIECE_ITEMS_MAX));
  for (let i = 0; i < 10; i++) expect(thread(0).take()).toBe(1);
  threads.setSnapshot(snapshot(2, 2 * PIECE_ITEMS_MAX));
  expect(thread(0).takeAll()).toBe(1);
  expect(served).toEqual([2]);
  expect(thread(0).told.filter((m) => m.type === "snapshot")).toHaveLength(11 + 2);
});

test("a replacement gets the keys and the last snapshot, and the death of a thread leaves the others alone", () => {
  const { threads, spawned, served, thread } = start(2);
  threads.setKeys(KEYS);
  threads.setSnapshot(snapshot(1));
  for (const one of spawned) one.takeAll();
  threads.setSnapshot(snapshot(2));
  thread(0).events.onExit("gone");
  expect(spawned).toHaveLength(3);
  thread(2).takeAll();
  expect(
    thread(2)
      .told.map((m) => m.type)
      .slice(0, 2),
  ).toEqual(["start", "keys"]);
  expect(thread(2).told[0]).toMatchObject({ type: "start", config: { index: 0 } });
  thread(1).takeAll();
  expect(served).toEqual([1, 2]);
  expect([threads.restarts, threads.count]).toEqual([1, 2]);
});

test("names are looked up by one thread for all, and who comes in a dead one's place knows what the others know", () => {
  const told = [{ name: "db.example", places: ["192.0.2.1"], first: "192.0.2.1" }];
  const used: string[] = [];
  const names = {
    ...NO_NAMES,
    used: (name: string) => used.push(name),
    wanted: ["db.example"],
    told,
  };
  const { threads, thread } = start(2, names);
  const heard = (index: number): unknown[] =>
    thread(index).told.filter(({ type }) => type === "look_up" || type === "names");
  const lookUp = { type: "look_up", names: ["db.example"], dropped: [] };
  expect([heard(0), heard(1)]).toEqual([
    [{ type: "names", names: told }, lookUp],
    [{ type: "names", names: told }],
  ]);
  thread(1).events.onMessage({ type: "name_used", name: "api.example" });
  threads.lookUp(used, []);
  expect(thread(0).told.at(-1)).toEqual({ type: "look_up", names: ["api.example"], dropped: [] });
  thread(0).events.onExit("gone");
  expect(heard(2)).toEqual([{ type: "names", names: told }, lookUp]);
});

test("what a dead thread left open is closed, and what it counted stays counted, beside what its replacement counts", () => {
  const { threads, closed, thread } = start(1);
  const count = (by: FakeThread, requests: number): void => {
    const table = new SeriesTable({ cells: 1024 }, (series) =>
      by.events.onMessage({ type: "series", series }),
    );
    const descriptors = { epoll: requests, ring: undefined };
    by.events.onMessage({ type: "started", series: table.memory, descriptors });
    table.counter("requests_total", { code: "200" }).add(requests);
  };
  count(thread(0), 5);
  thread(0).events.onExit("gone");
  expect(renderPrometheus(threads.series)).toContain('requests_total{code="200"} 5\n');
  expect(closed).toEqual([5]);
  count(thread(1), 2);
  expect(renderPrometheus(threads.series)).toContain('requests_total{code="200"} 7\n');
});

test("threads are stopped once each takes nothing more, or after half a second", async () => {
  const { threads, clock, thread } = start(2);
  const stopped = threads.stop();
  const all = [thread(0), thread(1)];
  expect(all.map(({ told }) => told.at(-1)?.type)).toEqual(["end", "end"]);
  thread(0).events.onMessage({ type: "ended" });
  clock.pass(499);
  await Promise.resolve();
  expect(all.map((one) => one.isStopped)).toEqual([false, false]);
  clock.pass(1);
  await stopped;
  expect(all.map((one) => one.isStopped)).toEqual([true, true]);
});

test("a thread that was stopped, or was replaced before, is not replaced when it ends", async () => {
  const { threads, spawned, thread } = start(1);
  thread(0).events.onExit("gone");
  thread(0).events.onExit("gone again");
  expect(spawned).toHaveLength(2);
  const stopped = threads.stop();
  thread(1).events.onMessage({ type: "ended" });
  await stopped;
  thread(1).events.onExit("stopped");
  expect([spawned.length, thread(1).isStopped]).toEqual([2, true]);
});

test("a replacement logs accesses as was asked last", () => {
  const { threads, thread } = start(1);
  threads.setAccessLog("errors");
  thread(0).events.onExit("gone");
  expect(thread(1).told[0]).toEqual({
    type: "start",
    config: { ...config(0), accessLog: "errors" },
  });
});

test("a thread that cannot listen ends the agent in its own words, and none is started in its place", () => {
  const { spawned, unable, thread } = start(1);
  thread(0).events.onMessage({ type: "unable", reason: "port 15001 is taken" });
  expect([unable, spawned.length]).toEqual([["port 15001 is taken"], 1]);
});

test("a thread whose loop stands still for 2 s is ended and replaced, the others and the process go on", () => {
  const { threads, clock, spawned, unable, thread } = start(2);
  const turnBoth = (): void => {
    thread(0).turn();
    thread(1).turn();
  };
  for (let i = 0; i < 4; i++, clock.pass(500)) turnBoth();
  for (let i = 0; i < 4; i++, clock.pass(500)) thread(1).turn();
  expect([thread(0).ended, thread(1).ended]).toEqual([
    expect.stringContaining("stalled"),
    undefined,
  ]);
  thread(0).events.onExit(thread(0).ended ?? "");
  for (let i = 0; i < 10; i++, clock.pass(500)) thread(1).turn();
  expect([spawned.length, threads.restarts, unable.length]).toEqual([3, 1, 0]);
  expect(thread(2).ended).toBeUndefined(); // it may take longer to load than to turn
});

test("a thread that cannot be ended ends the agent", () => {
  const { clock, unable, thread } = start(1);
  thread(0).turn();
  clock.pass(500);
  clock.pass(4 * 500);
  expect(thread(0).ended).toContain("stalled");
  clock.pass(1_900);
  expect(unable).toEqual([]);
  clock.pass(200);
  expect(unable).toEqual([expect.stringContaining("cannot be ended")]);
});

test("threads that die again and again end the agent, with the last one's reason", () => {
  const { threads, spawned, unable, thread } = start(1);
  for (let i = 0; i < 5; i++) thread(i).events.onExit("gone");
  expect([threads.restarts, spawned.length, unable.length]).toEqual([5, 6, 0]);
  thread(5).events.onExit("the last straw");
  expect([threads.restarts, spawned.length, unable.length]).toEqual([5, 6, 1]);
  expect(unable[0]).toContain("6 times within 10 minutes");
  expect(unable[0]).toContain("the last straw");
});

test("threads that die now and then are replaced for as long as the agent lives; its counts neither fall nor grow in tables", () => {
  const { later, threads, unable, thread } = start(1);
  for (let i = 0; i < 40; i++) {
    const series: SeriesAnnouncement[] = [];
    const table = new SeriesTable({ cells: 1024 }, (one) => series.push(one));
    table.counter("requests_total").add(1);
    const { events } = thread(i);
    events.onMessage({
      type: "started",
      series: table.memory,
      descriptors: { epoll: i, ring: undefined },
    });
    for (const one of series) events.onMessage({ type: "series", series: one });
    events.onExit("once in a while");
    later.ms += 1;
    // Not until the time is over is the first of five forgotten.
    if (i % 5 === 4) later.ms += DEATHS_WINDOW_MS - 5;
  }
  expect([threads.restarts, unable]).toEqual([40, []]);
  expect(renderPrometheus(threads.series)).toContain("requests_total 40\n");
  expect(threads.series.length).toBeLessThan(12);
  thread(40).events.onExit("again"); // the first of the last five is just forgotten
  expect(unable).toEqual([]);
  thread(41).events.onExit("again"); // the second is not
  expect(unable).toHaveLength(1);
});

test("draining is over when every thread says so or is dead, and who dies then is not replaced", async () => {
  const { threads, spawned, thread } = start(3);
  let isOver = false;
  const over = threads.drain().then(() => {
    isOver = true;
  });
  for (const one of spawned) expect(one.told.at(-1)).toEqual({ type: "drain" });
  thread(0).events.onMessage({ type: "drained" });
  thread(1).events.onExit("gone");
  await Promise.resolve();
  expect(isOver).toBe(false);
  thread(2).events.onMessage({ type: "drained" });
  await over;
  expect(spawned).toHaveLength(3);
});

test("what a dead thread held is given back, once, and what others hold or all know stays", () => {
  const { thread } = start(2);
  const slotsOf = (index: number): SharedSlots => {
    const [first] = thread(index).told;
    if (first?.type !== "start") throw new Error("a thread is told its configuration first");
    return new SharedSlots(first.config.slots, first.config.held);
  };
  const [doomed, other] = [slotsOf(0), slotsOf(1)];
  doomed.hold(3, 1);
  doomed.hold(3, 1);
  doomed.hold(3, -1);
  other.hold(3, 5);
  doomed.add(4, 7);
  expect([other.read(3), other.read(4)]).toEqual([6, 7]);
  thread(0).events.onExit("gone");
  expect([other.read(3), other.read(4)]).toEqual([5, 7]);
  slotsOf(2).hold(3, 1);
  thread(2).events.onExit("gone");
  expect(other.read(3)).toBe(5);
});

test("threads that were asked owe a turn of their loop, and a new one in a dead one's place owes nothing", () => {
  const { threads, thread } = start(2);
  thread(0).turn();
  thread(1).turn();
  expect(threads.areAnswering).toBe(true);
  threads.ask();
  expect(threads.areAnswering).toBe(false);
  thread(0).turn();
  expect(threads.areAnswering).toBe(false);
  thread(1).events.onExit("a test");
  expect(threads.areAnswering).toBe(true);
});
