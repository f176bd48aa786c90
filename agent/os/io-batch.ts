// The small sends and receives of one turn of the loop, made by one system call each way (uring.ts) instead of one each. A turn of
// a busy proxy moves dozens of small messages, and a system call costs more than the bytes it moves.
//
// Receives go into one slot each. Slots lie side by side without EDIT_ROOM between them: they are shown from the last to the first,
// so what a handler overwrites behind its bytes belongs to those who had their turn.
// Sends are copied into the arena and leave at the end of the turn, before anything is closed, or when the room for them is used up.
import { assert } from "../base/assert.ts";
import { EDIT_ROOM } from "../base/net.ts";
import type { Arena } from "./ffi.ts";
import { type Libc, MSG_NOSIGNAL } from "./libc.ts";
import { NOT_RUN, Ring } from "./uring.ts";

/** What one receive brings at most; who fills its slot is read alone, in larger pieces. */
export const SLOT_BYTES = 4_096;
export const RECEIVES_MAX = 64;
/** A larger message is sent by a call of its own: copying it would cost more than the call. */
export const BATCHED_BYTES_MAX = 4_096;
/** Kept below what a turn can bring, so that those who wait for the first answers begin while we work on the last. */
const SENDS_MAX = 32;
const SENDS_BYTES = 65_536;
export const BATCH_BYTES = RECEIVES_MAX * SLOT_BYTES + EDIT_ROOM + SENDS_BYTES;
const POISON = 0xdb;
const isPoisoned = process.env["IRONMESH_POISON"] === "1";

export interface Receiver {
  readonly fd: number;
  /** `result`: bytes from `at` on in the arena (valid within the call), 0 for the end, a negative errno, or NOT_RUN. */
  onReceived(at: number, result: number): void;
}

export interface Sender {
  readonly fd: number;
  /** What was queued lies at `at` until this returns. `result`: bytes the kernel took, or a negative errno. */
  onSent(at: number, length: number, result: number): void;
}

export class IoBatch {
  readonly #ring: Ring;
  readonly #arena: Arena;
  readonly #libc: Libc;
  readonly #errno: () => number;
  readonly #slotsAt: number;
  readonly #sendsAt: number;
  readonly #senders: Sender[] = [];
  readonly #from = new Int32Array(SENDS_MAX);
  #end: number;

  private constructor(ring: Ring, arena: Arena, at: number, libc: Libc, errno: () => number) {
    this.#ring = ring;
    this.#arena = arena;
    this.#libc = libc;
    this.#errno = errno;
    this.#slotsAt = at;
    this.#sendsAt = at + RECEIVES_MAX * SLOT_BYTES + EDIT_ROOM;
    this.#end = this.#sendsAt;
  }

  /** Uses BATCH_BYTES of the arena from `at` on. Undefined: no io_uring here. */
  static open(arena: Arena, at: number, libc: Libc, errno: () => number): IoBatch | undefined {
    assert(at + BATCH_BYTES <= arena.bytes.length, "the arena has no room for the batch");
    const words = arena.words.subarray(at >> 2);
    const ring = Ring.open({ address: arena.base + at, words });
    return ring && new IoBatch(ring, arena, at, libc, errno);
  }

  get ringFd(): number {
    return this.#ring.fd;
  }

  /** Receives for all of them (at most RECEIVES_MAX), then shows each its result; `failed` is told what one throws. */
  receive(receivers: readonly Receiver[], failed: (error: unknown) => void): void {
    const ring = this.#ring;
    for (let i = 0; i < receivers.length; i++) {
      const { fd } = receivers[i] as Receiver;
      ring.receive(fd, this.#arena.base + this.#slotsAt + i * SLOT_BYTES, SLOT_BYTES, i);
    }
    this.#runSends(); // the same call takes them along
    for (let i = receivers.length - 1; i >= 0; i--) {
      try {
        const result = ring.results[i] as number;
        (receivers[i] as Receiver).onReceived(this.#slotsAt + i * SLOT_BYTES, result);
      } catch (error) {
        failed(error);
      }
    }
  }

  /** Queues bytes[start..end), at most BATCHED_BYTES_MAX. False: run() first, since there is no room, or others were queued since. */
  queue(sender: Sender, isQueued: boolean, bytes: Uint8Array, start: number, end: number): boolean {
    const senders = this.#senders;
    const length = end - start;
    if (this.#end + length > this.#sendsAt + SENDS_BYTES) return false;
    if (!isQueued) {
      if (senders.length === SENDS_MAX) return false;
      this.#from[senders.length] = this.#end;
      senders.push(sender);
    } else if (senders.at(-1) !== sender) return false;
    const arena = this.#arena.bytes;
    if (bytes === arena) arena.copyWithin(this.#end, start, end);
    else for (let i = start, at = this.#end; i < end; i++) arena[at++] = bytes[i] as number;
    this.#end += length;
    return true;
  }

  /** Sends what is queued. */
  run(): void {
    if (this.#senders.length > 0) this.#runSends();
  }

  #runSends(): void {
    const senders = this.#senders;
    const count = senders.length;
    const ring = this.#ring;
    if (count === 1 && ring.queued === 0) this.#sendAlone();
    else {
      for (let i = 0; i < count; i++) {
        const from = this.#from[i] as number;
        const { fd } = senders[i] as Sender;
        ring.send(fd, this.#arena.base + from, this.#until(i) - from, MSG_NOSIGNAL, tagOf(i));
      }
      ring.submit();
    }
    for (let i = 0; i < count; i++) this.#settle(i);
    if (isPoisoned) this.#arena.bytes.fill(POISON, this.#sendsAt, this.#end);
    senders.length = 0;
    this.#end = this.#sendsAt;
  }

  #until(i: number): number {
    return i + 1 < this.#senders.length ? (this.#from[i + 1] as number) : this.#end;
  }

  #settle(i: number): void {
    const from = this.#from[i] as number;
    const length = this.#until(i) - from;
    const result = this.#ring.results[tagOf(i)] as number;
    const sender = this.#senders[i] as Sender;
    sender.onSent(from, length, result === NOT_RUN ? this.#send(sender.fd, from, length) : result);
  }

  #sendAlone(): void {
    this.#ring.results[tagOf(0)] = NOT_RUN;
  }

  #send(fd: number, at: number, length: number): number {
    const sent = this.#libc.send(fd, this.#arena.base + at, length, MSG_NOSIGNAL);
    return sent >= 0 ? sent : -this.#errno();
  }
}

/** Receives have the tags below. */
const tagOf = (send: number): number => RECEIVES_MAX + send;
