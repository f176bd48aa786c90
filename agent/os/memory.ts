// When memory is given back: garbage is collected, and clean pages of the executable are dropped (file-pages.ts). Nothing here changes
// what the process computes.
import type { Timer, Timers } from "../base/clock.ts";
import { isBun } from "./runtime.ts";

/** Collects this thread's heap now. */
export function collectGarbage(): void {
  if (isBun) (globalThis as unknown as { Bun: { gc(isSync: boolean): void } }).Bun.gc(true);
  else {
    collectByV8 ??= v8Collector();
    collectByV8();
  }
}
let collectByV8: (() => void) | undefined;

/** V8's own, which only its flag --expose-gc shows, and only to contexts that are made after it. */
function v8Collector(): () => void {
  process.getBuiltinModule("node:v8").setFlagsFromString("--expose-gc");
  return process.getBuiltinModule("node:vm").runInNewContext("gc") as () => void;
}

interface RuntimeHeap {
  edenGC(): void;
}
/** Undefined: a runtime that collects by itself alone (Deno). Not at the start. */
const runtimeHeap = (): RuntimeHeap | undefined =>
  process.getBuiltinModule("bun:jsc" as "node:v8") as unknown as RuntimeHeap | undefined;
/** The runtime itself begins at 32 MB; a collection of these takes 0.15 ms. */
const SHORT_LIVED_BYTES_MAX = 4 << 20;

/** From here on freeing at once (2 us) costs less than its share of a collection. */
const FREED_FROM_BYTES = 32_768;

/** For a chunk that was made for one event, and that nobody refers to any more: its memory is free at once if that pays, so that it need not
 *  wait for a collection, or else counted for one. Left to itself a busy thread holds 20 to 30 MB of them. */
export function giveBack(chunk: Uint8Array, loop: { shortLivedBytes: number }): void {
  const { length } = chunk;
  if (length < FREED_FROM_BYTES || chunk.buffer.byteLength !== length)
    loop.shortLivedBytes += length;
  else (chunk.buffer as ArrayBuffer).transfer(0);
}

/** At the end of a turn: gives back what the runtime's sockets made for events that are over. */
export function collectShortLived(loop: { shortLivedBytes: number }): void {
  if (loop.shortLivedBytes < SHORT_LIVED_BYTES_MAX) return;
  loop.shortLivedBytes = 0;
  runtimeHeap()?.edenGC();
}

/** This long after the last version or key came. */
const TIDY_AFTER_MS = 5_000;
/** Above what had come back one look after the last drop, and so is needed: what was needed to start or to compile, or by load that
 *  is over. Measured: 30 MiB serve an idle agent, 32 to 36 one under load, 42 lie there without a look. */
const FILE_PAGES_MARGIN_KIB = 4 * 1024;
const LOOK_EVERY_MS = 10_000;

export interface TidyDeps {
  readonly timers: Timers;
  collectGarbage(): void;
  dropCleanPages(): void;
  filePagesKib(): number;
}

/** A start, a compilation and a renewal load code and leave garbage that nothing else would collect for long. */
export class MemoryTidy {
  readonly #deps: TidyDeps;
  #due: Timer | undefined;
  #look: Timer | undefined;
  /** What serves: undefined until the look after a drop. */
  #neededKib: number | undefined;

  constructor(deps: TidyDeps) {
    this.#deps = deps;
  }

  /** Collects and drops in a while; from now on looks at what piles up under load, too. */
  soon(): void {
    this.#due?.cancel();
    this.#due = this.#deps.timers.after(TIDY_AFTER_MS, () => {
      this.#deps.collectGarbage();
      this.#drop();
    });
    if (this.#look === undefined) this.#lookLater();
  }

  #lookLater(): void {
    this.#look = this.#deps.timers.after(LOOK_EVERY_MS, () => {
      const kib = this.#deps.filePagesKib();
      if (this.#neededKib === undefined) this.#neededKib = kib;
      else if (kib > this.#neededKib + FILE_PAGES_MARGIN_KIB) this.#drop();
      this.#lookLater();
    });
  }

  #drop(): void {
    this.#deps.dropCleanPages();
    this.#neededKib = undefined;
  }

  stop(): void {
    this.#due?.cancel();
    this.#look?.cancel();
  }
}
