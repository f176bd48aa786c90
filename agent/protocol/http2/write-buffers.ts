// Where frames are built before they leave. All connections of a thread take theirs from here and give it back when what was in it has
// left, at the end of the loop's turn: one that has nothing to say holds none, and none is made, or made larger, in steady state.

/** More than a turn builds before it is sent (FLUSH_BYTES in frame-writer.ts). */
const BUFFER_BYTES = 65_536;
/** What comes back beyond is left to the collector: 1 MiB is kept. A turn of the loop may fill one for each connection of either side. */
const FREE_MAX = 16;

export class WriteBuffers {
  readonly #free: Uint8Array[] = [];

  /** At least `bytes` long; contents are whatever was there. */
  take(bytes: number): Uint8Array {
    if (bytes > BUFFER_BYTES) return new Uint8Array(bytes);
    return this.#free.pop() ?? new Uint8Array(BUFFER_BYTES);
  }

  /** Nobody may use it afterwards. */
  give(buffer: Uint8Array): void {
    const isOurs = buffer.length === BUFFER_BYTES;
    if (isOurs && this.#free.length < FREE_MAX) this.#free.push(buffer);
  }
}
