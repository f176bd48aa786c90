// Listening sockets of the main thread, opened by libc so that their numbers are known: the runtime tells none, and unlinks the path of
// a unix socket that it opened itself, also when the socket has a new owner by then.
import { chmodSync, chownSync, mkdirSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { err, ok, type Result } from "../base/result.ts";
import { writeSockaddr } from "./address.ts";
import { CannotListen } from "./cannot-listen.ts";
import { type Arena, errnoReader, mapArena } from "./ffi.ts";
import {
  AF_INET,
  AF_INET6,
  errnoName,
  IPV6_V6ONLY,
  type Libc,
  openLibc,
  SHUT_RDWR,
  SO_REUSEADDR,
  SOCK_FLAGS,
  SOCK_STREAM,
  SOL_IPV6,
  SOL_SOCKET,
} from "./libc.ts";

const AF_UNIX = 1;
/** sun_path, its closing zero included (unix(7)). */
const PATH_BYTES_MAX = 108;
const BACKLOG = 128;
const VALUE_AT = 256;

/** One page, for sockaddrs. */
let memory: Arena | undefined;

/** 0660, so only its owner and group talk to it. `groupId` undefined: the agent's own group. */
export function listenLocally(path: string, groupId: number | undefined): number {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  rmSync(path, { force: true }); // left by an agent that was killed
  const before = process.umask(0o117);
  let opened: Result<number, string>;
  try {
    opened = openUnixSocket(path);
  } finally {
    process.umask(before);
  }
  if (!opened.ok) throw new Error(`cannot listen on ${path}: ${opened.error}`);
  chmodSync(path, 0o660);
  if (groupId !== undefined) chownSync(path, process.getuid?.() ?? 0, groupId);
  return opened.value;
}

/** Throws CannotListen when the port is taken. */
export function listenOn(address: string, port: number): number {
  const opened = openTcpSocket(address, port);
  if (!opened.ok) throw new CannotListen(address, port, opened.error);
  return opened.value;
}

/** Ends a listener for every process that has a copy of it, and closes ours. */
export function endListener(libc: Libc, fd: number): void {
  libc.shutdown(fd, SHUT_RDWR); // of a datagram socket only both directions tell the manager (EPOLLHUP)
  libc.close(fd);
}

/** Our descriptor alone: a successor's goes on. */
export function closeListener(fd: number): void {
  openLibc().close(fd);
}

/** Shared with nobody: a port that another process has is an error. */
function openTcpSocket(address: string, port: number): Result<number, string> {
  memory ??= mapArena(4_096);
  const length = writeSockaddr(memory.bytes, 0, address, port);
  if (length === 0) return err(`${address} is no IP address`);
  return open(memory, length === 16 ? AF_INET : AF_INET6, length);
}

/** Nothing may lie at that path. */
function openUnixSocket(path: string): Result<number, string> {
  memory ??= mapArena(4_096);
  const bytes = new TextEncoder().encode(path);
  if (bytes.length >= PATH_BYTES_MAX) {
    return err(`a unix socket's path has less than ${PATH_BYTES_MAX} bytes`);
  }
  memory.bytes.fill(0, 0, 2 + PATH_BYTES_MAX);
  memory.bytes[0] = AF_UNIX;
  memory.bytes.set(bytes, 2);
  return open(memory, AF_UNIX, 2 + bytes.length + 1);
}

function open({ base, words }: Arena, family: number, length: number): Result<number, string> {
  const libc = openLibc();
  const errno = errnoReader();
  const fd = libc.socket(family, SOCK_STREAM | SOCK_FLAGS, 0);
  if (fd < 0) return err(errnoName(errno()));
  words[VALUE_AT >> 2] = 1;
  libc.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, base + VALUE_AT, 4);
  if (family === AF_INET6) libc.setsockopt(fd, SOL_IPV6, IPV6_V6ONLY, base + VALUE_AT, 4);
  if (libc.bind(fd, base, length) === 0 && libc.listen(fd, BACKLOG) === 0) return ok(fd);
  const reason = errnoName(errno());
  libc.close(fd);
  return err(reason);
}
