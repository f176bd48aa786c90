// Listeners that outlive the process. Each listening socket of a data thread is also given to the service manager (FDSTORE=1), which
// hands it back to the next process; meanwhile connections wait in the kernel's queue instead of being refused. Without a manager
// this only opens sockets.
//
//   kept --open(same thread, purpose, address)--> ours --close--> the manager's alone (a restart takes it up again)
//     \--retireRest()------------------\            \--retire--> gone for everybody
//
// A stored socket that nobody accepts from would keep its share of the port's connections (SO_REUSEPORT) and let them hang, so whoever
// gives one up for good shuts it down: the manager notices by itself and drops its copy.
import type { Result } from "../base/result.ts";
import { CannotListen } from "./cannot-listen.ts";
import { storedName } from "./listener-names.ts";
import { endListener } from "./listening-socket.ts";
import { ARGUMENTS_AT, type Loop } from "./loop.ts";
import { type KeptDescriptor, Notifier } from "./notify.ts";
import { listenTcp, localEnd } from "./socket.ts";

/** What a listener is for. A workload's own is kept for that workload only: who waits there was let in as its process. */
export type Purpose =
  | "outbound"
  | "inbound"
  | "mesh"
  | "dns"
  /** The datagram socket in a resolver's place. */
  | "resolver"
  | { readonly workload: string }
  /** The datagram socket beside a TCP listener, by whose it is and its port: datagrams wait in it as connections do. */
  | { readonly datagramsOf: string };

type OpenNew = (loop: Loop, address: string, port: number) => Result<number, string>;

export interface ListenerStoreConfig {
  /** Number of the data thread. */
  readonly thread: number;
  /** Undefined: no manager. */
  readonly notifySocket: string | undefined;
  /** What was kept for this thread. */
  readonly kept: readonly KeptDescriptor[];
}

const F_DUPFD_CLOEXEC = 1_030;

/** Behind what else is built in the arena's arguments room, which sockaddrs and option values take the first bytes of. */
const NOTIFIER_AT = ARGUMENTS_AT + 1_024;

/** Short, since all names together must fit into one environment variable (128 KiB). */
function nameOf(thread: number, purpose: Purpose): string {
  const name = storedName(thread);
  if (typeof purpose === "string") return purpose === "resolver" ? `${name}.resolver` : name;
  return "workload" in purpose
    ? `${name}.${shortHash(purpose.workload)}`
    : `${name}.${shortHash(purpose.datagramsOf)}${DATAGRAMS}`;
}
const DATAGRAMS = ".udp";

/** Of a module that the data thread has for its TLS, and the main thread should not load at its start. */
const shortHash = (text: string): string =>
  process
    .getBuiltinModule("node:crypto")
    .createHash("sha256")
    .update(text)
    .digest("hex")
    .slice(0, 8);

export class ListenerStore {
  readonly #loop: Loop;
  readonly #thread: number;
  readonly #notifier: Notifier | undefined;
  /** `name address port` -> fd. */
  readonly #kept = new Map<string, number>();
  /** By their numbers, also of those that were closed since. */
  readonly #names = new Map<number, string>();

  constructor(config: ListenerStoreConfig, loop: Loop) {
    this.#loop = loop;
    this.#thread = config.thread;
    const memory = { arena: loop.arena, at: NOTIFIER_AT };
    if (config.notifySocket !== undefined)
      this.#notifier = new Notifier(config.notifySocket, memory);
    for (const { fd, name } of config.kept) {
      const { address, port } = localEnd(loop, fd);
      const key = `${name} ${address} ${port}`;
      if (this.#kept.has(key)) endListener(loop.libc, fd);
      else {
        this.#kept.set(key, fd);
        loop.hold(fd); // so that it is found, and ended, if this thread dies before it is taken up
      }
    }
  }

  /** There are sockets of a process before this one, on which somebody waits or still accepts. */
  get isTakingOver(): boolean {
    return this.#kept.size > 0;
  }

  /** As a successor must be told. */
  describe(fd: number): KeptDescriptor {
    return { fd, name: this.#names.get(fd) ?? storedName(this.#thread) };
  }

  /** Another descriptor of the same socket, which the first's owner may close. Undefined: there is none left. */
  duplicate(fd: number): number | undefined {
    const copy = this.#loop.libc.fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (copy < 0) return undefined;
    this.#names.set(copy, this.describe(fd).name);
    return copy;
  }

  /** The kept one, if there is any. */
  take(purpose: Purpose, address: string, port: number): number | undefined {
    const name = nameOf(this.#thread, purpose);
    const key = `${name} ${address} ${port}`;
    const kept = this.#kept.get(key);
    if (kept === undefined) return undefined;
    this.#kept.delete(key);
    this.#loop.unwatch(kept);
    this.#names.set(kept, name);
    return kept;
  }

  /** A listening socket, perhaps one with connections or datagrams that wait already. Throws CannotListen. */
  open(purpose: Purpose, address: string, port: number, openNew: OpenNew = listenTcp): number {
    const kept = this.take(purpose, address, port);
    if (kept !== undefined) return kept;
    const opened = openNew(this.#loop, address, port);
    if (!opened.ok) throw new CannotListen(address, port, opened.error);
    return this.keep(purpose, opened.value);
  }

  /** Gives the manager a copy of what was just opened; returns `fd`. */
  keep(purpose: Purpose, fd: number): number {
    const name = nameOf(this.#thread, purpose);
    this.#notifier?.tell(["FDSTORE=1", `FDNAME=${name}`], fd);
    this.#names.set(fd, name);
    return fd;
  }

  /** Once a version is served: nobody will ask for what is left of these. */
  retireRest(of: "connections" | "datagrams"): void {
    for (const [key, fd] of this.#kept) {
      if (key.includes(`${DATAGRAMS} `) !== (of === "datagrams")) continue;
      this.#loop.unwatch(fd);
      endListener(this.#loop.libc, fd);
      this.#kept.delete(key);
    }
  }
}
