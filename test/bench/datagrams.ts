// The two ends of the benchmark's datagrams, which must cost less than the proxies between them: many datagrams a system call
// (recvmmsg(2), sendmmsg(2)).
//   bun datagrams.ts echo PORT...                 sends back what comes
//   bun datagrams.ts ask ADDRESS PORT SECONDS     FLOWS sockets, each with WINDOW datagrams of BYTES on their way; says "answered N lost N"
import { dlopen, FFIType, ptr } from "bun:ffi";

const FLOWS = 16;
const WINDOW = 16;
const BYTES = 100;
/** Read at once by the echo; of at most so many bytes each. */
const BATCH = 64;
const BATCH_BYTES = 2_048;
/** A flow that was answered nothing for so long has lost what it sent. */
const LOST_MS = 1_000;

const { i32, u32, u64 } = FFIType;
const pointer = FFIType.ptr;
const libc = dlopen("libc.so.6", {
  socket: { args: [i32, i32, i32], returns: i32 },
  bind: { args: [i32, pointer, u32], returns: i32 },
  connect: { args: [i32, pointer, u32], returns: i32 },
  setsockopt: { args: [i32, i32, i32, pointer, u32], returns: i32 },
  poll: { args: [pointer, u64, i32], returns: i32 },
  recvmmsg: { args: [i32, pointer, u32, i32, u64], returns: i32 },
  sendmmsg: { args: [i32, pointer, u32, i32], returns: i32 },
  send: { args: [i32, pointer, u64, i32], returns: i32 },
}).symbols;

const AF_INET = 2;
const SOCK_DGRAM = 2;
const SOL_SOCKET = 1;
const SO_RCVBUF = 8;
const RECEIVE_BYTES = 1 << 20;
const MSG_DONTWAIT = 0x40;
const MSG_WAITFORONE = 0x10000;
const POLLIN = 1;
const SOL_UDP = 17;
const UDP_SEGMENT = 103;
/** struct mmsghdr (recvmmsg(2)), struct iovec, struct sockaddr_in. */
const HEADER_BYTES = 64;
const LENGTH_AT = 56;
const VECTOR_BYTES = 16;
const NAME_BYTES = 16;

class Batch {
  readonly #bytes: Uint8Array;
  readonly #headers: Uint8Array;
  readonly #names: Uint8Array;
  readonly #vectors: DataView;
  readonly #view: DataView;

  readonly count: number;
  readonly bytesMax: number;

  constructor(count: number, bytesMax: number, hasNames: boolean) {
    this.count = count;
    this.bytesMax = bytesMax;
    this.#bytes = new Uint8Array(count * bytesMax).fill(120);
    this.#headers = new Uint8Array(count * HEADER_BYTES);
    this.#names = new Uint8Array(count * NAME_BYTES);
    const vectors = new Uint8Array(count * VECTOR_BYTES);
    this.#view = new DataView(this.#headers.buffer);
    this.#vectors = new DataView(vectors.buffer);
    for (let i = 0; i < count; i++) {
      const header = i * HEADER_BYTES;
      if (hasNames) this.#view.setBigUint64(header, BigInt(ptr(this.#names, i * NAME_BYTES)), true);
      if (hasNames) this.#view.setUint32(header + 8, NAME_BYTES, true);
      this.#view.setBigUint64(header + 16, BigInt(ptr(vectors, i * VECTOR_BYTES)), true);
      this.#view.setBigUint64(header + 24, 1n, true);
      this.#vectors.setBigUint64(i * VECTOR_BYTES, BigInt(ptr(this.#bytes, i * bytesMax)), true);
      this.#vectors.setUint32(i * VECTOR_BYTES + 8, bytesMax, true);
    }
  }

