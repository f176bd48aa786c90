// What a TLS client says first (RFC 8446 4.1.2, RFC 6066 3): which server it wants. Read without a secret and without being changed, so that
// the connection can be sent where it wants to go. Sans-io: the same bytes, or more of them, are shown until there is an answer.
//
//   record: 22 | version (2) | length (2)     several may hold one message
//   message: 1 | length (3) | version (2) | random (32) | session id | cipher suites | compressions | extensions

export type ClientHello =
  /** `bytes`: before so many are there, from the start on, no other answer is possible. */
  | { readonly is: "need_more"; readonly bytes: number }
  /** No ClientHello, or one that breaks the grammar: nobody can say where it wants to go. */
  | { readonly is: "malformed" }
  /** `serverName` in lower case, without a final dot; undefined: it named none. */
  | { readonly is: "hello"; readonly serverName: string | undefined };

/** Of the message; Envoy's tls_inspector has the same. A post-quantum key share makes it 1.8 KB. */
export const HELLO_BYTES_MAX = 16_384;
/** Clients write one or two; each more would cost another look at all of it. So at most 16 KiB and 164 bytes are ever waited for. */
export const HELLO_RECORDS_MAX = 32;
const RECORD_HEADER_BYTES = 5;
const RECORD_BYTES_MAX = 16_384;
const MESSAGE_HEADER_BYTES = 4;
const SESSION_ID_BYTES_MAX = 32;
/** RFC 1035 2.3.4. */
const NAME_BYTES_MAX = 255;
const SERVER_NAME = 0;
const HOST_NAME = 0;
/** DNS labels as they are written, underscores included; an address is no name (RFC 6066 3). */
const NAME = /^[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*$/;
const ADDRESS = /^[0-9.]+$/;

const MALFORMED: ClientHello = { is: "malformed" };

/** Looks at bytes[start..end), the beginning of what a client said. A prefix gives "need_more" or what all of it gives. */
export function readClientHello(bytes: Uint8Array, start: number, end: number): ClientHello {
  const message = gather(bytes, start, end);
  if (message === "malformed") return MALFORMED;
  const { body, isWhole, wantedBytes } = message;
  const needMore: ClientHello = { is: "need_more", bytes: wantedBytes };
  if (body.length > 0 && body[0] !== 1) return MALFORMED;
  if (body.length < MESSAGE_HEADER_BYTES) return needMore;
  const length = new Fields(body, 1, MESSAGE_HEADER_BYTES).number(3);
  if (length === undefined || length > HELLO_BYTES_MAX) return MALFORMED;
  const until = MESSAGE_HEADER_BYTES + length;
  if (body.length < until) return needMore;
  // A record that ends with more than the message: nothing may follow a ClientHello in plaintext.
  if (body.length > until || !isWhole) return MALFORMED;
  return readMessage(new Fields(body, MESSAGE_HEADER_BYTES, until));
}

interface Gathered {
  readonly body: Uint8Array;
  /** The last record is all there. */
  readonly isWhole: boolean;
  /** Where the record under way ends, or the header of the next; before, where the message's own header does. */
  readonly wantedBytes: number;
}

/** What the records hold that are there, one after the other. */
function gather(bytes: Uint8Array, start: number, end: number): Gathered | "malformed" {
  const body = new Uint8Array(Math.min(end - start, MESSAGE_HEADER_BYTES + HELLO_BYTES_MAX + 1));
  let filled = 0;
  let at = start;
  let isWhole = true;
  let wanted = RECORD_HEADER_BYTES;
  for (let records = 0; at < end && filled < body.length && isWhole; records++) {
    const length = records === HELLO_RECORDS_MAX ? undefined : recordBytes(bytes, at, end);
    if (length === undefined) return "malformed";
    const from = at + RECORD_HEADER_BYTES;
    wanted = from - start;
    if (length === 0) break;
    const until = Math.min(end, from + length);
    const part = bytes.subarray(from, Math.min(until, from + body.length - filled));
    body.set(part, filled);
    isWhole = until === from + length;
    // What is too long, or no ClientHello, shows before its record ends.
    const headerLeft = MESSAGE_HEADER_BYTES - filled;
    filled += part.length;
    const soon = filled < MESSAGE_HEADER_BYTES ? Math.min(length, headerLeft) : length;
    wanted = isWhole ? until - start + 1 : from - start + soon;
    at = until;
    if (isComplete(body, filled)) break; // what follows is not the ClientHello's
  }
  return { body: body.subarray(0, filled), isWhole, wantedBytes: wanted };
}

/** What the header of a handshake record announces; 0: it is not all there. Undefined: it is none. */
function recordBytes(bytes: Uint8Array, at: number, end: number): number | undefined {
  if (!looksLikeRecord(bytes, at, end)) return undefined;
  if (end - at < RECORD_HEADER_BYTES) return 0;
  const length = ((bytes[at + 3] as number) << 8) | (bytes[at + 4] as number);
  return length === 0 || length > RECORD_BYTES_MAX ? undefined : length;
}

function isComplete(body: Uint8Array, filled: number): boolean {
  if (filled < MESSAGE_HEADER_BYTES) return false;
  const length = new Fields(body, 1, MESSAGE_HEADER_BYTES).number(3) ?? 0;
  return filled >= MESSAGE_HEADER_BYTES + length;
}

/** As far as it is there: a handshake record of SSL 3.0's successors. */
function looksLikeRecord(bytes: Uint8Array, at: number, end: number): boolean {
  if (bytes[at] !== 22) return false;
  if (at + 1 < end && bytes[at + 1] !== 3) return false;
  return at + 2 >= end || (bytes[at + 2] as number) <= 4;
}

function readMessage(fields: Fields): ClientHello {
  const version = fields.number(2);
  if (version === undefined || version >> 8 !== 3) return MALFORMED;
  if (!fields.skip(32)) return MALFORMED;
  const session = fields.vector(1);
  const suites = fields.vector(2);
  const compressions = fields.vector(1);
  if (session === undefined || session.length > SESSION_ID_BYTES_MAX) return MALFORMED;
  if (suites === undefined || suites.length < 2 || suites.length % 2 > 0) return MALFORMED;
  if (compressions === undefined || compressions.length < 1) return MALFORMED;
  if (fields.length === 0) return { is: "hello", serverName: undefined };
  const extensions = fields.vector(2);
  if (extensions === undefined || fields.length > 0) return MALFORMED;
  return readExtensions(extensions);
}

function readExtensions(extensions: Fields): ClientHello {
  const seen = new Set<number>();
  let serverName: string | undefined;
  while (extensions.length > 0) {
    const kind = extensions.number(2);
    const content = extensions.vector(2);
    if (kind === undefined || content === undefined || seen.has(kind)) return MALFORMED;
    seen.add(kind);
    if (kind !== SERVER_NAME) continue;
    serverName = readServerName(content);
    if (serverName === undefined) return MALFORMED;
  }
  return { is: "hello", serverName };
}

/** Exactly one host name (RFC 6066 3: one of a kind, and there is no other kind). */
function readServerName(content: Fields): string | undefined {
  const list = content.vector(2);
  if (list === undefined || content.length > 0) return undefined;
  const kind = list.number(1);
  const name = list.vector(2);
  if (kind !== HOST_NAME || name === undefined || list.length > 0) return undefined;
  if (name.length === 0 || name.length > NAME_BYTES_MAX) return undefined;
  const text = name.text().toLowerCase();
  return NAME.test(text) && !ADDRESS.test(text) ? text : undefined;
}

/** Bytes read from front to back; undefined: there are not so many. */
class Fields {
  readonly #bytes: Uint8Array;
  #at: number;
  readonly #end: number;

  constructor(bytes: Uint8Array, at: number, end: number) {
    this.#bytes = bytes;
    this.#at = at;
    this.#end = end;
  }

  get length(): number {
    return this.#end - this.#at;
  }

  number(size: 1 | 2 | 3): number | undefined {
    if (this.length < size) return undefined;
    let value = 0;
    for (let i = 0; i < size; i++) value = (value << 8) | (this.#bytes[this.#at++] as number);
    return value;
  }

  skip(size: number): boolean {
    if (this.length < size) return false;
    this.#at += size;
    return true;
  }

  /** What a length of `size` bytes announces. */
  vector(size: 1 | 2): Fields | undefined {
    const length = this.number(size);
    if (length === undefined || length > this.length) return undefined;
    const from = this.#at;
    this.#at += length;
    return new Fields(this.#bytes, from, this.#at);
  }

  text(): string {
    let text = "";
    for (let i = this.#at; i < this.#end; i++)
      text += String.fromCharCode(this.#bytes[i] as number);
    return text;
  }
}
