// Follows a message's body to its end without copying it: RFC 9112 6 and 7. State is a few numbers, so a body may be cut at any byte.
// Chunked, by what comes next (a bare CR or LF, or anything else unexpected, refuses):
//
//   SIZE_FIRST -> SIZE -> [extensions] -> SIZE_LF -> DATA -> DATA_CR -> DATA_LF -> SIZE_FIRST ...
//                           size 0: SIZE_LF -> LINE -> NAME -> VALUE -> VALUE_LF -> LINE ... -> END_LF -> done
//   extensions: EXT_NAME_FIRST -> EXT_NAME -> [EXT_VALUE_FIRST -> EXT_VALUE, or EXT_QUOTED <-> EXT_ESCAPED -> EXT_END] -> ; or CR
import { DASH, FIELD_VALUE, HEX, LOWER, TOKEN, UNDERSCORE } from "./grammar.ts";
import type { BodyKind } from "./head.ts";
import {
  NEED_MORE,
  REFUSED_CHUNK_END,
  REFUSED_CHUNK_EXTENSION,
  REFUSED_CHUNK_SIZE,
  REFUSED_TRAILER,
} from "./refusal.ts";

/** Hexadecimal digits of one chunk's size, leading zeros too. */
const SIZE_DIGITS_MAX = 12;
/** Bytes of extensions of one chunk. */
const EXTENSION_BYTES_MAX = 256;
/** Bytes of extensions by which a message may exceed its content: a signature on each chunk passes, a body of nothing else does not. */
const EXTENSION_EXCESS_MAX = 16_384;
/** All trailer fields of a message, with their line ends. */
const TRAILER_BYTES_MAX = 8192;
/** Kept sections begin with so much room. */
const TRAILER_BYTES_FIRST = 256;
const NO_BYTES = new Uint8Array(0);

const DATA = 0; // bodies of a given length begin and stay here
const SIZE_FIRST = 1;
const SIZE = 2;
const SIZE_LF = 4;
const DATA_CR = 5;
const DATA_LF = 6;
const LINE = 7;
const NAME = 8;
const VALUE = 9;
const VALUE_LF = 10;
const END_LF = 11;
const EXT_NAME_FIRST = 12;
const EXT_NAME = 13;
const EXT_VALUE_FIRST = 14;
const EXT_VALUE = 15;
const EXT_QUOTED = 16;
const EXT_ESCAPED = 17;
const EXT_END = 18;

const CR = 13;
const LF = 10;
const QUOTE = 34;
const SEMICOLON = 59;
const EQUALS = 61;
const BACKSLASH = 92;
/** FNV-1a. */
const HASH_START = 0x811c9dc5 | 0;

/** Names that decide framing, routing, the hop, who asks or how content is read cannot come after the body they decide about (RFC 9110 6.5.1). By hash of the name, because
 *  a name may arrive in pieces, with `_` as good as `-`; an innocent name of the same 32 bits would be refused too. */
const NOT_IN_TRAILERS: ReadonlySet<number> = new Set(
  [
    "transfer-encoding",
    "content-length",
    "host",
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "authorization",
    "content-encoding",
    "content-type",
    "content-range",
    "proxy-authorization",
    "www-authenticate",
    "proxy-authenticate",
    "cookie",
    "set-cookie",
    "cache-control",
    "expect",
    "max-forwards",
    "range",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
  ].map((name) => {
    let hash = HASH_START;
    for (let i = 0; i < name.length; i++) hash = hashOf(hash, name.charCodeAt(i));
    return hash;
  }),
);

function hashOf(hash: number, byte: number): number {
  const letter = byte === UNDERSCORE ? DASH : (LOWER[byte] as number);
  return Math.imul(hash ^ letter, 0x01000193);
}

/** Of a whole name in lower case. */
export function mayBeTrailer(bytes: Uint8Array, start: number, end: number): boolean {
  let hash = HASH_START;
  for (let i = start; i < end; i++) hash = hashOf(hash, bytes[i] as number);
  return !NOT_IN_TRAILERS.has(hash);
}

/** Is shown the content of a body that is scanned, run by run and without its framing. */
export interface ContentWatcher {
  see(bytes: Uint8Array, start: number, end: number): void;
}

/** Of a head: how the body is delimited. */
export interface Framing {
  readonly bodyKind: BodyKind;
  readonly contentLength: number;
}

