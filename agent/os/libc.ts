// libc's socket calls and the numbers that go with them (Linux; the same on x86-64 and arm64 unless said).
import { openLibrary } from "./ffi.ts";

export const openLibc = () =>
  openLibrary("libc.so.6", {
    socket: "i32 i32 i32 i32",
    bind: "i32 i32 at i32",
    listen: "i32 i32 i32",
    connect: "i32 i32 at i32",
    accept4: "i32 i32 at at i32",
    recv: "i32 i32 at i32 i32",
    send: "i32 i32 at i32 i32",
    recvfrom: "i32 i32 at i32 i32 at at",
    sendto: "i32 i32 at i32 i32 at i32",
    sendmsg: "i32 i32 at i32",
    recvmsg: "i32 i32 at i32",
    fcntl: "i32 i32 i32 i32",
    close: "i32 i32",
    shutdown: "i32 i32 i32",
    setsockopt: "i32 i32 i32 i32 at i32",
    getsockopt: "i32 i32 i32 i32 at at",
    getsockname: "i32 i32 at at",
    epoll_create1: "i32 i32",
    epoll_ctl: "i32 i32 i32 i32 at",
    epoll_wait: "i32 i32 at i32 i32",
    clock_gettime: "i32 i32 at",
    prctl: "i32 i32 at at at at",
    usleep: "i32 i32",
    sched_setscheduler: "i32 i32 i32 at",
  });
export type Libc = ReturnType<typeof openLibc>;

export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const SOCK_STREAM = 1;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
/** SOCK_NONBLOCK | SOCK_CLOEXEC */
export const SOCK_FLAGS = 0x800 | 0x8_0000;
export const SOCK_CLOEXEC = 0x8_0000;
export const MSG_DONTWAIT = 0x40;
export const F_SETFD = 2;
export const FD_CLOEXEC = 1;
export const MSG_NOSIGNAL = 0x4000;
export const SHUT_RD = 0;
export const SHUT_WR = 1;
export const SHUT_RDWR = 2;

export const SOL_IP = 0;
export const SOL_SOCKET = 1;
export const SOL_TCP = 6;
export const SOL_IPV6 = 41;
export const SO_REUSEADDR = 2;
export const SO_ERROR = 4;
export const SO_KEEPALIVE = 9;
export const SO_LINGER = 13;
export const SO_REUSEPORT = 15;
export const SO_SNDTIMEO = 21;
export const SO_ORIGINAL_DST = 80;
export const SCM_RIGHTS = 1;
export const IPV6_V6ONLY = 26;
export const TCP_NODELAY = 1;
export const TCP_KEEPIDLE = 4;
export const TCP_KEEPINTVL = 5;
export const TCP_KEEPCNT = 6;
export const TCP_INFO = 11;
export const TCP_USER_TIMEOUT = 18;

export const CLOCK_MONOTONIC = 1;

export const PR_SET_TIMERSLACK = 29;
export const SCHED_OTHER = 0;
export const SCHED_BATCH = 3;

export const EPOLL_CTL_ADD = 1;
export const EPOLL_CTL_DEL = 2;
export const EPOLLIN = 1;
export const EPOLLOUT = 4;
export const EPOLLERR = 8;
export const EPOLLHUP = 16;
export const EPOLLRDHUP = 0x2000;
export const EPOLLET = 1 << 31;

export const EAGAIN = 11;
export const ECONNREFUSED = 111;
export const EINPROGRESS = 115;

const NAMES: { readonly [code: number]: string } = {
  1: "EPERM",
  11: "EAGAIN",
  13: "EACCES",
  23: "ENFILE",
  24: "EMFILE",
  32: "EPIPE",
  98: "EADDRINUSE",
  99: "EADDRNOTAVAIL",
  101: "ENETUNREACH",
  103: "ECONNABORTED",
  104: "ECONNRESET",
  105: "ENOBUFS",
  110: "ETIMEDOUT",
  111: "ECONNREFUSED",
  113: "EHOSTUNREACH",
};
export const errnoName = (code: number): string => NAMES[code] ?? `errno ${code}`;
