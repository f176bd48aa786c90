// What a lane's reader is not ready for: copies, in order. Small pieces lie together, so that content that comes byte by byte weighs little
// more than its bytes; how much there can be is the windows' matter.

export interface HeldPiece {
  readonly bytes: Uint8Array;
  end: number;
  /** What of it counts against the peer's window. */
  content: number;
}

const TOGETHER_BYTES = 4_096;

export class HeldPieces {
  #pieces: HeldPiece[] = [];

  get isEmpty(): boolean {
    return this.#pieces.length === 0;
  }

  add(bytes: Uint8Array, start: number, end: number, content: number): void {
    const length = end - start;
    let last = this.#pieces.at(-1);
    if (last === undefined || last.bytes.length - last.end < length) {
      last = { bytes: new Uint8Array(Math.max(length, TOGETHER_BYTES)), end: 0, content: 0 };
      this.#pieces.push(last);
    }
    last.bytes.set(bytes.subarray(start, end), last.end);
    last.end += length;
    last.content += content;
  }

  takeAll(): readonly HeldPiece[] {
    const pieces = this.#pieces;
    this.#pieces = [];
    return pieces;
  }

  /** Lets go of all; returns what of it counted. */
  clear(): number {
    return this.takeAll().reduce((sum, { content }) => sum + content, 0);
  }
}
