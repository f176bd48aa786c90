// What was read of an HTTP/1.1 head: offsets into the bytes it was read from, in a record that is reused, so that
// a message costs no allocation. Valid as long as those bytes are. RFC 9110, RFC 9112.
// Read by read-request.ts and read-response.ts, made fit for the next hop by normalize.ts and edit.ts.
import { readLatin1 } from "../../base/bytes.ts";

export interface HeadLimits {
  /** Of the whole head with its last CRLF. */
  readonly headBytesMax: number;
  /** At most what the record was made for. */
  readonly headersMax: number;
  readonly isConnectAllowed: boolean;
}

export const HEAD_LIMITS: HeadLimits = {
  headBytesMax: 60 * 1024,
  headersMax: 100,
  isConnectAllowed: false,
};

/** How the body is delimited, RFC 9112 6.3. */
export type BodyKind = "none" | "length" | "chunked" | "until_close";

/** RFC 9112 3.2. */
export type TargetForm = "origin" | "absolute" | "authority" | "asterisk";

const NO_BYTES = new Uint8Array(0);

/** What requests and responses share. Fields are numbered in order of arrival; field i lies at fields[4 * i .. 4 * i + 3] as
 *  nameStart, nameEnd, valueStart, valueEnd (surrounding whitespace is outside). */
export class Head {
  bytes: Uint8Array = NO_BYTES;
  /** First byte of the start line: an empty line before it is skipped (RFC 9112 2.2). */
  start = 0;
  /** Past the empty line. */
  headEnd = 0;
  minorVersion = 1;
  fieldCount = 0;
  readonly fields: Int32Array;
  /** 1 for fields that do not go to the next hop: hop-by-hop ones and those the caller dropped. */
  readonly dropped: Uint8Array;
  droppedCount = 0;
  /** Length of the body as the field says; -1: no such field. */
  contentLength = -1;
  isChunked = false;
  bodyKind: BodyKind = "none";
  /** May the connection carry another message after this one, RFC 9112 9.3. */
  keepAlive = true;
  /** A request: asks for one of the protocols that Upgrade lists. A response: is a 101. */
  isUpgrade = false;
  /** Upgrade lists a version of HTTP, first or not: behind such a tunnel requests would pass that no policy has seen. */
  namesHttp = false;
  /** TE with `trailers`: forwarded as it is only when it says nothing else. */
  acceptsTrailers = false;
  expectsContinue = false;
  /** Index of the Host field; -1: none. */
  hostField = -1;
  contentLengthField = -1;
  upgradeField = -1;
  /** Connection said `close`. */
  isLast = false;
  connectionCount = 0;
  /** Names that are dropped whenever read, by length; see read-fields.ts. */
  readonly alsoDrop: readonly (readonly Uint8Array[])[];

  /** `alsoDrop`: lower-case names a peer must not pass through us, e.g. x-forwarded-client-cert. */
  constructor(headersMax: number, alsoDrop: readonly string[]) {
    this.fields = new Int32Array(headersMax * 4);
    this.dropped = new Uint8Array(headersMax);
    this.alsoDrop = byLength(alsoDrop);
  }

  /** Makes the record ready for the next message. */
  forget(bytes: Uint8Array, start: number): void {
    this.bytes = bytes;
    this.start = start;
    this.fieldCount = 0;
    this.droppedCount = 0;
    this.contentLength = -1;
    this.isChunked = false;
    this.bodyKind = "none";
    this.isUpgrade = false;
    this.namesHttp = false;
    this.acceptsTrailers = false;
    this.expectsContinue = false;
    this.hostField = -1;
    this.contentLengthField = -1;
    this.upgradeField = -1;
    this.isLast = false;
    this.connectionCount = 0;
  }

  /** Index of the first field of that name from `from` on that goes to the next hop; -1: none. What a policy matches is therefore what
   *  the app will see. */
  find(lowerName: string, from = 0): number {
    const { fields, dropped, fieldCount } = this;
    const length = lowerName.length;
    for (let i = from; i < fieldCount; i++) {
      const isLong = (fields[i * 4 + 1] as number) - (fields[i * 4] as number) === length;
      if (isLong && dropped[i] === 0 && this.isNamed(i, lowerName)) return i;
    }
    return -1;
  }

  isNamed(index: number, lowerName: string): boolean {
    const start = this.fields[index * 4] as number;
    const length = lowerName.length;
    if ((this.fields[index * 4 + 1] as number) - start !== length) return false;
    for (let i = 0; i < length; i++) {
      if (lowerOf(this.bytes[start + i] as number) !== lowerName.charCodeAt(i)) return false;
    }
    return true;
  }

