// The main thread's side of the data threads: starts them, hands them keys and snapshots, gathers their series and log lines,
// and replaces one that died. What is said between the two is typed here; agent/worker.ts is the other side.
import type { Clock, Timer, Timers } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import { giveBack } from "../base/slots.ts";
import type { AccessLogMode } from "../observe/access-log.ts";
import type { Decision } from "../observe/decision-book.ts";
import type { TableView } from "../observe/prometheus.ts";
import { RetiredTables } from "../observe/retired-tables.ts";
import type { SeriesAnnouncement } from "../observe/series.ts";
import type { LoopDescriptors } from "../os/left-behind.ts";
import type { KeptDescriptor } from "../os/notify.ts";
import type { Snapshot } from "../policy/snapshot.ts";
import type { NameNews, ToldName } from "../policy/told-names.ts";
import { DeathRate, tooManyDeaths } from "./death-rate.ts";
import { DecisionSearch } from "./decision-search.ts";
import { LOOK_EVERY_MS, Pulse, STILL_MAX } from "./pulse.ts";
import { SnapshotFeed } from "./snapshot-feed.ts";
import type {
  FromThread,
  ThreadConfig,
  ThreadEvents,
  ThreadFault,
  ThreadHandle,
  ThreadKeys,
} from "./thread-messages.ts";

export interface DataThreadsDeps {
  spawn(events: ThreadEvents): ThreadHandle;
  writeAccess(lines: string): void;
  readonly clock: Pick<Clock, "nowMs">;
  readonly timers: Timers;
  log: Log;
  /** Closes the sockets of a thread that runs no more, whose number that is. */
  closeLeftBehind(descriptors: LoopDescriptors, index: number): void;
  /** Host names of endpoints: control/name-board.ts. */
  readonly names: {
    used(name: string): void;
    hear(news: NameNews): void;
    readonly told: readonly ToldName[];
    readonly wanted: readonly string[];
  };
  /** All threads serve this version. */
  onServing(epoch: number, version: number): void;
  /** The agent cannot go on; the error says why, for the operator. */
  onUnable(error: Error): void;
}

/** One thread's numbers and what they are called. */
export interface ThreadSeries {
  readonly memory: SharedArrayBuffer;
  readonly series: SeriesAnnouncement[];
}

interface Thread {
  readonly handle: ThreadHandle;
  readonly feed: SnapshotFeed;
  readonly config: ThreadConfig;
  series: ThreadSeries | undefined;
  serving: { epoch: number; version: number };
  isDrained: boolean;
  descriptors: LoopDescriptors | undefined;
  /** Who waits for its sockets. */
  tellSockets: ((sockets: readonly KeptDescriptor[]) => void) | undefined;
  /** Who waits until it takes nothing any more. */
  tellEnded: (() => void) | undefined;
  /** Told to end. */
  isEnding: boolean;
  /** Its beat when it was last asked for a sign of life. */
  askedAt: number | undefined;
  readonly pulse: Pulse;
}

/** Index of the thread that looks host names up. */
const LOOKS_UP = 0;
/** A thread that is told to end and does not in this time cannot be replaced: the process ends. */
const END_WITHIN_MS = 2_000;
const LETS_GO_WITHIN_MS = 500;

const beatOf = ({ beat }: ThreadConfig): number => Atomics.load(new Int32Array(beat), 0);

export class DataThreads {
  readonly #deps: DataThreadsDeps;
  readonly #threads: Thread[] = [];
  #accessLog: AccessLogMode | undefined;
  #keys: ThreadKeys | undefined;
  #snapshot: Snapshot | undefined;
  readonly #retired = new RetiredTables();
  readonly #deaths = new DeathRate();
  readonly #decisions: DecisionSearch;
  #whenDrained: (() => void) | undefined;
  #look: Timer | undefined;
  restarts = 0;
  bugs = 0;

  constructor(deps: DataThreadsDeps) {
    this.#deps = deps;
    this.#decisions = new DecisionSearch(deps.timers);
  }

  start(configs: readonly ThreadConfig[]): void {
    for (const config of configs) this.#threads.push(this.#spawn(config));
    this.#lookSoon();
  }

