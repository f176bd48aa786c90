// io_uring (io_uring(7), Linux 6.1 or later) as a way to make many socket calls with one system call. Every entry is non-blocking
// (MSG_DONTWAIT), so the kernel finishes it inside submit(): nothing is ever in flight, and no buffer outlives the call.
// Readiness stays epoll's. Where the kernel or its administrator refuses io_uring, there is no ring and calls are made one by one.
import { assert } from "../base/assert.ts";
import { mapShared, openLibrary } from "./ffi.ts";
import { MSG_DONTWAIT } from "./libc.ts";

/** Entries of one submit(). */
export const RING_ENTRIES = 128;
/** Result of an entry that the kernel did not come to (it was out of memory): make the call yourself. No errno is this large. */
export const NOT_RUN = -4096;

const SYS_SETUP = 425;
const SYS_ENTER = 426;
/** One broken entry does not keep the others from running. */
const SETUP_SUBMIT_ALL = 1 << 7;
const SETUP_SINGLE_ISSUER = 1 << 12;
const SETUP_DEFER_TASKRUN = 1 << 13;
/** Both rings in one mapping. */
const FEATURE_SINGLE_MMAP = 1;
const OFFSET_RINGS = 0;
const OFFSET_ENTRIES = 0x1000_0000;
const SEND = 26;
const RECV = 27;
/** struct io_uring_sqe, in 32-bit words. */
const ENTRY_WORDS = 16;
/** struct io_uring_params. */
const PARAMS_BYTES = 120;
const SQ_OFFSETS = 40 >> 2;
const CQ_OFFSETS = 80 >> 2;

/** Where things lie in the mapped rings, in words. */
interface Places {
  readonly sqHead: number;
  readonly sqTail: number;
  readonly sqMask: number;
  readonly cqHead: number;
  readonly cqTail: number;
  readonly cqMask: number;
  readonly cqEntries: number;
}

export class Ring {
  readonly fd: number;
  /** What submit() brought, by tag: bytes moved, or a negative errno. */
  readonly results = new Int32Array(RING_ENTRIES);
  readonly #enter: (entries: number) => number;
  readonly #rings: Int32Array;
  readonly #entries: Int32Array;
  readonly #at: Places;
  #tail: number;
  #head: number;
  #queued = 0;

  private constructor(
    fd: number,
    enter: (entries: number) => number,
    rings: Int32Array,
    entries: Int32Array,
    at: Places,
  ) {
    this.fd = fd;
    this.#enter = enter;
    this.#rings = rings;
    this.#entries = entries;
    this.#at = at;
    this.#tail = rings[at.sqTail] as number;
    this.#head = rings[at.cqHead] as number;
  }

  /** For this thread alone. `params`: address and view of PARAMS_BYTES of memory that is free during the call. Undefined: the
   *  kernel is too old, or io_uring is switched off (kernel.io_uring_disabled, a seccomp filter). */
  static open(params: { readonly address: number; readonly words: Int32Array }): Ring | undefined {
    const { syscall } = openLibrary("libc.so.6", { syscall: "i32 i32 i32 at i32 i32 at i32" });
    const { words } = params;
    words.fill(0, 0, PARAMS_BYTES >> 2);
    words[2] = SETUP_SUBMIT_ALL | SETUP_SINGLE_ISSUER | SETUP_DEFER_TASKRUN;
    const fd = syscall(SYS_SETUP, RING_ENTRIES, params.address, 0, 0, 0, 0);
    if (fd < 0) return undefined;
    const word = (at: number): number => words[at] as number;
    const array = word(SQ_OFFSETS + 6) >> 2;
    const cqEntries = word(CQ_OFFSETS + 5);
    const bytes = Math.max((array << 2) + word(0) * 4, cqEntries + word(1) * 16);
    const rings = mapShared(fd, bytes, OFFSET_RINGS);
    const entries = mapShared(fd, word(0) * ENTRY_WORDS * 4, OFFSET_ENTRIES);
    if ((word(5) & FEATURE_SINGLE_MMAP) === 0 || rings === undefined || entries === undefined) {
      openLibrary("libc.so.6", { close: "i32 i32" }).close(fd);
      return undefined;
    }
    return new Ring(
      fd,
      (count) => syscall(SYS_ENTER, fd, count, 0, 0, 0, 0),
      rings,
      prepared(rings, entries, array),
      {
        sqHead: word(SQ_OFFSETS) >> 2,
        sqTail: word(SQ_OFFSETS + 1) >> 2,
        sqMask: RING_ENTRIES - 1,
        cqHead: word(CQ_OFFSETS) >> 2,
        cqTail: word(CQ_OFFSETS + 1) >> 2,
        cqMask: word(1) - 1,
        cqEntries: cqEntries >> 2,
      },
    );
  }

  get queued(): number {
    return this.#queued;
  }

  /** `at`: an arena address. At most RING_ENTRIES entries between two submits; each tag once. */
  receive(fd: number, at: number, length: number, tag: number): void {
    this.#push(RECV, fd, at, length, MSG_DONTWAIT, tag);
  }
  send(fd: number, at: number, length: number, flags: number, tag: number): void {
    this.#push(SEND, fd, at, length, MSG_DONTWAIT | flags, tag);
  }

  #push(operation: number, fd: number, at: number, length: number, flags: number, tag: number) {
    const entries = this.#entries;
    const word = (this.#tail & this.#at.sqMask) * ENTRY_WORDS;
    this.#tail = (this.#tail + 1) | 0;
    this.#queued++;
    entries[word] = operation;
    entries[word + 1] = fd;
    entries[word + 4] = at;
    entries[word + 6] = length;
    entries[word + 7] = flags;
    entries[word + 8] = tag;
    this.results[tag] = NOT_RUN;
  }

  /** Runs what was queued, in order; results[] holds what came of it. */
  submit(): void {
    const count = this.#queued;
    if (count === 0) return;
    this.#queued = 0;
    this.#rings[this.#at.sqTail] = this.#tail;
    const taken = this.#enter(count);
    if (taken !== count) this.#withdraw();
    const done = this.#collect();
    // A call in flight would write into memory that others use by now.
    assert(done === Math.max(0, taken), "io_uring left a non-blocking call in flight");
  }

  /** Nobody but submit() lets the kernel look at the queue, so what it left there can be taken back. */
  #withdraw(): void {
    this.#tail = this.#rings[this.#at.sqHead] as number;
    this.#rings[this.#at.sqTail] = this.#tail;
  }

  #collect(): number {
    const rings = this.#rings;
    const at = this.#at;
    const tail = rings[at.cqTail] as number;
    const done = (tail - this.#head) | 0;
    let head = this.#head;
    while (head !== tail) {
      const word = at.cqEntries + (head & at.cqMask) * 4;
      this.results[rings[word] as number] = rings[word + 2] as number;
      head = (head + 1) | 0;
    }
    this.#head = head;
    rings[at.cqHead] = head;
    return done;
  }
}

/** The submission array names each entry once, for good; fields that we never set are zero from the start. */
function prepared(rings: Int32Array, entries: Int32Array, array: number): Int32Array {
  for (let i = 0; i < RING_ENTRIES; i++) rings[array + i] = i;
  return entries;
}
