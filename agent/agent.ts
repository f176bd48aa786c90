// Wires an agent: data threads for traffic, this thread for control, redirect and admin. It decides nothing.
// Order of a start: keys and the last good snapshot from disk -> threads serve -> redirect -> only then the server. With every
// server gone the first three still happen.
import { availableParallelism } from "node:os";
import type { AgentStatus } from "./api/admin.ts";
import { type Clock, type Random, SeededRandom, type Timers } from "./base/clock.ts";
import { LineLog, type Log } from "./base/log.ts";
import type { SharedSlots } from "./base/slots.ts";
import { AGENT_VERSION, type AgentOptions } from "./control/agent-options.ts";
import { type Control, startControl } from "./control/control.ts";
import { DataThreads } from "./control/data-threads.ts";
import { ExplainDesk } from "./control/explain-desk.ts";
import { GossipPool } from "./control/gossip-pool.ts";
import { HostRedirect } from "./control/host-redirect.ts";
import { NameBoard } from "./control/name-board.ts";
import { ServiceLife } from "./control/service-life.ts";
import type { FromThread, ThreadKeys, ToThread } from "./control/thread-messages.ts";
import { Upgrade } from "./control/upgrade.ts";
import { Waiters } from "./control/waiters.ts";
import { isWindow, Windows } from "./control/windows.ts";
import type { AdminSource } from "./observe/admin.ts";
import { renderPrometheus } from "./observe/prometheus.ts";
import { systemClock, systemTimers } from "./os/clock.ts";
import { FilePages, filePagesKib } from "./os/file-pages.ts";
import { hasIpv6, hostAddresses, readResolvers } from "./os/host-facts.ts";
import { closeLeftBehind, type LoopDescriptors } from "./os/left-behind.ts";
import { endListeners, storedName, threadOf } from "./os/listener-names.ts";
import { collectGarbage, MemoryTidy } from "./os/memory.ts";
import { type KeptDescriptor, managerWords, Notifier, type ServiceManager } from "./os/notify.ts";
import { refuseResolvers } from "./os/redirect/input.ts";
import { findPredecessor, type Predecessor, startSuccessor } from "./os/successor.ts";
import { startThread } from "./os/thread.ts";
import type { Snapshot } from "./policy/snapshot.ts";
import { SLOT_FIRST, SLOTS, type ThreadFacts, ThreadSetup } from "./thread-setup.ts";

/** How long keys of a new workload may hold back the version that needs them. */
const KEYS_WAIT_MS = 3_000;
const THREADS_WAIT_MS = 5_000;
/** A thread that does not say in this time that its last connections are cut has stalled. */
const DRAIN_GRACE_MS = 1_000;
/** And for what is being written to reach the disk. */
const STOP_GRACE_MS = 5_000;

const isWithin = (index: number, count: number): boolean => index >= 0 && index < count;

export async function startAgent(options: AgentOptions, manager: ServiceManager): Promise<Agent> {
  const agent = new Agent(options, manager);
  await agent.start();
  return agent;
}

