// What a dead data thread left open. The runtime closes its own sockets with their thread, but ours are the process's: a listener
// would go on taking its share of the connections (SO_REUSEPORT) with nobody to accept them, and clients would wait for answers.
// All of them, and nothing else but the runtime's own epoll fd, are in the thread's epoll.
import { readFileSync, readlinkSync } from "node:fs";
import { mapArena } from "./ffi.ts";
import { openLibc, SO_LINGER, SOL_SOCKET } from "./libc.ts";
import { endListener } from "./listening-socket.ts";

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
  const linger = mapArena(4_096);
  linger.words.set([1, 0]); // on, for no time: close() sends a reset
  let closed = 0;
  for (const [, number] of readFileSync(`/proc/self/fdinfo/${epoll}`, "utf8").matchAll(TARGET)) {
    const fd = Number(number);
    if (!isSocket(fd)) continue;
    libc.setsockopt(fd, SOL_SOCKET, SO_LINGER, linger.base, 8);
    endListener(libc, fd); // the service manager may have a copy
    closed++;
  }
  libc.close(epoll);
  if (ring !== undefined) libc.close(ring);
  return closed;
}

const TARGET = /^tfd: +(\d+) /gm;

function isSocket(fd: number): boolean {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`).startsWith("socket:");
  } catch {
    return false; // closed with its thread
  }
}