  #lookSoon(): void {
    this.#look = this.#deps.timers.after(LOOK_EVERY_MS, () => {
      for (const thread of this.#threads) if (thread.pulse.hasStalled()) this.#endStalled(thread);
      this.#lookSoon();
    });
  }

  #endStalled(thread: Thread): void {
    if (thread.isEnding) return;
    thread.isEnding = true;
    thread.handle.end(`it stalled: no turn of its loop in ${(STILL_MAX * LOOK_EVERY_MS) / 1000} s`);
    this.#deps.timers.after(END_WITHIN_MS, () => {
      if (!this.#threads.includes(thread)) return;
      this.#deps.onUnable(
        new Error(
          "a data thread stalled and cannot be ended, so the agent ends: that is a bug, report it with this log",
        ),
      );
    });
  }

  /** False: there is no such thread. */
  fault(index: number, fault: ThreadFault): boolean {
    const thread = this.#threads.find(({ config }) => config.index === index);
    thread?.handle.send({ type: "fault", fault });
    return thread !== undefined;
  }

  #spawn(config: ThreadConfig): Thread {
    const handle = this.#deps.spawn({
      onMessage: (message) => this.#heard(thread, message),
      onExit: (reason) => this.#replace(thread, reason),
    });
    const thread: Thread = {
      handle,
      feed: new SnapshotFeed((piece) => handle.send({ type: "snapshot", piece })),
      config,
      series: undefined,
      serving: { epoch: -1, version: -1 },
      isDrained: false,
      descriptors: undefined,
      tellSockets: undefined,
      tellEnded: undefined,
      isEnding: false,
      askedAt: undefined,
      pulse: new Pulse(config.beat),
    };
    const accessLog = this.#accessLog ?? config.accessLog;
    handle.send({ type: "start", config: { ...config, accessLog } });
    if (this.#keys !== undefined) handle.send({ type: "keys", keys: this.#keys });
    if (this.#snapshot !== undefined) thread.feed.offer(this.#snapshot);
    const { told, wanted } = this.#deps.names;
    if (told.length > 0) handle.send({ type: "names", names: told });
    if (config.index === LOOKS_UP && wanted.length > 0)
      handle.send({ type: "look_up", names: wanted, dropped: [] });
    return thread;
  }

  #replace(thread: Thread, reason: string): void {
    const at = this.#threads.indexOf(thread);
    if (at < 0) return;
    if (thread.series !== undefined) this.#retired.add(thread.series);
    if (thread.descriptors !== undefined)
      this.#deps.closeLeftBehind(thread.descriptors, thread.config.index);
    new Int32Array(thread.config.beat).fill(0);
    giveBack(thread.config.slots, thread.config.held);
    const isLast = this.#deaths.isTooOften(this.#deps.clock.nowMs());
    const isReplaced = !isLast && this.#whenDrained === undefined;
    this.#deps.log.error(isReplaced ? "a data thread died and is replaced" : "a data thread died", {
      thread: thread.config.index,
      reason,
    });
    if (!isReplaced) {
      this.#threads.splice(at, 1);
      this.#tellDrained();
      if (isLast) this.#deps.onUnable(new Error(tooManyDeaths(reason)));
      return;
    }
    this.restarts++;
    // What was kept for it has ended with it.
    this.#threads[at] = this.#spawn({ ...thread.config, kept: [] });
  }

  #heard(thread: Thread, message: FromThread): void {
    switch (message.type) {
      case "started":
        thread.descriptors = message.descriptors;
        thread.series = { memory: message.series, series: thread.series?.series ?? [] };
        return;
      case "series":
        thread.series?.series.push(message.series);
        return;
      case "taken":
        thread.feed.taken();
        return;
      case "name_used":
        this.#deps.names.used(message.name);
        return;
      case "name_news":
        this.#deps.names.hear(message.news);
        return;
      case "unable":
        this.#deps.onUnable(new Error(message.reason));
        return;
      case "sockets":
        thread.tellSockets?.(message.sockets);
        return;
      case "ended":
        thread.tellEnded?.();
        return;
      case "drained":
        thread.isDrained = true;
        this.#tellDrained();
        return;
      case "serving":
        thread.serving = message;
        this.#tellServing(message.epoch, message.version);
        return;
      case "access":
        this.#deps.writeAccess(message.lines);
        return;
      case "log":
        this.#deps.log[message.level](message.message, {
          ...message.fields,
          thread: thread.config.index,
        });
        return;
      case "decision":
        this.#decisions.heard(message.turn, message.found);
        return;
      case "bug":
        this.bugs++;
        this.#deps.log.error("a bug of ours closed a connection", { bug: message.message });
        return;
    }
  }

  #tellServing(epoch: number, version: number): void {
    const all = this.#threads.every(
      (t) => t.serving.epoch === epoch && t.serving.version === version,
    );
    if (all) this.#deps.onServing(epoch, version);
  }

  setKeys(keys: ThreadKeys): void {
    this.#keys = keys;
    for (const thread of this.#threads) thread.handle.send({ type: "keys", keys });
  }
  setSnapshot(snapshot: Snapshot): void {
    this.#snapshot = snapshot;
    for (const thread of this.#threads) thread.feed.offer(snapshot);
  }
  /** One thread looks names up for all. */
  lookUp(names: readonly string[], dropped: readonly string[]): void {
    const thread = this.#threads.find(({ config }) => config.index === LOOKS_UP);
    thread?.handle.send({ type: "look_up", names, dropped });
  }
  tellNames(names: readonly ToldName[]): void {
    for (const thread of this.#threads) thread.handle.send({ type: "names", names });
  }
  hostsChanged(): void {
    for (const thread of this.#threads) thread.handle.send({ type: "hosts" });
  }
  setAccessLog(mode: AccessLogMode): void {
    this.#accessLog = mode;
    for (const thread of this.#threads) thread.handle.send({ type: "access_log", mode });
  }
  /** From now on each owes a turn of its loop. */
  ask(): void {
    for (const thread of this.#threads) thread.askedAt = beatOf(thread.config);
  }
  /** Each has turned since it was asked; one that is new has not been asked, and one that loads its code is not yet to turn. */
  get areAnswering(): boolean {
    return this.#threads.every(({ askedAt, config }) => {
      const beat = beatOf(config);
      return askedAt === undefined || beat === 0 || beat !== askedAt;
    });
  }
  /** No more connections are accepted, idle ones end, others with what is under way. Resolves when none is open, at the latest
   *  drainTimeoutMs (and a moment for the cut itself) later, unless a thread stalls. */
  drain(): Promise<void> {
    return new Promise((resolve) => {
      this.#whenDrained = resolve;
      for (const thread of this.#threads) thread.handle.send({ type: "drain" });
      this.#tellDrained();
    });
  }
  /** All listening sockets, for a successor. A thread that dies meanwhile passes none on: whoever waits has a deadline. */
  async sockets(): Promise<readonly KeptDescriptor[]> {
    const all = this.#threads.map(
      (thread) =>
        new Promise<readonly KeptDescriptor[]>((resolve) => {
          thread.tellSockets = resolve;
          thread.handle.send({ type: "name_sockets" });
        }),
    );
    return (await Promise.all(all)).flat();
  }
  /** What some thread refused; undefined: none knows it (any more). */
  decision(id: string): Promise<Decision | undefined> {
    const handles = this.#threads.map(({ handle }) => handle);
    return this.#decisions.ask(handles, id);
  }
  /** As drain(), but a successor has the sockets, and no connection is ended before it is used once more. */
  handOver(limitMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.#whenDrained = resolve;
      for (const thread of this.#threads) thread.handle.send({ type: "hand_over", limitMs });
      this.#tellDrained();
    });
  }
  #tellDrained(): void {
    if (this.#threads.every((thread) => thread.isDrained)) this.#whenDrained?.();
  }
  /** Each is let finish what it has begun to answer; at the latest LETS_GO_WITHIN_MS later it is ended all the same. */
  async stop(): Promise<void> {
    this.#look?.cancel();
    const threads = this.#threads.splice(0);
    const ended = threads.map(
      (thread) =>
        new Promise<void>((resolve) => {
          thread.tellEnded = resolve;
          thread.handle.send({ type: "end" });
        }),
    );
    const late = new Promise<void>((resolve) => {
      this.#deps.timers.after(LETS_GO_WITHIN_MS, resolve);
    });
    await Promise.race([Promise.all(ended), late]);
    for (const { handle } of threads) handle.stop();
  }

  /** Whether the kernel let the threads have io_uring. */
  get usesUring(): boolean {
    return this.#threads.some((thread) => thread.descriptors?.ring !== undefined);
  }

  /** Of all threads there ever were: no counter falls. */
  get series(): readonly TableView[] {
    return [...this.#retired.all, ...this.#liveSeries];
  }
  /** The same without those that died long ago: what follows growth has followed theirs. */
  get growingSeries(): readonly TableView[] {
    return [...this.#retired.recent, ...this.#liveSeries];
  }
  get #liveSeries(): readonly TableView[] {
    return this.#threads.flatMap((t) => (t.series === undefined ? [] : [t.series]));
  }
  /** Every thread serves some version: none is being replaced. */
  get allServe(): boolean {
    return this.#threads.every(({ serving }) => serving.version >= 0);
  }
  get count(): number {
    return this.#threads.length;
  }
}