export class BodyReader {
  /** The message ended; what follows belongs to the next one. */
  isDone = true;
  /** Bytes of this body scanned so far, chunk framing included. */
  bytesSeen = 0;
  /** What the last nextContent() found. */
  contentStart = 0;
  contentEnd = 0;
  /** Of the body at hand; who begins one sets it, also to nobody. */
  watcher: ContentWatcher | undefined;
  /** Keep the trailer section's bytes, without line feeds: each field ends in CR, and one more CR ends it. */
  readonly #keepsTrailers: boolean;
  /** [0, trailerBytes) of it. */
  trailers: Uint8Array = NO_BYTES;
  trailerBytes = 0;
  #kind: BodyKind = "none";
  #state = DATA;
  /** DATA: bytes to come. SIZE: the size so far. */
  #left = 0;
  /** Bytes of the part at hand, against its bound. */
  #count = 0;
  #hash = 0;
  /** Bytes of extensions beyond those of content. */
  #excess = 0;

  constructor(keepsTrailers = false) {
    this.#keepsTrailers = keepsTrailers;
  }

  /** Begins the body of a head that was read. */
  begin(framing: Framing): void {
    this.bytesSeen = 0;
    this.#kind = framing.bodyKind;
    this.#state = framing.bodyKind === "chunked" ? SIZE_FIRST : DATA;
    this.#left = framing.bodyKind === "length" ? framing.contentLength : 0;
    this.#count = 0;
    this.#excess = 0;
    this.trailerBytes = 0;
    this.isDone =
      framing.bodyKind === "none" || (framing.bodyKind === "length" && this.#left === 0);
  }

  /** Takes bytes[start..end). Returns the offset where the message ends (isDone is set; the rest is the next message's), NEED_MORE when
   *  all belongs to it, or a refusal's code. */
  scan(bytes: Uint8Array, start: number, end: number): number {
    let p = start;
    while (!this.isDone && p < end) {
      p = this.nextContent(bytes, p, end);
      if (p < 0) return p;
      if (this.watcher !== undefined && this.contentStart < this.contentEnd)
        this.watcher.see(bytes, this.contentStart, this.contentEnd);
    }
    return this.isDone ? p : NEED_MORE;
  }

  /** As scan(), but stops behind each run of content: bytes[contentStart..contentEnd), without chunk framing, at most `contentMax` of it. For a
   *  next hop that reads no chunks. Returns where to go on, or a refusal's code; the run may be empty. */
  nextContent(bytes: Uint8Array, start: number, end: number, contentMax = end): number {
    this.contentStart = start;
    this.contentEnd = start;
    let p = start;
    let refused = 0;
    while (refused === 0 && !this.isDone && p < end) {
      if (this.#state === DATA) {
        p = this.#takeData(p, Math.min(end, p + contentMax));
        break;
      }
      refused = this.#take(bytes[p] as number);
      p++;
    }
    this.bytesSeen += p - start;
    return refused < 0 ? refused : p;
  }

  /** The peer ended its direction. True when that is a proper end: the body ran until close or was done. False: cut short. */
  end(): boolean {
    if (this.#kind === "until_close") this.isDone = true;
    return this.isDone;
  }

  #takeData(start: number, end: number): number {
    this.contentStart = start;
    this.contentEnd = end;
    if (this.#kind === "until_close") return end;
    const taken = Math.min(end - start, this.#left);
    this.#left -= taken;
    this.contentEnd = start + taken;
    if (this.#left === 0) {
      if (this.#kind === "chunked") this.#state = DATA_CR;
      else this.isDone = true;
    }
    return this.contentEnd;
  }

  #take(byte: number): number {
    switch (this.#state) {
      case SIZE_FIRST:
      case SIZE:
        return this.#takeSize(byte);
      case SIZE_LF:
        return this.#takeSizeEnd(byte);
      case DATA_CR:
        return this.#expect(byte, CR, DATA_LF, REFUSED_CHUNK_END);
      case DATA_LF:
        return this.#expect(byte, LF, SIZE_FIRST, REFUSED_CHUNK_END);
      case VALUE_LF:
        return this.#expect(byte, LF, LINE, REFUSED_TRAILER);
      case END_LF:
        if (byte !== LF) return REFUSED_TRAILER;
        this.isDone = true;
        return 0;
      case LINE:
      case NAME:
      case VALUE:
        return this.#takeTrailer(byte);
      default:
        return this.#takeExtension(byte);
    }
  }

  #expect(byte: number, wanted: number, next: number, refusal: number): number {
    this.#state = next;
    return byte === wanted ? 0 : refusal;
  }

  /** No blank may follow the size: RFC 9112 7.1.1 asks to forgive it, but what forgives differently reads another message. */
  #takeSize(byte: number): number {
    const digit = HEX[byte] as number;
    if (this.#state === SIZE_FIRST) {
      this.#left = 0;
      this.#count = 0;
      if (digit === 255) return REFUSED_CHUNK_SIZE;
      this.#state = SIZE;
    }
    if (digit !== 255) {
      this.#left = this.#left * 16 + digit;
      return ++this.#count > SIZE_DIGITS_MAX ? REFUSED_CHUNK_SIZE : 0;
    }
    this.#count = 0;
    if (byte === CR) this.#state = SIZE_LF;
    else if (byte === SEMICOLON) this.#state = EXT_NAME_FIRST;
    else return REFUSED_CHUNK_SIZE;
    return 0;
  }

  /** token [ "=" ( token / quoted-string ) ], by the letter: what it means is ignored (RFC 9112 7.1.1), where it ends must be
   *  certain. No blanks, as behind the size. */
  #takeExtension(byte: number): number {
    this.#count++;
    this.#excess++;
    if (this.#count > EXTENSION_BYTES_MAX || this.#excess > EXTENSION_EXCESS_MAX) {
      return REFUSED_CHUNK_EXTENSION;
    }
    switch (this.#state) {
      case EXT_NAME_FIRST:
        return this.#takeFirst(byte, EXT_NAME);
      case EXT_NAME:
        if (byte === EQUALS) this.#state = EXT_VALUE_FIRST;
        return byte === EQUALS || TOKEN[byte] === 1 ? 0 : this.#endExtension(byte);
      case EXT_VALUE_FIRST:
        if (byte === QUOTE) this.#state = EXT_QUOTED;
        return byte === QUOTE ? 0 : this.#takeFirst(byte, EXT_VALUE);
      case EXT_VALUE:
        return TOKEN[byte] === 1 ? 0 : this.#endExtension(byte);
      case EXT_QUOTED:
      case EXT_ESCAPED:
        return this.#takeQuoted(byte);
      default:
        return this.#endExtension(byte);
    }
  }

