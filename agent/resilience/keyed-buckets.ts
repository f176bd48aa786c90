// Token buckets by key (a caller's identity, a header's value), for all threads of the agent, in a table of fixed size. A key has a few
// places where it may lie; the first of them that is free, or whose bucket has filled up again and so remembers nothing, is taken.
//
//   an entry is four slots: tag | used | last refill | full again at
//   free (0) -> busy -> tagged -> (full again) busy -> ...           busy -> given up -> left -> (full again) busy -> ...
//
// When all places of a key hold buckets in use there is none for it, and the caller says what then. No locks:
// - Two threads that meet a new key at once go for the same place. The slower waits the few writes until the other's tag is there, and
//   finds it. If the other does not come to its end, because it does not run, the place is given up and the next one taken; the other
//   sees that at its last write, leaves the place, and looks again.
// - Who finds its bucket full says that it is about to be used, and then looks whether it still is its own. Who takes a full bucket over
//   makes it busy, and then looks whether it still is full. One of the two sees the other.
// Two keys of the same tag and places would share a bucket: that is one chance in 2^40 or so for any two, and nobody who lacks the seed
// can look for them.
import { SharedSlots, type Slots } from "../base/slots.ts";
import { type Rate, restMs, takeToken } from "./token-bucket.ts";

const ENTRY_SLOTS = 4;
/** Places of a key, one behind the other. */
const PLACES = 8;
const FREE = 0;
const BUSY = -1;
/** A thread may still write there. If it died, the place stays so. */
const GIVEN_UP = -2;
const LEFT = -3;
/** Reads of a place that another thread is making its own, which takes it four writes: a tenth of a millisecond. */
const BUSY_READS_MAX = 20_000;
/** From find() to take(), of a thread that may not be running. */
const FOUND_MS = 250;
const USED = 1;
const REFILLED = 2;
const FULL_AT = 3;

/** For so many buckets. */
export const bucketMemory = (buckets: number): SharedArrayBuffer =>
  new SharedArrayBuffer(buckets * ENTRY_SLOTS * Int32Array.BYTES_PER_ELEMENT);

export class KeyedBuckets {
  readonly #entries: number;
  readonly #seed: readonly [number, number];
  /** For returnToken(). */
  readonly slots: Slots;
  readonly #hash = new Int32Array(2);

  /** `seed`: secret, and like the memory the same for all threads. */
  constructor(seed: readonly [number, number], memory: SharedArrayBuffer) {
    this.#seed = seed;
    this.slots = new SharedSlots(memory);
    this.#entries = memory.byteLength / ENTRY_SLOTS / Int32Array.BYTES_PER_ELEMENT;
  }

  /** Where the bucket of `key` is, for takeToken(); undefined: there is no place for it. */
  find(key: string, nowMs: number): number | undefined {
    const [place, tag] = this.#placeOf(key);
    const now = Math.floor(nowMs) | 0;
    // Each time that another thread was faster one place less is free.
    for (let tries = 0; tries <= PLACES; tries++) {
      const found = this.#lookFor(place, tag, now);
      if (found !== "taken meanwhile") return found;
    }
    return undefined;
  }

  #lookFor(place: number, tag: number, now: number): number | undefined | "taken meanwhile" {
    let spare = -1;
    let spareTag = FREE;
    for (let i = 0; i < PLACES; i++) {
      const at = ((place + i) % this.#entries) * ENTRY_SLOTS;
      const found = this.#readTag(at);
      if (found === tag) return this.#isKept(at, tag, now) ? at + USED : "taken meanwhile";
      const isUsed = found === GIVEN_UP || (found !== FREE && !this.#isFull(at, now));
      if (spare < 0 && !isUsed) {
        spare = at;
        spareTag = found;
      }
    }
    if (spare < 0) return undefined;
    return this.#claim(spare, spareTag, tag, now) ? spare + USED : "taken meanwhile";
  }

  #readTag(at: number): number {
    let found = this.slots.read(at);
    for (let reads = 0; found === BUSY && reads < BUSY_READS_MAX; reads++)
      found = this.slots.read(at);
    if (found !== BUSY) return found;
    const last = this.slots.exchange(at, BUSY, GIVEN_UP);
    return last === BUSY ? GIVEN_UP : last;
  }

