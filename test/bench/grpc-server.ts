// The benchmark's gRPC server, run beside the proxies: `bun grpc-server.ts PORT...` answers each unary call, whatever its path, with one message of 100 bytes and
// status OK. It must cost less than the proxies before it, so it reads frames and not fields: what it says never depends on them, and its
// answer is made once. RFC 9113; "gRPC over HTTP/2" for the form of request and answer.
import type { Socket } from "bun";

const PREFACE_BYTES = 24;
const FRAME_HEADER_BYTES = 9;
const FRAME_BYTES_MAX = 16_384;
const KIND = { data: 0, headers: 1, settings: 4, ping: 6, window: 8 } as const;
const END_STREAM = 1;
const ACK = 1;
const END_HEADERS = 4;
const WINDOW_AT_FIRST = 65_535;
const MESSAGE_BYTES = 100;
/** What may wait for a peer that reads nothing. */
const UNSENT_BYTES_MAX = 1 << 20;

function frame(kind: number, flags: number, stream: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(FRAME_HEADER_BYTES + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, (payload.length << 8) | kind);
  view.setUint8(4, flags);
  view.setUint32(5, stream);
  bytes.set(payload, FRAME_HEADER_BYTES);
  return bytes;
}

const text = (value: string): number[] => [value.length, ...new TextEncoder().encode(value)];
const word = (value: number): Uint8Array =>
  Uint8Array.of(value >>> 24, value >>> 16, value >>> 8, value);

// RFC 7541: `:status: 200` is index 8, `content-type` is 31; literals that are not indexed.
const HEAD = Uint8Array.of(0x88, 0x0f, 31 - 15, ...text("application/grpc"));
const MESSAGE = Uint8Array.of(
  0, // not compressed
  ...word(MESSAGE_BYTES),
  ...new Uint8Array(MESSAGE_BYTES).fill(120),
);
const TRAILERS = Uint8Array.of(0, ...text("grpc-status"), ...text("0"));
const FRAMES = [
  frame(KIND.headers, END_HEADERS, 0, HEAD),
  frame(KIND.data, 0, 0, MESSAGE),
  frame(KIND.headers, END_HEADERS | END_STREAM, 0, TRAILERS),
];
const ANSWER = new Uint8Array(Buffer.concat(FRAMES));
/** Where the answer names its stream. */
const STREAM_AT = FRAMES.map(
  (_, i) => FRAMES.slice(0, i).reduce((sum, { length }) => sum + length, 0) + 5,
);

const NOTHING = new Uint8Array(0);

class Connection {
  readonly #socket: Socket<Connection>;
  #kept: Uint8Array = NOTHING;
  #unsent: Uint8Array = NOTHING;
  /** Gathered while what came is read, so that one write answers it all. */
  #out: Uint8Array[] = [];
  #hasPreface = false;
  #window = WINDOW_AT_FIRST;
  /** Received, and not yet given back. */
  #received = 0;
  readonly #waiting: number[] = [];

  constructor(socket: Socket<Connection>) {
    this.#socket = socket;
    this.#out.push(frame(KIND.settings, 0, 0, NOTHING));
  }

  read(piece: Uint8Array): void {
    const bytes = this.#kept.length === 0 ? piece : Buffer.concat([this.#kept, piece]);
    let at = 0;
    if (!this.#hasPreface && bytes.length >= PREFACE_BYTES) {
      this.#hasPreface = true;
      at = PREFACE_BYTES;
    }
    while (this.#hasPreface && bytes.length - at >= FRAME_HEADER_BYTES) {
      const length = ((bytes[at] ?? 0) << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0);
      if (length > FRAME_BYTES_MAX) throw new Error(`a frame of ${length} bytes`);
      const next = at + FRAME_HEADER_BYTES + length;
      if (next > bytes.length) break;
      this.#take(bytes, at, next);
      at = next;
    }
    this.#kept = new Uint8Array(bytes.subarray(at)); // its place is the runtime's
    this.#giveBack();
    this.flush();
  }

  #take(bytes: Uint8Array, start: number, end: number): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset + start, end - start);
    const kind = view.getUint8(3);
    const flags = view.getUint8(4);
    const stream = view.getUint32(5);
    if (kind === KIND.headers) {
      // A call has a message, so its head is not its end.
      if ((flags & END_STREAM) !== 0 || (flags & END_HEADERS) === 0)
        throw new Error("a call without a message, or a head in pieces");
    } else if (kind === KIND.data) {
      this.#received += end - start - FRAME_HEADER_BYTES;
      if ((flags & END_STREAM) !== 0) this.#answer(stream);
    } else if (kind === KIND.window) {
      if (stream === 0) this.#widen(view.getUint32(FRAME_HEADER_BYTES));
    } else if (flags !== ACK && (kind === KIND.settings || kind === KIND.ping)) {
      const echoed = kind === KIND.ping ? bytes.slice(start + FRAME_HEADER_BYTES, end) : NOTHING;
      this.#out.push(frame(kind, ACK, 0, echoed));
    }
  }

  #widen(more: number): void {
    this.#window += more;
    while (this.#waiting.length > 0 && this.#window >= MESSAGE.length)
      this.#answer(this.#waiting.shift() ?? 0);
  }

  #answer(stream: number): void {
    if (this.#window < MESSAGE.length) {
      this.#waiting.push(stream);
      return;
    }
    this.#window -= MESSAGE.length;
    const answer = ANSWER.slice();
    const view = new DataView(answer.buffer, answer.byteOffset);
    for (const at of STREAM_AT) view.setUint32(at, stream);
    this.#out.push(answer);
  }

  /** Streams are short, so only the connection's window needs more. */
  #giveBack(): void {
    if (this.#received < WINDOW_AT_FIRST / 2) return;
    this.#out.push(frame(KIND.window, 0, 0, word(this.#received)));
    this.#received = 0;
  }

  flush(): void {
    const bytes = Buffer.concat([this.#unsent, ...this.#out]);
    this.#out = [];
    const sent = Math.max(0, this.#socket.write(bytes));
    this.#unsent = bytes.slice(sent);
    if (this.#unsent.length > UNSENT_BYTES_MAX) throw new Error("the peer reads nothing");
  }
}

const connections = new WeakMap<object, Connection>();
const guard = (socket: Socket<Connection>, task: () => void): void => {
  try {
    task();
  } catch (error) {
    console.error(`grpc-server: ${error}`);
    socket.terminate();
  }
};

for (const port of process.argv.slice(2)) {
  Bun.listen<Connection>({
    hostname: "0.0.0.0",
    port: Number(port),
    socket: {
      open: (socket) => {
        connections.set(socket, new Connection(socket));
      },
      data: (socket, bytes) => guard(socket, () => connections.get(socket)?.read(bytes)),
      drain: (socket) => guard(socket, () => connections.get(socket)?.flush()),
    },
  });
}
console.log("serving");
