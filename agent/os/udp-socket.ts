// A connected UDP socket on our own epoll.
import type { DatagramEvents, DatagramSocket } from "../base/datagrams.ts";
import { writeSockaddr } from "./address.ts";
import type { BatchedSocket, DatagramBatch } from "./datagram-batch.ts";
import {
  AF_INET,
  AF_INET6,
  EAGAIN,
  ECONNREFUSED,
  errnoName,
  SO_REUSEPORT,
  SOCK_DGRAM,
  SOCK_FLAGS,
  SOL_SOCKET,
} from "./libc.ts";
import {
  ARGUMENTS_AT,
  type Loop,
  RECEIVE_AT,
  RECEIVE_BYTES,
  SCRATCH_AT,
  SCRATCH_BYTES,
  type Watcher,
} from "./loop.ts";
import { localEnd, setOption } from "./socket.ts";

const SOCKADDR_AT = ARGUMENTS_AT + 512;
/** The last part of the scratch: who builds something there begins at its start. */
const COPY_AT = SCRATCH_AT + SCRATCH_BYTES - 65_536;
/** Datagrams one socket may read a turn before the others get theirs. */
const READS_MAX = 64;
const SOL_UDP = 17;
const UDP_SEGMENT = 103;
const UDP_GRO = 104;
/** Longer ones leave by themselves: together they must fit the way's MTU, or the kernel refuses. */
const SEGMENT_BYTES_MAX = 1_400;
/** EIO, EINVAL, EMSGSIZE, EOPNOTSUPP: too long for this way after all, or a device or a kernel that cannot. */
const CANNOT_SEGMENT: readonly number[] = [5, 22, 90, 95];
/** UDP_MAX_SEGMENTS of older kernels. */
const SEGMENTS_MAX = 64;
const VECTOR_BYTES = 16;
/** struct msghdr (sendmsg(2)), its control message, its iovecs. */
const MESSAGE_AT = ARGUMENTS_AT + 1_024;
const CONTROL_AT = MESSAGE_AT + 64;
const VECTORS_AT = CONTROL_AT + 32;
/** In struct cmsghdr: length (8 bytes), level, type, then the data. */
const LEVEL_AT = CONTROL_AT + 8;
const TYPE_AT = CONTROL_AT + 12;
const DATA_AT = CONTROL_AT + 16;
/** CMSG_LEN of two bytes; CMSG_SPACE of two or of four. */
const CONTROL_LENGTH = 18;
const CONTROL_SPACE = 24;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
/** What may wait in the kernel for us to read it; the kernel counts its own overhead too, and doubles it for that. More is lost. */
const WAITING_BYTES_MAX = 1_048_576;
const isPoisoned = process.env["IRONMESH_POISON"] === "1";

/** Whatever the host's default is (needs CAP_NET_ADMIN; without, the host's default holds). */
export const setReceiveRoom = (loop: Loop, fd: number): void => {
  setOption(loop, fd, SOL_SOCKET, SO_RCVBUFFORCE, WAITING_BYTES_MAX);
};

/** The same for what is sent. */
export const setSendRoom = (loop: Loop, fd: number): void => {
  setOption(loop, fd, SOL_SOCKET, SO_SNDBUFFORCE, WAITING_BYTES_MAX);
};

export interface UdpPath {
  readonly to: { readonly address: string; readonly port: number };
  /** The other end may send many at once (UDP_GRO, udp(7)): they are received so. */
  readonly isGathered?: boolean;
  /** Our own end; several sockets of ours may share it, as each hears only its peer. Undefined: the kernel's choice. */
  readonly from?: { readonly address: string; readonly port: number } | undefined;
}

export class UdpSocket implements DatagramSocket, Watcher, BatchedSocket {
  readonly localPort: number;
  readonly #loop: Loop;
  readonly #fd: number;
  readonly #events: DatagramEvents;
  readonly #batch: DatagramBatch;
  /** In the batch: where each begins. All are as long as the first, but for the last, which may be shorter. */
  readonly #queued: number[] = [];
  #firstBytes = 0;
  #lastBytes = 0;
  #isSegmenting = true;
  readonly #isGathered: boolean;
  #isClosed = false;

