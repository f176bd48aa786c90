// Takes the chunk framing off a body for a client that speaks HTTP/1.0 (RFC 9112 6.1: it must not be sent chunked coding). Relies on
// BodyReader having followed the same bytes and found them well formed.

const SIZE = 0;
const EXTENSION = 1;
const DATA = 2;
const AFTER_DATA = 3;
/** Trailers have no place in HTTP/1.0. */
const TRAILERS = 4;
const LF = 10;
const CR = 13;
const SEMICOLON = 59;

export class Dechunker {
  #state = SIZE;
  #size = 0;

  /** Shows each run of data in bytes[start..end) to `emit`. */
  scan(
    bytes: Uint8Array,
    start: number,
    end: number,
    emit: (bytes: Uint8Array, start: number, end: number) => void,
  ): void {
    let at = start;
    while (at < end && this.#state !== TRAILERS) {
      if (this.#state === DATA) {
        const stop = Math.min(end, at + this.#size);
        emit(bytes, at, stop);
        this.#size -= stop - at;
        at = stop;
        if (this.#size === 0) this.#state = AFTER_DATA;
      } else this.#takeFraming(bytes[at++] as number);
    }
  }

  #takeFraming(byte: number): void {
    if (this.#state === AFTER_DATA) {
      if (byte === LF) this.#state = SIZE;
    } else if (byte === LF) this.#state = this.#size === 0 ? TRAILERS : DATA;
    else if (byte === SEMICOLON) this.#state = EXTENSION;
    else if (this.#state === SIZE && byte !== CR) this.#size = this.#size * 16 + digitOf(byte);
  }
}

const digitOf = (byte: number): number => (byte <= 57 ? byte - 48 : (byte | 32) - 87);