  receive(fd: number, flags: number): number {
    return libc.recvmmsg(fd, ptr(this.#headers), this.count, flags, 0);
  }

  /** The first `count` of them, with their names. */
  send(fd: number, count: number): number {
    return libc.sendmmsg(fd, ptr(this.#headers), count, 0);
  }

  /** What was received is what is sent. */
  trim(count: number): void {
    for (let i = 0; i < count; i++) {
      const length = this.#view.getUint32(i * HEADER_BYTES + LENGTH_AT, true);
      this.#vectors.setUint32(i * VECTOR_BYTES + 8, length, true);
    }
  }

  /** Ready to receive again. */
  widen(count: number): void {
    for (let i = 0; i < count; i++) {
      this.#vectors.setUint32(i * VECTOR_BYTES + 8, this.bytesMax, true);
      this.#view.setUint32(i * HEADER_BYTES + 8, NAME_BYTES, true);
    }
  }
}

function sockaddr(address: string, port: number): Uint8Array {
  const bytes = new Uint8Array(NAME_BYTES);
  bytes.set([AF_INET, 0, port >> 8, port & 255, ...address.split(".").map(Number)]);
  return bytes;
}

function open(): number {
  const fd = libc.socket(AF_INET, SOCK_DGRAM, 0);
  const room = new Int32Array([RECEIVE_BYTES]);
  libc.setsockopt(fd, SOL_SOCKET, SO_RCVBUF, ptr(room), 4);
  return fd;
}

function opened(what: "bind" | "connect", address: string, port: number): number {
  const fd = open();
  const isDone = libc[what](fd, ptr(sockaddr(address, port)), NAME_BYTES) === 0;
  if (!isDone) throw new Error(`${what} ${address}:${port} failed`);
  return fd;
}

function pollOf(fds: readonly number[]): DataView {
  const view = new DataView(new ArrayBuffer(fds.length * 8));
  fds.forEach((fd, i) => {
    view.setInt32(i * 8, fd, true);
    view.setInt16(i * 8 + 4, POLLIN, true);
  });
  return view;
}
const isReady = (polled: DataView, i: number): boolean => polled.getInt16(i * 8 + 6, true) !== 0;

function echo(ports: readonly number[]): never {
  const fds = ports.map((port) => opened("bind", "0.0.0.0", port));
  const polled = pollOf(fds);
  const batch = new Batch(BATCH, BATCH_BYTES, true);
  console.log("serving");
  for (;;) {
    libc.poll(ptr(polled), fds.length, -1);
    fds.forEach((fd, i) => {
      if (!isReady(polled, i)) return;
      const count = batch.receive(fd, MSG_WAITFORONE | MSG_DONTWAIT);
      if (count <= 0) return; // an ICMP error of an earlier answer
      batch.trim(count);
      batch.send(fd, count);
      batch.widen(count);
    });
  }
}

function ask(address: string, port: number, seconds: number): void {
  const fds = Array.from({ length: FLOWS }, () => opened("connect", address, port));
  const polled = pollOf(fds);
  // Those of one call go through the kernel together (UDP_SEGMENT, udp(7)) as far as whoever receives them: sent one by one they would cost
  // this end as much as a proxy.
  const questions = new Uint8Array(WINDOW * BYTES).fill(120);
  const segment = new Int32Array([BYTES]);
  for (const fd of fds) libc.setsockopt(fd, SOL_UDP, UDP_SEGMENT, ptr(segment), 4);
  const answers = new Batch(WINDOW, BYTES, false);
  const flows = fds.map((fd) => ({ fd, pending: 0, answeredMs: performance.now() }));
  let [answered, lost] = [0, 0];
  const sendMore = (flow: (typeof flows)[number]): void => {
    const wanted = WINDOW - flow.pending;
    if (wanted === 0) return;
    const sent = libc.send(flow.fd, ptr(questions), wanted * BYTES, 0);
    if (sent > 0) flow.pending += sent / BYTES;
  };
  const endMs = performance.now() + seconds * 1_000;
  for (const flow of flows) sendMore(flow);
  for (let nowMs = 0; nowMs < endMs; nowMs = performance.now()) {
    libc.poll(ptr(polled), fds.length, LOST_MS);
    flows.forEach((flow, i) => {
      const count = isReady(polled, i) ? answers.receive(flow.fd, MSG_DONTWAIT) : 0;
      if (count > 0) {
        answered += count;
        flow.pending = Math.max(0, flow.pending - count);
        flow.answeredMs = nowMs;
      } else if (nowMs - flow.answeredMs > LOST_MS) {
        lost += flow.pending;
        flow.pending = 0;
        flow.answeredMs = nowMs;
      } else return;
      sendMore(flow);
    });
  }
  console.log(`answered ${answered} lost ${lost}`);
}

const [what, ...rest] = process.argv.slice(2);
if (what === "echo") echo(rest.map(Number));
const [address = "", port = "", seconds = ""] = rest;
ask(address, Number(port), Number(seconds));
process.exit(0);
