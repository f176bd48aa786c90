// Memory given back when there is nothing to do: garbage is collected, and clean pages of the executable are dropped; they come
// back from the page cache when touched (BUN.md "Memory": 55 MB to 32). Nothing here changes what the process computes.
import { readFileSync } from "node:fs";
import type { Timer, Timers } from "../base/clock.ts";
import { openLibrary } from "./ffi.ts";

const MADV_DONTNEED = 4;
const MAPPING = /^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \S+\s*(.*)$/;

/** Collects this thread's heap now. */
export function collectGarbage(): void {
  (globalThis as unknown as { Bun?: { gc(isSync: boolean): void } }).Bun?.gc(true);
}

/** Drops file pages that are private, read-only and unchanged; returns how many KiB were resident there. */
export function dropCleanPages(): number {
  const { madvise } = openLibrary("libc.so.6", { madvise: "i32 word word i32" });
  let dropped = 0;
  let mapping: { at: number; bytes: number; isFileText: boolean } | undefined;
  let residentKib = 0;
  for (const line of readFileSync("/proc/self/smaps", "latin1").split("\n")) {
    const found = MAPPING.exec(line);
    if (found !== null) {
      const [, from = "", to = "", permissions = "", file = ""] = found;
      const at = Number.parseInt(from, 16);
      const isFileText = file.startsWith("/") && permissions[1] === "-" && permissions[3] === "p";
      mapping = { at, bytes: Number.parseInt(to, 16) - at, isFileText };
    } else if (line.startsWith("Rss:")) residentKib = Number.parseInt(line.slice(4), 10);
    else if (
      line.startsWith("Anonymous:") &&
      Number.parseInt(line.slice(10), 10) === 0 &&
      mapping?.isFileText
    ) {
      if (madvise(mapping.at, mapping.bytes, MADV_DONTNEED) === 0) dropped += residentKib;
    }
  }
  return dropped;
}

/** This long after the last version or key came. */
const TIDY_AFTER_MS = 5_000;

/** A start, a compilation and a renewal load code and leave garbage that nothing else would collect for long. */
export class MemoryTidy {
  readonly #timers: Timers;
  #due: Timer | undefined;

  constructor(timers: Timers) {
    this.#timers = timers;
  }

  soon(): void {
    this.stop();
    this.#due = this.#timers.after(TIDY_AFTER_MS, () => {
      collectGarbage();
      dropCleanPages();
    });
  }

  stop(): void {
    this.#due?.cancel();
  }
}
