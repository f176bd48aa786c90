// Hands snapshots to one data thread, a piece at a time. A thread takes in all messages that wait for it at once, so the next piece
// leaves only when the one before was taken: between them its traffic has its turn.
import type { Snapshot } from "../policy/snapshot.ts";
import { type SnapshotPiece, splitSnapshot } from "../policy/snapshot-pieces.ts";

export class SnapshotFeed {
  readonly #send: (piece: SnapshotPiece) => void;
  #left: Iterator<SnapshotPiece> | undefined;
  #isUnderWay = false;

  constructor(send: (piece: SnapshotPiece) => void) {
    this.#send = send;
  }

  /** What was left of an older one is not sent any more: the beginning of this one tells the thread to drop it. */
  offer(snapshot: Snapshot): void {
    this.#left = splitSnapshot(snapshot);
    if (!this.#isUnderWay) this.#sendNext();
  }

  /** The thread took a piece in. */
  taken(): void {
    this.#isUnderWay = false;
    this.#sendNext();
  }

  #sendNext(): void {
    const next = this.#left?.next();
    if (next === undefined || next.done === true) return;
    this.#isUnderWay = true;
    this.#send(next.value);
  }
}
