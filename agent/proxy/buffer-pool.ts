// Buffers for what could not go on at once: unsent bytes, unfinished heads, requests kept for a retry. Handed out by size class and
// given back, so a connection that is idle holds none.

const CLASSES = [1024, 4096, 16_384, 73_728] as const;
/** Per class; what comes beyond is left to the collector. Each request under way holds one of the smallest, and a few HTTP/2 connections have
 *  hundreds under way. */
const KEPT_MAX = [1024, 256, 128, 64] as const;

export class BufferPool {
  readonly #free: Uint8Array[][] = CLASSES.map(() => []);
  /** Test builds fill what is given back, so that a stale reference shows. */
  readonly #poisons: boolean;

  constructor(config: { poisons: boolean }) {
    this.#poisons = config.poisons;
  }

  /** At least `bytes` long; contents are whatever was there. */
  take(bytes: number): Uint8Array {
    for (let i = 0; i < CLASSES.length; i++) {
      const size = CLASSES[i] as number;
      if (bytes <= size) return this.#free[i]?.pop() ?? new Uint8Array(size);
    }
    return new Uint8Array(bytes);
  }

  give(buffer: Uint8Array): void {
    if (this.#poisons) buffer.fill(0xdb);
    const at = CLASSES.indexOf(buffer.length as (typeof CLASSES)[number]);
    const free = this.#free[at];
    if (free !== undefined && free.length < (KEPT_MAX[at] ?? 0)) free.push(buffer);
  }
}
