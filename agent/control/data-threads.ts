// The main thread's side of the data threads: starts them, hands them keys and snapshots, gathers their series and log lines,
// and replaces one that died. What is said between the two is typed here; agent/worker.ts is the other side.
import type { Log } from "../base/log.ts";
import { giveBack } from "../base/slots.ts";
import type { AccessLogMode } from "../observe/access-log.ts";
import type { SeriesAnnouncement } from "../observe/series.ts";
import type { LoopDescriptors } from "../os/left-behind.ts";
import type { Snapshot } from "../policy/snapshot.ts";
import type { SnapshotPiece } from "../policy/snapshot-pieces.ts";
import { SnapshotFeed } from "./snapshot-feed.ts";

/** PEM; see agent/os/mesh-tls.ts. */
export interface ThreadKeys {
  readonly identities: readonly {
    readonly identity: string;
    readonly certificates: readonly string[];
    readonly keyPem: string;
  }[];
  readonly trustBundle: readonly string[];
}

export interface ThreadConfig {
  readonly index: number;
  readonly seed: number;
  readonly slots: SharedArrayBuffer;
  /** What this thread holds of the slots (base/slots.ts). */
  readonly held: SharedArrayBuffer;
  readonly connectionsMax: number;
  /** Once told to drain, open connections that are left after this are cut. */
  readonly drainTimeoutMs: number;
  readonly accessLog: AccessLogMode;
  readonly hostListenerPort: number;
  readonly inboundPort: number;
  readonly meshPort: number;
  readonly hasIpv6: boolean;
  readonly usesUring: boolean;
  /** Resolvers whose port 53 is redirected to this thread; undefined: this thread answers no names. */
  readonly dns: { readonly resolvers: readonly string[]; readonly port: number } | undefined;
}

export type ToThread =
  | { readonly type: "start"; readonly config: ThreadConfig }
  | { readonly type: "keys"; readonly keys: ThreadKeys }
  /** Each is answered by `taken`. */
  | { readonly type: "snapshot"; readonly piece: SnapshotPiece }
  | { readonly type: "access_log"; readonly mode: AccessLogMode }
  | { readonly type: "drain" };

export type FromThread =
  | {
      readonly type: "started";
      readonly series: SharedArrayBuffer;
      readonly descriptors: LoopDescriptors;
    }
  | { readonly type: "series"; readonly series: SeriesAnnouncement }
  | { readonly type: "taken" }
  /** It cannot do its work, and another in its place could not either: a port is taken. One sentence for the operator. */
  | { readonly type: "unable"; readonly reason: string }
  /** After `drain`: no connection is open any more, and its last log lines are told. */
  | { readonly type: "drained" }
  /** The snapshot is in use and all its listeners are open. */
  | { readonly type: "serving"; readonly epoch: number; readonly version: number }
  | { readonly type: "access"; readonly lines: string }
  | {
      readonly type: "log";
      readonly level: "error" | "warn" | "info" | "debug";
      readonly message: string;
    }
  | { readonly type: "bug"; readonly message: string };

/** The part of a Worker that is used here. */
export interface ThreadHandle {
  send(message: ToThread): void;
  stop(): void;
}
export interface ThreadEvents {
  onMessage(message: FromThread): void;
  onExit(reason: string): void;
}

export interface DataThreadsDeps {
  spawn(events: ThreadEvents): ThreadHandle;
  writeAccess(lines: string): void;
  log: Log;
  /** Closes the sockets of a thread that runs no more. */
  closeLeftBehind(descriptors: LoopDescriptors): void;
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
}

/** Threads that die more often than this are a bug that new threads do not mend: the process ends, systemd decides. */
const RESTARTS_MAX = 5;
const restartsText = (reason: string): string =>
  `data threads died ${RESTARTS_MAX + 1} times, so the agent ends; the last one by: ${reason.trim()}. That is a bug: report it with this log`;

export class DataThreads {
  readonly #deps: DataThreadsDeps;
  readonly #threads: Thread[] = [];
  #accessLog: AccessLogMode | undefined;
  #keys: ThreadKeys | undefined;
  #snapshot: Snapshot | undefined;
  /** Tables of threads that died: their counts stay, so that no counter ever falls. */
  readonly #retired: ThreadSeries[] = [];
  #whenDrained: (() => void) | undefined;
  restarts = 0;
  bugs = 0;

  constructor(deps: DataThreadsDeps) {
    this.#deps = deps;
  }

  start(configs: readonly ThreadConfig[]): void {
    for (const config of configs) this.#threads.push(this.#spawn(config));
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
    };
    const accessLog = this.#accessLog ?? config.accessLog;
    handle.send({ type: "start", config: { ...config, accessLog } });
    if (this.#keys !== undefined) handle.send({ type: "keys", keys: this.#keys });
    if (this.#snapshot !== undefined) thread.feed.offer(this.#snapshot);
    return thread;
  }

  #replace(thread: Thread, reason: string): void {
    const at = this.#threads.indexOf(thread);
    if (at < 0) return;
    if (thread.series !== undefined) this.#retired.push(thread.series);
    if (thread.descriptors !== undefined) this.#deps.closeLeftBehind(thread.descriptors);
    giveBack(thread.config.slots, thread.config.held);
    const isLast = this.restarts >= RESTARTS_MAX;
    const isReplaced = !isLast && this.#whenDrained === undefined;
    this.#deps.log.error(isReplaced ? "a data thread died and is replaced" : "a data thread died", {
      thread: thread.config.index,
      reason,
    });
    if (!isReplaced) {
      this.#threads.splice(at, 1);
      this.#tellDrained();
      if (isLast) this.#deps.onUnable(new Error(restartsText(reason)));
      return;
    }
    this.restarts++;
    this.#threads[at] = this.#spawn(thread.config);
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
      case "unable":
        this.#deps.onUnable(new Error(message.reason));
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
        this.#deps.log[message.level](message.message, { thread: thread.config.index });
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
  setAccessLog(mode: AccessLogMode): void {
    this.#accessLog = mode;
    for (const thread of this.#threads) thread.handle.send({ type: "access_log", mode });
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
  #tellDrained(): void {
    if (this.#threads.every((thread) => thread.isDrained)) this.#whenDrained?.();
  }
  stop(): void {
    for (const thread of this.#threads.splice(0)) thread.handle.stop();
  }

  /** Whether the kernel let the threads have io_uring. */
  get usesUring(): boolean {
    return this.#threads.some((thread) => thread.descriptors?.ring !== undefined);
  }

  get series(): readonly ThreadSeries[] {
    return [
      ...this.#retired,
      ...this.#threads.flatMap((t) => (t.series === undefined ? [] : [t.series])),
    ];
  }
  get count(): number {
    return this.#threads.length;
  }
}