  private constructor(
    loop: Loop,
    batch: DatagramBatch,
    { fd, isGathered }: { readonly fd: number; readonly isGathered: boolean },
    events: DatagramEvents,
  ) {
    this.#isGathered = isGathered;
    this.#loop = loop;
    this.#batch = batch;
    this.#fd = fd;
    this.#events = events;
    this.localPort = localEnd(loop, fd).port;
    loop.watch(fd, this);
  }

  /** A text is the errno's name. */
  static open(
    loop: Loop,
    batch: DatagramBatch,
    path: UdpPath,
    events: DatagramEvents,
  ): UdpSocket | string {
    const { libc } = loop;
    const family = path.to.address.includes(":") ? AF_INET6 : AF_INET;
    const fd = libc.socket(family, SOCK_DGRAM | SOCK_FLAGS, 0);
    if (fd < 0) return errnoName(loop.errno());
    setReceiveRoom(loop, fd);
    setSendRoom(loop, fd);
    const isGathered = path.isGathered === true && setOption(loop, fd, SOL_UDP, UDP_GRO, 1) === 0;
    if (connect(loop, fd, path)) return new UdpSocket(loop, batch, { fd, isGathered }, events);
    const reason = errnoName(loop.errno());
    libc.close(fd);
    return reason;
  }

  onReady(): void {
    const { libc, arena } = this.#loop;
    for (let reads = 0; reads < READS_MAX; ) {
      if (this.#isClosed) return;
      const count = this.#isGathered
        ? this.#receiveGathered()
        : libc.recv(this.#fd, this.#loop.at(RECEIVE_AT), RECEIVE_BYTES, 0);
      if (count < 0) {
        if (this.#loop.errno() === EAGAIN) return;
        reads++;
        this.#events.onRefused();
        continue;
      }
      reads += this.#show(RECEIVE_AT + count, this.#isGathered ? this.#segmentOf(count) : count);
      if (isPoisoned) arena.bytes.fill(0xdb, RECEIVE_AT, RECEIVE_AT + count);
    }
    this.#loop.again(this);
  }

  /** Shows what came as datagrams of `segment` bytes, the last perhaps shorter. Returns how many they are. */
  #show(end: number, segment: number): number {
    const { bytes } = this.#loop.arena;
    let at = RECEIVE_AT;
    let count = 0;
    do {
      const next = Math.min(at + segment, end);
      count++;
      this.#loop.messages++;
      this.#events.onDatagram(bytes, at, next);
      at = next;
    } while (at < end && !this.#isClosed);
    return count;
  }

  #receiveGathered(): number {
    this.#writeMessage(1);
    const { words } = this.#loop.arena;
    words[VECTORS_AT >> 2] = this.#loop.at(RECEIVE_AT);
    words[(VECTORS_AT + 4) >> 2] = 0;
    words[(VECTORS_AT + 8) >> 2] = RECEIVE_BYTES;
    words[(VECTORS_AT + 12) >> 2] = 0;
    return this.#loop.libc.recvmsg(this.#fd, this.#loop.at(MESSAGE_AT), 0);
  }

  /** Of what #receiveGathered() brought: the kernel says so only where it is several. */
  #segmentOf(count: number): number {
    const { words } = this.#loop.arena;
    const isTold = words[LEVEL_AT >> 2] === SOL_UDP && words[TYPE_AT >> 2] === UDP_GRO;
    return isTold ? (words[DATA_AT >> 2] as number) : count;
  }

  /** Pointers and sizes are 64 bits; the arena lies below 4 GB. */
  #writeMessage(vectors: number): void {
    const { words } = this.#loop.arena;
    words.fill(0, MESSAGE_AT >> 2, VECTORS_AT >> 2);
    words[(MESSAGE_AT + 16) >> 2] = this.#loop.at(VECTORS_AT);
    words[(MESSAGE_AT + 24) >> 2] = vectors;
    words[(MESSAGE_AT + 32) >> 2] = this.#loop.at(CONTROL_AT);
    words[(MESSAGE_AT + 40) >> 2] = CONTROL_SPACE;
  }

