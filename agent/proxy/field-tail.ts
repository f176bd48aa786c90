// Fields that are appended to a head, built in one place per thread and moved once. They lie behind what heads are built in, in the same
// array as what was received: moving bytes within one array costs a tenth of moving them between two.
import type { Scratch } from "../base/net.ts";

/** More than any tail we make: identity, ids and the header operations of one route. */
export const TAIL_BYTES_MAX = 8192;
/** Below this a loop is cheaper than a call. */
const COPY_BY_HAND_MAX = 64;

export class FieldTail {
  readonly bytes: Uint8Array;
  readonly start: number;
  end: number;
  readonly #limit: number;

  /** Takes the end of the scratch. */
  constructor(scratch: Scratch) {
    this.bytes = scratch.bytes;
    this.start = scratch.end - TAIL_BYTES_MAX;
    this.end = this.start;
    this.#limit = scratch.end;
  }

  get isEmpty(): boolean {
    return this.end === this.start;
  }

  reset(): void {
    this.end = this.start;
  }

  /** Whole fields with their CRLF. What does not fit is a resource too large to have been accepted. */
  append(fields: Uint8Array): void {
    const length = fields.length;
    if (this.end + length > this.#limit) return;
    const { bytes } = this;
    if (length > COPY_BY_HAND_MAX) bytes.set(fields, this.end);
    else for (let i = 0; i < length; i++) bytes[this.end + i] = fields[i] as number;
    this.end += length;
  }
}