  name(index: number): string {
    return readLatin1(
      this.bytes,
      this.fields[index * 4] as number,
      this.fields[index * 4 + 1] as number,
    );
  }

  value(index: number): string {
    return readLatin1(
      this.bytes,
      this.fields[index * 4 + 2] as number,
      this.fields[index * 4 + 3] as number,
    );
  }

  /** All values of a name joined with ", " (RFC 9110 5.3); undefined: absent. */
  joined(lowerName: string): string | undefined {
    let at = this.find(lowerName);
    if (at < 0) return undefined;
    let text = this.value(at);
    for (at = this.find(lowerName, at + 1); at >= 0; at = this.find(lowerName, at + 1)) {
      text += `, ${this.value(at)}`;
    }
    return text;
  }

  /** Keeps every field of that name from the next hop, and from find(). Says how many there were. */
  drop(lowerName: string): number {
    let count = 0;
    for (let at = this.find(lowerName); at >= 0; at = this.find(lowerName, at + 1)) {
      this.dropField(at);
      count++;
    }
    return count;
  }

  dropField(index: number): void {
    if (this.dropped[index] === 1) return;
    this.dropped[index] = 1;
    this.droppedCount++;
  }

  undropField(index: number): void {
    if (this.dropped[index] === 0) return;
    this.dropped[index] = 0;
    this.droppedCount--;
  }
}

export class RequestHead extends Head {
  methodStart = 0;
  methodEnd = 0;
  targetStart = 0;
  targetEnd = 0;
  targetForm: TargetForm = "origin";
  /** Of authority-form and asterisk-form: the whole target. Without query. */
  pathStart = 0;
  pathEnd = 0;
  /** Bits of grammar.ts for what the path (of absolute-form: the target up to the query) holds. */
  pathMarks = 0;
  /** Without the question mark; both equal pathEnd when there is none. */
  queryStart = 0;
  queryEnd = 0;
  /** The authority: of Host, with its port. */
  hostStart = 0;
  hostEnd = 0;
  /** A response to it has no body, whatever its fields say. */
  isHead = false;
  isConnect = false;

  constructor(headersMax = HEAD_LIMITS.headersMax, alsoDrop: readonly string[] = []) {
    super(headersMax, alsoDrop);
  }

  get method(): string {
    const { bytes, methodStart, methodEnd } = this;
    // The two that nearly all requests have are not read anew.
    if (isWord(bytes, methodStart, methodEnd, GET)) return "GET";
    if (isWord(bytes, methodStart, methodEnd, POST)) return "POST";
    return readLatin1(bytes, methodStart, methodEnd);
  }

  get authority(): string {
    return readLatin1(this.bytes, this.hostStart, this.hostEnd);
  }

  get path(): string {
    return readLatin1(this.bytes, this.pathStart, this.pathEnd);
  }

  get query(): string {
    return readLatin1(this.bytes, this.queryStart, this.queryEnd);
  }

  /** Path and query as they are forwarded, once normalizeTarget() ran. */
  get target(): string {
    return readLatin1(this.bytes, this.targetStart, this.targetEnd);
  }
}

export class ResponseHead extends Head {
  status = 0;
  reasonStart = 0;
  reasonEnd = 0;

  constructor(headersMax = HEAD_LIMITS.headersMax, alsoDrop: readonly string[] = []) {
    super(headersMax, alsoDrop);
  }

  /** 100, 102, 103: passes, and the final response follows on the same exchange. 101 is not: it is the last. */
  get isInterim(): boolean {
    return this.status < 200 && this.status !== 101;
  }
}

const GET = Uint8Array.of(71, 69, 84);
const POST = Uint8Array.of(80, 79, 83, 84);

function isWord(bytes: Uint8Array, start: number, end: number, word: Uint8Array): boolean {
  if (end - start !== word.length) return false;
  for (let i = 0; i < word.length; i++) if (bytes[start + i] !== word[i]) return false;
  return true;
}

const lowerOf = (byte: number): number => (byte >= 65 && byte <= 90 ? byte | 32 : byte);

function byLength(names: readonly string[]): Uint8Array[][] {
  const table: Uint8Array[][] = [];
  for (const name of names) {
    while (table.length <= name.length) table.push([]);
    table[name.length]?.push(Uint8Array.from(name, (c) => c.charCodeAt(0)));
  }
  return table;
}
