// One thread, two event loops: ours (libc epoll: all plain sockets) and the runtime's (TLS sockets, WebSocket, timers). The
// runtime's epoll fd is one more entry in ours (an epoll fd is readable while it has ready events), so one epoll_wait sleeps
// for both. When the runtime has work we return to it, and setImmediate brings us back after one turn of its loop.
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { createServer } from "node:net";
import type { Clock } from "../base/clock.ts";
import { TimerWheel } from "../base/timer-wheel.ts";
import { type Arena, errnoReader, mapArena } from "./ffi.ts";
import { BATCH_BYTES, IoBatch, RECEIVES_MAX, type Receiver } from "./io-batch.ts";
import type { LoopDescriptors } from "./left-behind.ts";
import {
  CLOCK_MONOTONIC,
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLLET,
  EPOLLIN,
  EPOLLOUT,
  EPOLLRDHUP,
  type Libc,
  openLibc,
  PR_SET_TIMERSLACK,
} from "./libc.ts";
import { RUNTIME_TURNS } from "./runtime.ts";
import { threadScheduling } from "./thread-scheduling.ts";
import { WakeGathering } from "./wake-gathering.ts";

/** The arena's rooms, by offset. Small on purpose: it counts as JavaScript heap and would postpone collection. */
export const ARENA_BYTES = 1 << 20; // 776 KiB used
/** Behind a little room, which a wire borrows to put its header before what was received. */
export const RECEIVE_AT = 64;
export const RECEIVE_BYTES = 65_536;
export const SCRATCH_AT = 131_072;
export const SCRATCH_BYTES = 262_144;
/** For sockaddrs and option values; a call's arguments only. */
export const ARGUMENTS_AT = SCRATCH_AT + SCRATCH_BYTES;
export const EVENTS_AT = ARGUMENTS_AT + 4096;
const EVENT_AT = EVENTS_AT - 64;
/** Never written. */
const ZEROS_AT = EVENT_AT - 64;
const EVENTS_MAX = 256;
const BATCH_AT = EVENTS_AT + EVENTS_MAX * 16;
/** For who shows bytes that it has to copy first. */
export const STAGE_AT = BATCH_AT + BATCH_BYTES;
export const STAGE_BYTES = 24_576;
/** Datagrams that leave at the end of the turn. */
export const DATAGRAMS_AT = STAGE_AT + STAGE_BYTES;
export const DATAGRAMS_BYTES = 32_768;
/** struct epoll_event is packed on x86-64 only. */
const EVENT_WORDS = process.arch === "x64" ? 3 : 4;
const DATA_WORD = process.arch === "x64" ? 1 : 2;

/** Timers of the runtime (fetch, TLS) are not visible from our side: they wait this long at most while we sleep. */
const RUNTIME_TICK_MS = 100;
/** The same on a thread on which nothing has happened since it called `onIdle`. What comes to the runtime wakes it at once all the same;
 *  its heart has to beat within 2 s (control/pulse.ts). */
const RUNTIME_TICK_QUIET_MS = 500;
/** After this long without an event the loop calls `onIdle` once (collect garbage, give memory back). */
const IDLE_AFTER_MS = 2_000;

/** `onReady` gets epoll's event bits. Edge-triggered unless watched by level. */
export interface Watcher {
  onReady(events: number): void;
  /** Instead of onReady: all these events say is that there are bytes, which may be received together with those of others. */
  receiverFor?(events: number): Receiver | undefined;
}

export interface LoopOptions {
  /** io_uring makes the small calls of a turn at once, where the kernel allows it. Default true. */
  readonly usesUring?: boolean;
}

export class Loop implements Clock {
  readonly libc: Libc = openLibc();
  readonly errno = errnoReader();
  readonly arena: Arena = mapArena(ARENA_BYTES);
  readonly wheel: TimerWheel;
  /** Undefined: every call is made by itself. */
  readonly batch: IoBatch | undefined;
  readonly #receivers: Receiver[] = [];
  readonly #senders: { run(): void }[] = [];
  readonly #epoll: number;
  #runtimeEpoll = -1;
  readonly #watchers: (Watcher | undefined)[] = [];
  /** Closed after the batch, so that a number cannot be reused while an event for its old owner is still in the list. */
  readonly #closing: number[] = [];
  #again: Watcher[] = [];
  #spare: Watcher[] = [];
  /** The runtime's clock begins anew in each thread, but slots hold times that all threads of the agent read. */
  readonly #clockOffsetMs: number;
  #now: number;
  /** Turns that the runtime is owed before we sleep. */
  #turnsOwed = 0;
  #isStopped = false;
  #quietSince = 0;
  readonly #gathering = new WakeGathering(threadScheduling(this.libc, this.at(ZEROS_AT)));
  /** Of buffers that the runtime made for one event each, since whoever collects them set this to 0. */
  shortLivedBytes = 0;
  /** Messages within the events of this turn: one event may bring many, and whoever reads them adds them here. */
  messages = 0;
  onIdle: () => void = () => {};
  /** Streams that are closed, and whose last bytes have not left yet: they end with this process. */
  leftovers = 0;
  /** After each round of events, when what it queued was sent, before the loop sleeps. Whoever is told of it may end the thread. */
  onTurnEnd: () => void = () => {};
  /** Where an exception of a watcher goes: a bug of ours; its connection is closed, the loop goes on. */
  onBug: (error: unknown) => void = (error) => {
    throw error;
  };