  #isFull(at: number, now: number): boolean {
    return ((this.slots.read(at + FULL_AT) - now) | 0) <= 0;
  }

  /** Nobody takes over for another key what this one found. */
  #isKept(at: number, tag: number, now: number): boolean {
    if (!this.#isFull(at, now)) return true;
    this.#keepUntil(at, now + FOUND_MS);
    return this.slots.read(at) === tag;
  }

  #keepUntil(at: number, ms: number): void {
    for (;;) {
      const before = this.slots.read(at + FULL_AT);
      const isLater = ((before - ms) | 0) >= 0;
      if (isLater || this.slots.exchange(at + FULL_AT, before, ms | 0) === before) return;
    }
  }

  #claim(at: number, before: number, tag: number, now: number): boolean {
    const slots = this.slots;
    if (slots.exchange(at, before, BUSY) !== before) return false;
    if (before !== FREE && !this.#isFull(at, now)) {
      this.#settle(at, before);
      return false;
    }
    slots.write(at + USED, 0);
    slots.write(at + REFILLED, now);
    slots.write(at + FULL_AT, (now + FOUND_MS) | 0);
    return this.#settle(at, tag);
  }

  /** Of a place that this thread made busy. False: it took too long. */
  #settle(at: number, tag: number): boolean {
    const isOurs = this.slots.exchange(at, BUSY, tag) === BUSY;
    if (!isOurs) this.slots.write(at, LEFT);
    return isOurs;
  }

  /** As takeToken(), for what find() gave. */
  take(bucket: number, rate: Rate, nowMs: number): number {
    const waitMs = takeToken(this.slots, bucket, rate, nowMs);
    this.#keepUntil(bucket - USED, Math.floor(nowMs) + restMs(this.slots, bucket, rate) + 1);
    return waitMs;
  }

  #placeOf(key: string): [place: number, tag: number] {
    halfSipHash(key, this.#seed, this.#hash);
    const [high = 0, low = 0] = this.#hash;
    const isTag = low !== FREE && low !== BUSY && low !== GIVEN_UP && low !== LEFT;
    return [(high >>> 0) % this.#entries, isTag ? low : 1];
  }
}

/** HalfSipHash-2-4 with 64 bits of result (Aumasson and Bernstein 2012; as in the authors' halfsiphash.c), over the text's UTF-16
 *  units, little endian: who does not know the seed can find no two keys of one hash. */
export function halfSipHash(
  key: string,
  [k0, k1]: readonly [number, number],
  out: Int32Array,
): void {
  let v0 = k0;
  let v1 = k1 ^ 0xee;
  let v2 = k0 ^ 0x6c796765;
  let v3 = k1 ^ 0x74656462;
  const round = (): void => {
    v0 = (v0 + v1) | 0;
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
    v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0;
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
    v0 = (v0 + v3) | 0;
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
    v2 = (v2 + v1) | 0;
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
    v2 = (v2 << 16) | (v2 >>> 16);
  };
  const absorb = (word: number): void => {
    v3 ^= word;
    round();
    round();
    v0 ^= word;
  };
  const pairs = key.length >> 1;
  for (let i = 0; i < pairs; i++) {
    absorb(key.charCodeAt(2 * i) | (key.charCodeAt(2 * i + 1) << 16));
  }
  absorb((key.length << 25) | (key.length % 2 === 1 ? key.charCodeAt(key.length - 1) : 0));
  v2 ^= 0xee;
  for (let i = 0; i < 4; i++) round();
  out[0] = v1 ^ v3;
  v1 ^= 0xdd;
  for (let i = 0; i < 4; i++) round();
  out[1] = v1 ^ v3;
}
