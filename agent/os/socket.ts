// Opening, tuning and asking sockets, by libc on the loop's arena. Everything here is a call and its errno; streams are in tcp.ts.
import type { OriginalDestination } from "../base/net.ts";
import { err, ok, type Result } from "../base/result.ts";
import { readAddress, readPort, SOCKADDR_BYTES, writeSockaddr } from "./address.ts";
import {
  AF_INET,
  AF_INET6,
  EINPROGRESS,
  errnoName,
  IPV6_V6ONLY,
  SO_ERROR,
  SO_KEEPALIVE,
  SO_LINGER,
  SO_ORIGINAL_DST,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SOCK_FLAGS,
  SOCK_STREAM,
  SOL_IP,
  SOL_IPV6,
  SOL_SOCKET,
  SOL_TCP,
  TCP_KEEPCNT,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
  TCP_NODELAY,
} from "./libc.ts";
import { ARGUMENTS_AT, type Loop } from "./loop.ts";

const SOCKADDR_AT = ARGUMENTS_AT;
const LENGTH_AT = ARGUMENTS_AT + 64;
const VALUE_AT = ARGUMENTS_AT + 128;
/** Connections wait here while all threads are busy; the kernel caps it at net.core.somaxconn. */
const BACKLOG = 4096;

export function setOption(
  loop: Loop,
  fd: number,
  level: number,
  name: number,
  value: number,
): number {
  loop.arena.words[VALUE_AT >> 2] = value;
  return loop.libc.setsockopt(fd, level, name, loop.at(VALUE_AT), 4);
}

export function setNoDelay(loop: Loop, fd: number): void {
  setOption(loop, fd, SOL_TCP, TCP_NODELAY, 1);
}

/** A peer that fell silent is noticed within about 3 s while nothing is under way; for the rest see peer-watch.ts. */
export function setLiveness(loop: Loop, fd: number): void {
  setOption(loop, fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  setOption(loop, fd, SOL_TCP, TCP_KEEPIDLE, 1);
  setOption(loop, fd, SOL_TCP, TCP_KEEPINTVL, 1);
  setOption(loop, fd, SOL_TCP, TCP_KEEPCNT, 2);
}

/** close() will send RST. */
export function setResetOnClose(loop: Loop, fd: number): void {
  loop.arena.words[VALUE_AT >> 2] = 1;
  loop.arena.words[(VALUE_AT >> 2) + 1] = 0;
  loop.libc.setsockopt(fd, SOL_SOCKET, SO_LINGER, loop.at(VALUE_AT), 8);
}

/** A listening TCP socket shared by all threads (SO_REUSEPORT). `::` also takes IPv4. */
export function listenTcp(loop: Loop, address: string, port: number): Result<number, string> {
  const length = writeSockaddr(loop.arena.bytes, SOCKADDR_AT, address, port);
  if (length === 0) return err(`${address} is no IP address`);
  const fd = loop.libc.socket(length === 16 ? AF_INET : AF_INET6, SOCK_STREAM | SOCK_FLAGS, 0);
  if (fd < 0) return err(errnoName(loop.errno()));
  setOption(loop, fd, SOL_SOCKET, SO_REUSEADDR, 1);
  setOption(loop, fd, SOL_SOCKET, SO_REUSEPORT, 1);
  if (length === 28) setOption(loop, fd, SOL_IPV6, IPV6_V6ONLY, address === "::" ? 0 : 1);
  const isUp =
    loop.libc.bind(fd, loop.at(SOCKADDR_AT), length) === 0 && loop.libc.listen(fd, BACKLOG) === 0;
  if (isUp) return ok(fd);
  const reason = errnoName(loop.errno());
  loop.libc.close(fd);
  return err(reason);
}

/** Begins to connect; the outcome comes as an event. */
export function connectTcp(
  loop: Loop,
  address: string,
  port: number,
  from: string | undefined,
): Result<number, string> {
  const { libc } = loop;
  const family = address.includes(":") ? AF_INET6 : AF_INET;
  const fd = libc.socket(family, SOCK_STREAM | SOCK_FLAGS, 0);
  if (fd < 0) return err(errnoName(loop.errno()));
  setNoDelay(loop, fd);
  if (from !== undefined) {
    const length = writeSockaddr(loop.arena.bytes, SOCKADDR_AT, from, 0);
    if (libc.bind(fd, loop.at(SOCKADDR_AT), length) !== 0) return refuse(loop, fd);
  }
  const length = writeSockaddr(loop.arena.bytes, SOCKADDR_AT, address, port);
  if (length === 0) {
    libc.close(fd);
    return err("EINVAL");
  }
  if (libc.connect(fd, loop.at(SOCKADDR_AT), length) === 0 || loop.errno() === EINPROGRESS)
    return ok(fd);
  return refuse(loop, fd);
}

function refuse(loop: Loop, fd: number): Result<number, string> {
  const reason = errnoName(loop.errno());
  loop.libc.close(fd);
  return err(reason);
}

/** Accepts; the peer's sockaddr stays readable by acceptedFrom() until the next call. -1: see errno. */
export function accept(loop: Loop, listener: number): number {
  loop.arena.words[LENGTH_AT >> 2] = SOCKADDR_BYTES;
  return loop.libc.accept4(listener, loop.at(SOCKADDR_AT), loop.at(LENGTH_AT), SOCK_FLAGS);
}
export const acceptedAddress = (loop: Loop): string => readAddress(loop.arena.bytes, SOCKADDR_AT);
export const acceptedPort = (loop: Loop): number => readPort(loop.arena.bytes, SOCKADDR_AT);

/** Where the kernel's REDIRECT took this connection from; undefined when it took it from nowhere. */
export function originalDestination(
  loop: Loop,
  fd: number,
  isIpv6: boolean,
): OriginalDestination | undefined {
  loop.arena.words[LENGTH_AT >> 2] = SOCKADDR_BYTES;
  const level = isIpv6 ? SOL_IPV6 : SOL_IP;
  const got = loop.libc.getsockopt(
    fd,
    level,
    SO_ORIGINAL_DST,
    loop.at(SOCKADDR_AT),
    loop.at(LENGTH_AT),
  );
  if (got !== 0) return undefined;
  const bytes = loop.arena.bytes;
  return { address: readAddress(bytes, SOCKADDR_AT), port: readPort(bytes, SOCKADDR_AT) };
}

/** Our own address and port on this socket. */
export function localEnd(loop: Loop, fd: number): OriginalDestination {
  loop.arena.words[LENGTH_AT >> 2] = SOCKADDR_BYTES;
  loop.libc.getsockname(fd, loop.at(SOCKADDR_AT), loop.at(LENGTH_AT));
  const bytes = loop.arena.bytes;
  return { address: readAddress(bytes, SOCKADDR_AT), port: readPort(bytes, SOCKADDR_AT) };
}

/** The pending error of a socket, which this clears; undefined: none. */
export function takeError(loop: Loop, fd: number): string | undefined {
  loop.arena.words[LENGTH_AT >> 2] = 4;
  loop.libc.getsockopt(fd, SOL_SOCKET, SO_ERROR, loop.at(VALUE_AT), loop.at(LENGTH_AT));
  const code = loop.arena.words[VALUE_AT >> 2] as number;
  return code === 0 ? undefined : errnoName(code);
}
