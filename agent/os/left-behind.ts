// What a dead data thread left open. The runtime closes its own sockets with their thread, but ours are the process's: a listener
// would go on taking its share of the connections (SO_REUSEPORT) with nobody to accept them, and clients would wait for answers.
// All of them, and nothing else but the runtime's own epoll fd, are in the thread's epoll.
import { readFileSync, readlinkSync } from "node:fs";
import { type Arena, mapArena } from "./ffi.ts";
import {
  type Libc,
  openLibc,
  SHUT_RD,
  SHUT_RDWR,
  SO_LINGER,
  SOCK_DGRAM,
  SOL_SOCKET,
} from "./libc.ts";

/** Of a thread's loop. */
export interface LoopDescriptors {
  /** Knows all its sockets. */
  readonly epoll: number;
  /** Undefined: no io_uring. */
  readonly ring: number | undefined;
}

/** Resets what is open and closes what listens, of a thread that runs no more; returns how many sockets that were. */
export function closeLeftBehind({ epoll, ring }: LoopDescriptors): number {
  const libc = openLibc();
  const memory = mapArena(4_096);
  memory.words.set([1, 0]); // linger on, for no time: close() sends a reset
  let closed = 0;
  for (const [, number] of readFileSync(`/proc/self/fdinfo/${epoll}`, "utf8").matchAll(TARGET)) {
    const fd = Number(number);
    if (!isSocket(fd)) continue;
    libc.setsockopt(fd, SOL_SOCKET, SO_LINGER, memory.base, 8);
    // The service manager may have a copy of a listener. A connection is not ended in its direction: that would look complete.
    libc.shutdown(fd, isDatagrams(libc, fd, memory) ? SHUT_RDWR : SHUT_RD);
    libc.close(fd);
    closed++;
  }
  libc.close(epoll);
  if (ring !== undefined) libc.close(ring);
  return closed;
}

const SO_TYPE = 3;
const VALUE_AT = 64;
const TARGET = /^tfd: +(\d+) /gm;

function isDatagrams(libc: Libc, fd: number, { base, words }: Arena): boolean {
  words.set([0, 4], VALUE_AT >> 2);
  libc.getsockopt(fd, SOL_SOCKET, SO_TYPE, base + VALUE_AT, base + VALUE_AT + 4);
  return words[VALUE_AT >> 2] === SOCK_DGRAM;
}

function isSocket(fd: number): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`).startsWith("socket:");
  } catch {
    return false; // closed with its thread
  }
}