  constructor({ usesUring = true }: LoopOptions = {}) {
    this.#epoll = this.libc.epoll_create1(0x8_0000);
    this.#clockOffsetMs = this.#kernelMs() - performance.now();
    this.#now = this.#clockMs();
    this.libc.prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0); // or a nap would last up to 50 us longer
    if (usesUring) this.batch = IoBatch.open(this.arena, BATCH_AT, this.libc, this.errno);
    this.wheel = new TimerWheel(() => this.#now);
  }

  /** What is left to close when this thread dies. */
  get descriptors(): LoopDescriptors {
    return { epoll: this.#epoll, ring: this.batch?.ringFd };
  }
  /** So long it sleeps before it asks for events; see wake-gathering.ts. */
  get napMicros(): number {
    return this.#gathering.napMicros;
  }
  nowMs(): number {
    return this.#now;
  }
  /** CLOCK_MONOTONIC: one for the whole machine. */
  #kernelMs(): number {
    this.libc.clock_gettime(CLOCK_MONOTONIC, this.at(ARGUMENTS_AT));
    const { words } = this.arena;
    const word = ARGUMENTS_AT >> 2;
    return ((words[word] as number) >>> 0) * 1_000 + (words[word + 2] as number) / 1_000_000;
  }
  #clockMs(): number {
    return performance.now() + this.#clockOffsetMs;
  }
  wallMs(): number {
    return Date.now();
  }
  /** Address of an arena offset, for FFI. */
  at(offset: number): number {
    return this.arena.base + offset;
  }

  watch(fd: number, watcher: Watcher, how: "edge" | "level" = "edge"): boolean {
    const events = how === "edge" ? EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET : EPOLLIN;
    this.#watchers[fd] = watcher;
    return this.#control(EPOLL_CTL_ADD, fd, events) === 0;
  }
  /** Knows an fd without asking for its events; unwatch() lets go of it. */
  hold(fd: number): void {
    this.#control(EPOLL_CTL_ADD, fd, EPOLLET);
  }
  /** Stops events of an fd that stays open. */
  unwatch(fd: number): void {
    this.#watchers[fd] = undefined;
    this.#control(EPOLL_CTL_DEL, fd, 0);
  }
  /** Closes an fd at the end of this turn. */
  closeLater(fd: number): void {
    this.#watchers[fd] = undefined;
    this.#closing.push(fd);
  }
  /** Calls `onReady(0)` again before the loop sleeps: for work that was capped or must not run inside the current call. */
  again(watcher: Watcher): void {
    this.#again.push(watcher);
  }
  /** Calls `run()` once, before the loop sleeps or closes anything. */
  sendSoon(sender: { run(): void }): void {
    this.#senders.push(sender);
  }
  #send(): void {
    this.batch?.run();
    const senders = this.#senders;
    for (let i = 0; i < senders.length; i++) this.#runSender(senders[i]);
    senders.length = 0;
  }
  /** A bug of one keeps back none of the others. */
  #runSender(sender: { run(): void } | undefined): void {
    try {
      sender?.run();
    } catch (error) {
      this.onBug(error);
    }
  }
  /** Lets the runtime run once before we sleep: for promises and streams that wait for its turn. */
  yieldSoon(): void {
    this.#turnsOwed = RUNTIME_TURNS;
  }

  #control(operation: number, fd: number, events: number): number {
    const words = this.arena.words;
    const word = EVENT_AT >> 2;
    words[word] = events;
    words[word + DATA_WORD] = fd;
    words[word + DATA_WORD + 1] = 0;
    return this.libc.epoll_ctl(this.#epoll, operation, fd, this.at(EVENT_AT));
  }

  /** Runs until stop(). Returns at once; turns follow by setImmediate. */
  async start(): Promise<void> {
    this.#runtimeEpoll = await findRuntimeEpoll();
    this.#control(EPOLL_CTL_ADD, this.#runtimeEpoll, EPOLLIN);
    this.#quietSince = this.#clockMs();
    setImmediate(this.#turn);
  }
  stop(): void {
    this.#isStopped = true;
  }

  readonly #turn = (): void => {
    if (this.#isStopped) return;
    this.#now = this.#clockMs();
    const isQuiet = this.#quietSince === Number.POSITIVE_INFINITY;
    const returnByMs = this.#now + (isQuiet ? RUNTIME_TICK_QUIET_MS : RUNTIME_TICK_MS);
    for (;;) {
      const sleepMs =
        this.#again.length > 0 || this.#turnsOwed > 0
          ? 0
          : Math.ceil(this.wheel.sleepMs(Math.max(0, returnByMs - this.#now)));
      const isRuntimeReady = this.#poll(sleepMs);
      this.#runAgain();
      this.wheel.runDue();
      this.#send();
      this.onTurnEnd();
      while (this.#closing.length > 0) this.libc.close(this.#closing.pop() as number);
      if (isRuntimeReady || (this.#now >= returnByMs && this.#turnsOwed === 0))
        this.#turnsOwed = RUNTIME_TURNS;
      if (this.#turnsOwed > 0) break;
    }
    this.#turnsOwed--;
    setImmediate(this.#turn);
  };

  #poll(timeoutMs: number): boolean {
    this.#send(); // what the runtime's side of the thread had to send
    if (this.napMicros > 0 && timeoutMs > 0) this.libc.usleep(this.napMicros);
    const count = this.libc.epoll_wait(this.#epoll, this.at(EVENTS_AT), EVENTS_MAX, timeoutMs);
    this.#now = this.#clockMs();
    const words = this.arena.words;
    let isRuntimeReady = false;
    for (let i = 0; i < count; i++) {
      const word = (EVENTS_AT >> 2) + i * EVENT_WORDS;
      const fd = words[word + DATA_WORD] as number;
      if (fd === this.#runtimeEpoll) isRuntimeReady = true;
      else this.#happened(this.#watchers[fd], words[word] as number);
    }
    this.#receive();
    if (count > 0) {
      this.#gathering.noteWake(this.#now, count, this.messages);
      this.messages = 0;
    }
    this.#noteQuiet(count > 0);
    return isRuntimeReady;
  }

  #happened(watcher: Watcher | undefined, events: number): void {
    const receiver = this.batch && watcher?.receiverFor?.(events);
    if (receiver === undefined) this.#wake(watcher, events);
    else if (this.#receivers.push(receiver) === RECEIVES_MAX) this.#receive();
  }

  #receive(): void {
    const receivers = this.#receivers;
    if (receivers.length === 0) return;
    this.batch?.receive(receivers, this.onBug);
    receivers.length = 0;
  }

  #wake(watcher: Watcher | undefined, events: number): void {
    if (watcher === undefined) return;
    try {
      watcher.onReady(events);
    } catch (error) {
      this.onBug(error);
    }
  }

  #runAgain(): void {
    if (this.#again.length === 0) return;
    const now = this.#again;
    this.#again = this.#spare;
    for (let i = 0; i < now.length; i++) this.#wake(now[i], 0);
    now.length = 0;
    this.#spare = now;
  }

  #noteQuiet(hadEvents: boolean): void {
    if (hadEvents) this.#quietSince = this.#now;
    else if (this.#now - this.#quietSince > IDLE_AFTER_MS) {
      this.#quietSince = Number.POSITIVE_INFINITY; // once, until events come again
      this.onIdle();
    }
  }
}

/** The epoll fd of THIS thread's runtime loop: only it lists a socket that this thread has just opened. With worker threads
 *  a process has one for each, so counting or "the newest" would guess. */
async function findRuntimeEpoll(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve, reject) => {
    probe.once("error", reject);
    probe.listen(0, "127.0.0.1", () => resolve());
  });
  const address = probe.address();
  const port = address !== null && typeof address === "object" ? address.port : 0;
  try {
    const probeFd = findListenerFd(port);
    const listed = new RegExp(`^tfd: +${probeFd} `, "m");
    for (const name of readdirSync("/proc/self/fd")) {
      if (
        readLink(name) === "anon_inode:[eventpoll]" &&
        listed.test(readText(`/proc/self/fdinfo/${name}`))
      ) {
        return Number(name);
      }
    }
  } finally {
    await new Promise<void>((resolve) => probe.close(() => resolve()));
  }
  throw new Error(
    "found no epoll fd of the runtime on this thread: /proc must be mounted and readable",
  );
}

/** fd of the socket of ours that listens on a port of 127.0.0.1 (node:net does not tell it). */
function findListenerFd(port: number): number {
  const wanted = `0100007F:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const line = readText("/proc/self/net/tcp")
    .split("\n")
    .find((row) => row.trim().split(/\s+/)[1] === wanted);
  const inode = line?.trim().split(/\s+/)[9];
  const fd = readdirSync("/proc/self/fd").find((name) => readLink(name) === `socket:[${inode}]`);
  if (fd === undefined) throw new Error("found no fd of the probe socket in /proc/self/fd");
  return Number(fd);
}

function readLink(name: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${name}`);
  } catch {
    return ""; // the directory's own fd is gone by now
  }
}

function readText(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}
