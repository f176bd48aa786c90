// How a service talks with its service manager: sd_notify(3) datagrams to NOTIFY_SOCKET, file descriptors kept by the manager
// across our death (FDSTORE=1), and those it hands back at the next start (sd_listen_fds(3)). Without a manager all of it is
// absent, and nothing else changes. Every thread may speak: the manager goes by the process.
import type { Arena } from "./ffi.ts";
import { mapArena } from "./ffi.ts";
import {
  AF_UNIX,
  F_SETFD,
  FD_CLOEXEC,
  type Libc,
  MSG_NOSIGNAL,
  openLibc,
  SCM_RIGHTS,
  SO_SNDTIMEO,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOL_SOCKET,
} from "./libc.ts";

type Environment = { [name: string]: string | undefined };

/** What the manager told this process at its start. */
export interface ServiceManager {
  /** Path of its socket, or "@NAME" in the abstract namespace; undefined: nobody wants to know. */
  readonly notifySocket: string | undefined;
  /** It wants a sign of life at least this often; undefined: it does not watch. */
  readonly watchdogMs: number | undefined;
  /** Descriptors it kept for us, with the names they were stored under. */
  readonly kept: readonly KeptDescriptor[];
}

export interface KeptDescriptor {
  readonly fd: number;
  readonly name: string;
}

const FIRST_FD = 3;
const KEPT_MAX = 65_536;

/** Reads the manager's words and takes them out of the environment: they are ours, not our children's. Descriptors it passed are
 *  closed on exec from here on. */
export function openServiceManager(env: Environment, pid: number): ServiceManager {
  const mine = (name: string): boolean => env[name] === undefined || Number(env[name]) === pid;
  const watchdogUs = mine("WATCHDOG_PID") ? Number(env["WATCHDOG_USEC"] ?? 0) : 0;
  const manager = {
    notifySocket: notifySocketOf(env["NOTIFY_SOCKET"]),
    watchdogMs: watchdogUs >= 1_000 ? watchdogUs / 1_000 : undefined,
    kept: Number(env["LISTEN_PID"]) === pid ? keptOf(env) : [],
  };
  for (const name of Object.keys(env))
    if (/^(?:NOTIFY_SOCKET|WATCHDOG_(?:PID|USEC)|LISTEN_(?:PID|FDS|FDNAMES))$/.test(name))
      delete env[name];
  if (manager.kept.length > 0) {
    const libc = openLibc();
    for (const { fd } of manager.kept) libc.fcntl(fd, F_SETFD, FD_CLOEXEC);
  }
  return manager;
}

function keptOf(env: Environment): readonly KeptDescriptor[] {
  const count = Number(env["LISTEN_FDS"] ?? 0);
  if (!Number.isInteger(count) || count < 1 || count > KEPT_MAX) return [];
  const names = (env["LISTEN_FDNAMES"] ?? "").split(":");
  return Array.from({ length: count }, (_, i) => ({ fd: FIRST_FD + i, name: names[i] ?? "" }));
}

/** What a successor of this process needs to speak with the same manager. */
export const managerWords = ({
  notifySocket,
  watchdogMs,
}: ServiceManager): Readonly<Record<string, string>> => ({
  ...(notifySocket === undefined ? {} : { NOTIFY_SOCKET: notifySocket }),
  ...(watchdogMs === undefined ? {} : { WATCHDOG_USEC: String(watchdogMs * 1_000) }),
});

/** sockaddr_un holds 108 bytes of path. */
const PATH_BYTES_MAX = 107;
function notifySocketOf(text: string | undefined): string | undefined {
  const isAddress = text !== undefined && /^[/@]/.test(text);
  return isAddress && Buffer.byteLength(text) <= PATH_BYTES_MAX ? text : undefined;
}

// Where a message is put together, from `at` on: msghdr, iovec, control data with one descriptor, sockaddr_un, text.
const IOVEC_AT = 64;
const CONTROL_AT = 96;
const ADDRESS_AT = 128;
const TEXT_AT = 256;
/** Bytes of memory that a Notifier needs. */
export const NOTIFIER_BYTES = 2_048;
const TEXT_BYTES_MAX = NOTIFIER_BYTES - TEXT_AT;
/** The manager reads at once unless it is re-executing itself; who waits longer goes on without being heard. */
const SEND_TIMEOUT_US = 250_000;

export class Notifier {
  readonly #libc: Libc = openLibc();
  readonly #arena: Arena;
  readonly #at: number;
  readonly #fd: number;
  readonly #addressBytes: number;

  /** `memory`: NOTIFIER_BYTES of an arena that nobody else writes during a call; default: some of its own. */
  constructor(path: string, memory: { readonly arena: Arena; readonly at: number } = own()) {
    this.#arena = memory.arena;
    this.#at = memory.at;
    this.#fd = this.#libc.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (this.#fd < 0)
      throw new Error("cannot open a unix socket: is AF_UNIX forbidden to this unit?");
    const words = this.#words(TEXT_AT);
    words.set([0, 0, SEND_TIMEOUT_US, 0]);
    this.#libc.setsockopt(this.#fd, SOL_SOCKET, SO_SNDTIMEO, this.#address(TEXT_AT), 16);
    this.#addressBytes = 2 + Buffer.byteLength(path);
    this.#path = Buffer.from(path);
    if (path.startsWith("@")) this.#path[0] = 0;
  }
  readonly #path: Buffer;

  /** One datagram of assignments (`READY=1`), perhaps with a descriptor, which the manager gets a duplicate of. False: it did not
   *  get there, and whoever needs it says so. */
  tell(assignments: readonly string[], fd?: number): boolean {
    const text = Buffer.from(assignments.join("\n"));
    if (text.length > TEXT_BYTES_MAX) return false;
    const { bytes } = this.#arena;
    bytes.fill(0, this.#at, this.#at + TEXT_AT);
    bytes.set(text, this.#at + TEXT_AT);
    bytes[this.#at + ADDRESS_AT] = AF_UNIX;
    bytes.set(this.#path, this.#at + ADDRESS_AT + 2);
    this.#words(IOVEC_AT).set([this.#address(TEXT_AT), 0, text.length, 0]);
    // struct msghdr: name, namelen, iov, iovlen, control, controllen, flags; 64-bit words, low half first.
    const header = this.#words(0);
    header.set([this.#address(ADDRESS_AT), 0, this.#addressBytes, 0]);
    header.set([this.#address(IOVEC_AT), 0, 1, 0], 4);
    if (fd !== undefined) {
      header.set([this.#address(CONTROL_AT), 0, 24, 0], 8);
      this.#words(CONTROL_AT).set([20, 0, SOL_SOCKET, SCM_RIGHTS, fd]);
    }
    return this.#libc.sendmsg(this.#fd, this.#address(0), MSG_NOSIGNAL) >= 0;
  }

  #address(offset: number): number {
    return this.#arena.base + this.#at + offset;
  }
  #words(offset: number): Int32Array {
    return this.#arena.words.subarray((this.#at + offset) >> 2);
  }
}

const own = (): { readonly arena: Arena; readonly at: number } => ({
  arena: mapArena(NOTIFIER_BYTES * 2),
  at: 0,
});