  send(bytes: Uint8Array, start: number, end: number): boolean {
    if (this.#isClosed) return false;
    const length = end - start;
    if (!this.#isSegmenting || length === 0 || length > SEGMENT_BYTES_MAX) {
      this.flush();
      return this.#sendNow(bytes, start, end);
    }
    if (!this.#goesWith(length)) this.flush();
    if (!this.#batch.hasRoom(length)) this.#batch.run();
    if (this.#queued.length === 0) {
      this.#batch.list(this);
      this.#firstBytes = length;
    }
    this.#queued.push(this.#batch.put(bytes, start, end));
    this.#lastBytes = length;
    return true;
  }

  #goesWith(length: number): boolean {
    const queued = this.#queued.length;
    const isAsLong = this.#lastBytes === this.#firstBytes && length <= this.#firstBytes;
    return queued === 0 || (isAsLong && queued < SEGMENTS_MAX);
  }

  #sendNow(bytes: Uint8Array, start: number, end: number): boolean {
    const { bytes: arena } = this.#loop.arena;
    if (bytes === arena) return this.#sendOne(start, end - start);
    arena.set(bytes.subarray(start, end), COPY_AT);
    return this.#sendOne(COPY_AT, end - start);
  }

  #sendOne(at: number, length: number): boolean {
    const { libc } = this.#loop;
    if (libc.send(this.#fd, this.#loop.at(at), length, 0) >= 0) return true;
    // What is refused is an earlier one.
    if (this.#loop.errno() !== ECONNREFUSED) return false;
    this.#events.onRefused();
    return libc.send(this.#fd, this.#loop.at(at), length, 0) >= 0;
  }

  flush(): void {
    const queued = this.#queued;
    const count = queued.length;
    if (count === 0) return;
    if (count === 1 || !this.#sendTogether()) this.#sendEach();
    queued.length = 0;
  }

  /** False: none was sent. */
  #sendTogether(): boolean {
    const queued = this.#queued;
    const { words } = this.#loop.arena;
    for (let i = 0; i < queued.length; i++) {
      const isLast = i === queued.length - 1;
      const word = (VECTORS_AT + i * VECTOR_BYTES) >> 2;
      words[word] = this.#loop.at(queued[i] as number);
      words[word + 1] = 0;
      words[word + 2] = isLast ? this.#lastBytes : this.#firstBytes;
      words[word + 3] = 0;
    }
    this.#writeMessage(queued.length);
    words[CONTROL_AT >> 2] = CONTROL_LENGTH;
    words[LEVEL_AT >> 2] = SOL_UDP;
    words[TYPE_AT >> 2] = UDP_SEGMENT;
    words[DATA_AT >> 2] = this.#firstBytes;
    if (this.#loop.libc.sendmsg(this.#fd, this.#loop.at(MESSAGE_AT), 0) >= 0) return true;
    const errno = this.#loop.errno();
    if (errno === ECONNREFUSED) this.#events.onRefused();
    if (CANNOT_SEGMENT.includes(errno)) this.#isSegmenting = false;
    return false;
  }

  #sendEach(): void {
    const queued = this.#queued;
    let lost = 0;
    for (let i = 0; i < queued.length; i++) {
      const length = i === queued.length - 1 ? this.#lastBytes : this.#firstBytes;
      if (!this.#sendOne(queued[i] as number, length)) lost++;
    }
    if (lost > 0) this.#events.onNotSent(lost);
  }

  close(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.flush();
    this.#loop.unwatch(this.#fd);
    this.#loop.closeLater(this.#fd);
  }
}

function connect(loop: Loop, fd: number, { to, from }: UdpPath): boolean {
  const { libc, arena } = loop;
  if (from !== undefined) {
    setOption(loop, fd, SOL_SOCKET, SO_REUSEPORT, 1);
    const length = writeSockaddr(arena.bytes, SOCKADDR_AT, from.address, from.port);
    if (length === 0 || libc.bind(fd, loop.at(SOCKADDR_AT), length) !== 0) return false;
  }
  const length = writeSockaddr(arena.bytes, SOCKADDR_AT, to.address, to.port);
  return length > 0 && libc.connect(fd, loop.at(SOCKADDR_AT), length) === 0;
}
