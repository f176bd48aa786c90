// What a dead data thread left open. The runtime closes its own sockets with their thread, but ours are the process's: a listener
// would go on taking its share of the connections (SO_REUSEPORT) with nobody to accept them, and clients would wait for answers.
// All of them, and nothing else but the runtime's own epoll fd, are in the thread's epoll.
import { readFileSync, readlinkSync } from "node:fs";
import { mapArena } from "./ffi.ts";
import { openLibc, SO_LINGER, SOL_SOCKET } from "./libc.ts";

/** Resets what is open and closes what listens; returns how many sockets that were. `epoll`: fd of a thread that runs no more. */
export function closeLeftBehind(epoll: number): number {
  const libc = openLibc();
  const linger = mapArena(4_096);
  linger.words.set([1, 0]); // on, for no time: close() sends a reset
  let closed = 0;
  for (const [, number] of readFileSync(`/proc/self/fdinfo/${epoll}`, "utf8").matchAll(TARGET)) {
    const fd = Number(number);
    if (!isSocket(fd)) continue;
    libc.setsockopt(fd, SOL_SOCKET, SO_LINGER, linger.base, 8);
    libc.close(fd);
    closed++;
  }
  libc.close(epoll);
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