  #takeFirst(byte: number, next: number): number {
    this.#state = next;
    return TOKEN[byte] === 1 ? 0 : REFUSED_CHUNK_EXTENSION;
  }

  #takeQuoted(byte: number): number {
    if (this.#state === EXT_ESCAPED) this.#state = EXT_QUOTED;
    else if (byte === QUOTE) this.#state = EXT_END;
    else if (byte === BACKSLASH) this.#state = EXT_ESCAPED;
    return FIELD_VALUE[byte] === 1 ? 0 : REFUSED_CHUNK_EXTENSION;
  }

  #endExtension(byte: number): number {
    if (byte === CR) this.#state = SIZE_LF;
    else if (byte === SEMICOLON) this.#state = EXT_NAME_FIRST;
    else return REFUSED_CHUNK_EXTENSION;
    return 0;
  }

  #takeSizeEnd(byte: number): number {
    this.#state = this.#left === 0 ? LINE : DATA;
    this.#count = 0;
    this.#excess = Math.max(0, this.#excess - this.#left);
    return byte === LF ? 0 : REFUSED_CHUNK_SIZE;
  }

  #takeTrailer(byte: number): number {
    if (++this.#count > TRAILER_BYTES_MAX) return REFUSED_TRAILER;
    if (this.#keepsTrailers) this.#keep(byte);
    switch (this.#state) {
      case LINE:
        this.#hash = HASH_START;
        this.#state = byte === CR ? END_LF : NAME;
        return byte === CR ? 0 : this.#takeName(byte, true);
      case NAME:
        return this.#takeName(byte, false);
      default:
        if (byte === CR) this.#state = VALUE_LF;
        return byte === CR || FIELD_VALUE[byte] === 1 ? 0 : REFUSED_TRAILER;
    }
  }

  #keep(byte: number): void {
    if (this.trailers.length === 0) this.trailers = new Uint8Array(TRAILER_BYTES_FIRST);
    if (this.trailerBytes === this.trailers.length) {
      const larger = new Uint8Array(2 * this.trailers.length);
      larger.set(this.trailers);
      this.trailers = larger;
    }
    this.trailers[this.trailerBytes++] = byte;
  }

  #takeName(byte: number, isFirst: boolean): number {
    if (TOKEN[byte] === 1) {
      this.#hash = hashOf(this.#hash, byte);
      return 0;
    }
    this.#state = VALUE;
    return byte !== 58 || isFirst || NOT_IN_TRAILERS.has(this.#hash) ? REFUSED_TRAILER : 0;
  }
}
