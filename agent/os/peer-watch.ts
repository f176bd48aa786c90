// Tells a mesh peer that is gone from one whose app does not read. TCP_USER_TIMEOUT would end a connection whose bytes nobody acknowledges, but
// also one whose peer answers every probe of its closed window (Linux, tcp_probe_timer): an app that reads nothing for two seconds would lose its
// connection. So we look ourselves (TCP_INFO) while something that was sent is not acknowledged; being late, as on a starved machine, cuts nobody. Only towards a
// closed window is the kernel's timeout set, and moved on for as long as the peer answers: the kernel sends its next probe no later than that, where its
// own pauses would grow to two minutes.
import type { Timer } from "../base/clock.ts";
import { SOL_TCP, TCP_INFO, TCP_USER_TIMEOUT } from "./libc.ts";
import { ARGUMENTS_AT, type Loop } from "./loop.ts";
import { setOption } from "./socket.ts";

/** Silence that ends a connection while something is to be acknowledged; idle ones have keepalive (setLiveness). */
const SILENCE_MS = 2_000;
const LOOK_EVERY_MS = 500;
/** How long a peer with a closed window may take for its next answer: a dead one is found after two of these at most. */
const PATIENCE_MS = 8_000;

// struct tcp_info (linux/tcp.h); tcpi_snd_wnd since Linux 5.4.
const PROBES_AT = 3;
const UNACKED_AT = 24;
const LAST_ACK_RECEIVED_AT = 56;
const BYTES_ACKED_AT = 120;
const NOT_SENT_AT = 144;
const SEND_WINDOW_AT = 228;
const INFO_BYTES = 232;
const LENGTH_AT = ARGUMENTS_AT + 64;
const INFO_AT = ARGUMENTS_AT + 128;

/** Before a close in order: what is still to be sent is the kernel's alone, which has limits of its own for that (tcp_orphan_retries). */
export const leaveToKernel = (loop: Loop, fd: number): void => {
  setOption(loop, fd, SOL_TCP, TCP_USER_TIMEOUT, 0);
};

export interface Watched {
  /** All is acknowledged: the watch is over. */
  unwatched(): void;
  /** The peer is gone: likewise. */
  unanswered(): void;
}

/** Begins with a write, and ends by itself. */
export class PeerWatch {
  readonly #loop: Loop;
  readonly #fd: number;
  readonly #watched: Watched;
  readonly #sinceMs: number;
  #timer: Timer;
  /** 0: none. */
  #userTimeoutMs = 0;
  /** Bytes, modulo 2^32, and since when no more were. */
  #acked = -1;
  #stuckSinceMs = 0;

  constructor(loop: Loop, fd: number, watched: Watched) {
    this.#loop = loop;
    this.#fd = fd;
    this.#watched = watched;
    this.#sinceMs = loop.nowMs();
    this.#timer = this.#lookLater();
  }

  stop(): void {
    this.#timer.cancel();
  }

  #lookLater(): Timer {
    return this.#loop.wheel.after(LOOK_EVERY_MS, () => this.#look());
  }

  #look(): void {
    const loop = this.#loop;
    if (!readInfo(loop, this.#fd)) {
      this.#allow(SILENCE_MS); // an older kernel tells less: it decides
      return;
    }
    if (word(loop, UNACKED_AT) === 0 && word(loop, NOT_SENT_AT) === 0) {
      this.#allow(0);
      this.#watched.unwatched();
      return;
    }
    const nowMs = loop.nowMs();
    if (isWindowClosed(loop)) this.#lookAtClosed(nowMs);
    else if (isSilent(loop) && nowMs - this.#sinceMs >= SILENCE_MS) {
      this.#watched.unanswered();
      return;
    } else this.#allow(0);
    this.#timer = this.#lookLater();
  }

  #lookAtClosed(nowMs: number): void {
    const acked = word(this.#loop, BYTES_ACKED_AT);
    if (acked !== this.#acked) {
      this.#acked = acked;
      this.#stuckSinceMs = nowMs;
    }
    if (isAnswering(this.#loop)) this.#allow(nowMs - this.#stuckSinceMs + PATIENCE_MS);
  }

  #allow(ms: number): void {
    if (ms === this.#userTimeoutMs) return;
    this.#userTimeoutMs = ms;
    setOption(this.#loop, this.#fd, SOL_TCP, TCP_USER_TIMEOUT, Math.ceil(ms));
  }
}

/** Leaves what the functions below read. False: this kernel tells less. */
function readInfo(loop: Loop, fd: number): boolean {
  loop.arena.words[LENGTH_AT >> 2] = INFO_BYTES;
  const got = loop.libc.getsockopt(fd, SOL_TCP, TCP_INFO, loop.at(INFO_AT), loop.at(LENGTH_AT));
  return got === 0 && loop.arena.words[LENGTH_AT >> 2] === INFO_BYTES;
}
const word = (loop: Loop, at: number): number => loop.arena.words[(INFO_AT + at) >> 2] as number;

const isSilent = (loop: Loop): boolean => word(loop, LAST_ACK_RECEIVED_AT) >= SILENCE_MS;

/** All that was sent is acknowledged, or came to a window that had closed before it: the rest waits for the app at the other end. */
const isWindowClosed = (loop: Loop): boolean =>
  word(loop, UNACKED_AT) === 0 || word(loop, SEND_WINDOW_AT) === 0;

const isAnswering = (loop: Loop): boolean =>
  word(loop, UNACKED_AT) === 0
    ? loop.arena.bytes[INFO_AT + PROBES_AT] === 0
    : word(loop, LAST_ACK_RECEIVED_AT) <= PATIENCE_MS;