export class Agent {
  readonly #options: AgentOptions;
  readonly #clock = systemClock();
  readonly #timers = systemTimers();
  readonly #random = new SeededRandom(crypto.getRandomValues(new Int32Array(1))[0] as number);
  readonly #log: LineLog;
  /** What most parts are given. */
  readonly #deps: {
    readonly clock: Clock;
    readonly timers: Timers;
    readonly random: Random;
    readonly log: Log;
  };
  readonly #startedMs = this.#clock.nowMs();
  readonly #setup: ThreadSetup;
  readonly #slots: SharedSlots;
  readonly #threads: DataThreads;
  readonly #isIpv6 = hasIpv6(hostAddresses());
  /** Of resolv.conf, and of these those whose port is taken. */
  readonly #allResolvers = readResolvers();
  readonly #resolvers: readonly string[];
  readonly #names: NameBoard;
  readonly #redirect: HostRedirect;
  readonly #pool: GossipPool;
  readonly #windows: Windows;
  #predecessor = findPredecessor();
  readonly #upgrade: Upgrade;
  #control: Control | undefined;
  readonly #tidy: MemoryTidy;
  #pages: FilePages | undefined;
  #held = new Set<string>();
  #serving: { readonly epoch: number; readonly version: number } | undefined;
  #hasHeardServer = false;
  /** Told when keys or served versions change. */
  readonly #waiters = new Waiters();
  readonly #desk = new ExplainDesk({
    find: (id) => this.#threads.decision(id),
    snapshot: () => this.#control?.plane.snapshot,
  });
  readonly #unable = Promise.withResolvers<never>();
  readonly #life: ServiceLife;
  readonly #manager: ServiceManager;
  readonly #notifier: Notifier | undefined;

  constructor(options: AgentOptions, manager: ServiceManager) {
    this.#options = options;
    this.#setup = new ThreadSetup(options, this.#random);
    this.#slots = this.#setup.slots;
    this.#manager = manager;
    const { notifySocket } = manager;
    this.#notifier = notifySocket === undefined ? undefined : new Notifier(notifySocket);
    this.#log = new LineLog(options.logLevel, {
      write: (line) => process.stderr.write(line),
      wallMs: () => this.#clock.wallMs(),
    });
    this.#deps = {
      clock: this.#clock,
      timers: this.#timers,
      random: this.#random,
      log: this.#log,
    };
    this.#tidy = new MemoryTidy({
      timers: this.#timers,
      collectGarbage,
      dropCleanPages: () => {
        this.#pages ??= new FilePages();
        this.#pages.drop();
      },
      filePagesKib,
    });
    this.#resolvers = options.dns && options.redirect !== "none" ? this.#allResolvers : [];
    const refusal = refuseResolvers(this.#resolvers);
    if (refusal !== undefined) throw new Error(refusal);
    this.#names = new NameBoard({
      slots: this.#slots,
      log: this.#log,
      nowMs: () => this.#clock.nowMs(),
      want: (name) => this.#threads.lookUp([name], []),
      drop: (name) => this.#threads.lookUp([], [name]),
      tell: (names) => this.#threads.tellNames(names),
    });
    this.#threads = new DataThreads({
      ...this.#deps,
      names: this.#names,
      spawn: (events) => startThread<FromThread, ToThread>(events),
      closeLeftBehind: (descriptors, index) => this.#closeLeftBehind(descriptors, index),
      writeAccess: (lines) => process.stdout.write(lines),
      onServing: (epoch, version) => {
        this.#serving = { epoch, version };
        this.#waiters.wake();
      },
      onUnable: this.#unable.reject,
    });
    this.#pool = new GossipPool(
      { hasIpv6: this.#isIpv6, stateDir: options.stateDir },
      { ...this.#deps, slots: this.#slots, onChange: () => this.#threads.hostsChanged() },
    );
    this.#unable.promise.catch(() => {}); // told by start(), or by whoever waits for `unable`
    this.#redirect = new HostRedirect(
      options,
      { hasIpv6: this.#isIpv6, resolvers: this.#resolvers },
      this.#deps,
    );
    this.#life = this.#makeLife();
    this.#upgrade = this.#makeUpgrade();
    this.#windows = new Windows(options, {
      source: this.#source(),
      upgrade: this.#upgrade,
      desk: this.#desk,
    });
  }

  #makeLife(): ServiceLife {
    return new ServiceLife(
      { watchdogMs: this.#notifier && this.#manager.watchdogMs },
      {
        tell: (assignments) => void this.#notifier?.tell(assignments),
        timers: this.#timers,
        threads: this.#threads,
      },
    );
  }

  #makeUpgrade(): Upgrade {
    const { words, upgradeDrainMs } = this.#options;
    return new Upgrade(
      { words, drainLimitMs: upgradeDrainMs },
      {
        // The manager's words were taken out of the environment: they are the successor's too.
        start: (command, sockets, withinMs) =>
          startSuccessor(command, sockets, { withinMs, env: managerWords(this.#manager) }),
        sockets: async () => [...this.#windows.sockets, ...(await this.#threads.sockets())],
        pause: () => this.#pause(),
        resume: () => this.#resume(),
        release: (pid) => {
          this.#tidy.stop();
          this.#life.end();
          this.#notifier?.tell([`MAINPID=${pid}`]);
          this.#redirect.handOver();
          this.#windows.giveAway();
        },
        drain: (limitMs) => this.#threads.handOver(limitMs),
        wait: (ms) => new Promise((resolve) => this.#timers.after(ms, resolve)),
        log: this.#log,
      },
    );
  }

  /** Listeners of a process before this one: kept by the manager, or passed on by a predecessor that still accepts on them. */
  get #kept(): readonly KeptDescriptor[] {
    const handed = this.#predecessor?.sockets ?? [];
    return [...this.#manager.kept, ...handed.filter((one) => !isWindow(one))];
  }

  /** Resolves when a successor took over and the last connection of this process has ended. */
  get replaced(): Promise<void> {
    return this.#upgrade.over;
  }

  /** Throws, in words for the operator, when it cannot. */
  async start(): Promise<void> {
    await Promise.race([this.#start(), this.unable]);
    this.#life.ready();
  }

  /** Rejects when the agent cannot go on, in words for the operator: a port is taken, its threads die again and again. */
  get unable(): Promise<never> {
    return this.#unable.promise;
  }

  async #start(): Promise<void> {
    const { stateDir, workers } = this.#options;
    // A predecessor answers until we serve.
    if (this.#predecessor === undefined) this.#windows.open();
    const count = workers > 0 ? workers : availableParallelism();
    const facts = this.#threadFacts;
    this.#threads.start(
      Array.from({ length: count }, (_, index) => this.#setup.configOf(index, facts)),
    );
    // A process before this one had more threads, or is none of ours.
    endListeners(this.#kept.filter(({ name }) => !isWithin(threadOf(name), count)));
    this.#control = await startControl(
      { stateDir, agentVersion: AGENT_VERSION, slotFirst: SLOT_FIRST, slotCapacity: SLOTS },
      {
        ...this.#deps,
        hostAddresses,
        clearSlots: (slots) => {
          for (const slot of slots) this.#slots.write(slot, 0);
        },
        series: () => this.#threads.growingSeries,
        onGossip: (view) => this.#pool.follow(view),
        explain: (id) => this.#desk.explain(id),
        onKeys: (keys) => this.#useKeys(keys),
        onSnapshot: (snapshot) => this.#serve(snapshot),
      },
    );
    if (this.#predecessor === undefined) await this.#windows.answer();
    void this.#pool.join(this.#control.host.host);
    this.#tidy.soon();
    this.#log.info("agent started", {
      host: this.#control.host.host,
      version: AGENT_VERSION,
      workers: count,
    });
  }

  /** Nobody leaves the pool: the successor goes on as the same member. */
  async #pause(): Promise<void> {
    await Promise.all([this.#control?.stop(), this.#pool.pause()]);
  }

  #resume(): void {
    this.#control?.resume();
    if (this.#control !== undefined) void this.#pool.join(this.#control.host.host);
  }

  get #threadFacts(): ThreadFacts {
    return {
      hasIpv6: this.#isIpv6,
      allResolvers: this.#allResolvers,
      resolvers: this.#resolvers,
      notifySocket: this.#manager.notifySocket,
      kept: this.#kept,
    };
  }

  /** The runtime closes its own sockets with their thread; the manager's copies of them would let connections hang. */
  #closeLeftBehind(descriptors: LoopDescriptors, index: number): void {
    this.#notifier?.tell(["FDSTOREREMOVE=1", `FDNAME=${storedName(index)}`]);
    closeLeftBehind(descriptors);
  }

  #useKeys(keys: ThreadKeys): void {
    this.#held = new Set(keys.identities.map((key) => key.identity));
    this.#tidy.soon();
    if (keys.identities.length > 0) this.#threads.setKeys(keys);
    this.#waiters.wake();
  }

  /** Keys, then threads, then rules: no rule points to a listener that is not open, no listener to a key that is not there. */
  async #serve(snapshot: Snapshot): Promise<void> {
    const { epoch, version, workloads } = snapshot;
    this.#tidy.soon();
    await this.#waiters.until(KEYS_WAIT_MS, () =>
      workloads.every((one) => this.#held.has(one.identity)),
    );
    this.#pool.useSnapshot(snapshot);
    this.#names.follow(snapshot);
    this.#threads.setSnapshot(snapshot);
    await this.#waiters.until(
      THREADS_WAIT_MS,
      () => this.#serving?.epoch === epoch && this.#serving.version === version,
    );
    this.#hasHeardServer = this.#control !== undefined;
    await this.#redirect.follow(snapshot);
    const { summary } = this.#redirect;
    this.#life.status(`version ${epoch}.${version}, ${workloads.length} workloads; ${summary}`);
    if (this.#isReady && this.#predecessor !== undefined) await this.#succeed(this.#predecessor);
  }

  /** Everything is in place: from here on this process is the host's agent. */
  async #succeed(predecessor: Predecessor): Promise<void> {
    this.#windows.open(predecessor.sockets);
    await this.#windows.answer();
    this.#predecessor = undefined;
    predecessor.tellServing();
  }

  get #isReady(): boolean {
    return this.#serving !== undefined && this.#threads.allServe && this.#redirect.isReady;
  }

  #source(): AdminSource {
    return {
      status: () => this.#status(),
      snapshot: () => this.#control?.plane.snapshot,
      certificates: () =>
        (this.#control?.identities.identities ?? []).map((held) => ({
          identity: held.identity,
          issuedAtMs: held.issuedAtMs,
          notAfterMs: held.notAfterMs,
        })),
      members: () => ({
        observer: this.#control?.host.host ?? "",
        members: this.#pool.members,
      }),
      names: () => this.#names.names,
      metrics: () => renderPrometheus(this.#threads.series),
      isReady: () => this.#isReady,
      setAccessLog: (mode) => this.#threads.setAccessLog(mode),
      fault: (thread, kind) => {
        if (!this.#options.takesFaults) return "not_allowed";
        return this.#threads.fault(thread, kind) ? "done" : "no_such_thread";
      },
      renew: () => this.#control?.identities.renewAll() ?? 0,
    };
  }

  #status(): AgentStatus {
    const session = this.#control?.session.status;
    return {
      agentVersion: AGENT_VERSION,
      host: this.#control?.host.host ?? "",
      pid: process.pid,
      uptimeSeconds: Math.round((this.#clock.nowMs() - this.#startedMs) / 1_000),
      epoch: this.#serving?.epoch,
      version: this.#serving?.version,
      snapshotFrom:
        this.#serving === undefined ? undefined : this.#hasHeardServer ? "server" : "disk",
      server: {
        url: session?.server ?? this.#control?.host.servers[0] ?? "",
        isConnected: session?.state === "open",
        lastError: session?.lastError,
      },
      workers: this.#threads.count,
      threadsReplaced: this.#threads.restarts,
      openConnections: this.#slots.read(0),
      io: this.#threads.usesUring ? "io_uring" : "epoll",
      redirect: this.#redirect.status,
      problems: session?.lastNack ?? [],
    };
  }

  /** The redirect stays: it is what keeps traffic from going in plaintext while the agent is away. */
  async stop(): Promise<void> {
    this.#tidy.stop();
    const areKept = this.#manager.notifySocket !== undefined;
    const released = this.#upgrade.isDone
      ? this.#redirect.handOver()
      : this.#redirect.stop(areKept);
    this.#pool.leave();
    const drainsMax = this.#options.drainTimeoutMs + DRAIN_GRACE_MS;
    this.#life.stopping(drainsMax + STOP_GRACE_MS);
    const stalled = new Promise<void>((resolve) => this.#timers.after(drainsMax, resolve));
    const ended = Promise.race([Promise.all([this.#threads.drain(), released]), stalled]);
    await Promise.all([ended, this.#control?.stop()]);
    this.#life.end();
    this.#windows.close();
    await this.#threads.stop();
    await this.#pool.stop();
  }
}
