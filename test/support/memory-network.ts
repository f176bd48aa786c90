// The Network of base/net.ts in memory, on virtual time: for tests of the data path and for seeded simulation. It is nastier
// than a kernel: writes are taken in random pieces, events come at random moments, and after each event the arena is filled
// with 0xDB, so whoever keeps a reference to bytes it was only shown sends or compares rubbish.
import type { Random } from "../../agent/base/clock.ts";
import {
  type CloseReason,
  type DialTarget,
  EDIT_ROOM,
  type MeshPeer,
  type Network,
  type Scratch,
  type Stream,
  type StreamHandler,
} from "../../agent/base/net.ts";
import type { VirtualClock } from "./virtual-clock.ts";

const POISON = 0xdb;
const RECEIVE_BYTES = 16_384;
const SCRATCH_BYTES = 65_536;

export interface MemoryNetworkConfig {
  /** Bytes a direction holds before write() takes no more. Default 65,536. */
  readonly windowBytes: number;
  /** Every piece takes between 0 and this long. Default 2. */
  readonly latencyMs: number;
  /** Take writes, and deliver them, in pieces of random length. Default false. */
  readonly splits: boolean;
}
export const MEMORY_NETWORK_DEFAULTS: MemoryNetworkConfig = {
  windowBytes: 65_536,
  latencyMs: 2,
  splits: false,
};

type Accept = (stream: Stream) => void;

/** What a test may do to a stream of an agent just before a step of it. */
export type Fault =
  /** The kernel takes so many bytes of a write, at most; 0: EAGAIN. */
  | { readonly is: "takes"; readonly bytes: number }
  | { readonly is: "peer_resets" }
  | { readonly is: "peer_ends" }
  /** The peer neither reads nor says anything from here on, and its host does not tell. */
  | { readonly is: "peer_falls_silent" };
export type Step = "open" | "data" | "end" | "writable" | "write";
interface MeshListener {
  readonly accept: Accept;
  /** Who answers for a server name; undefined refuses the handshake. */
  identityOf(serverName: string): string | undefined;
  /** What it speaks, the one to take of several first. Default: what is dialled. */
  readonly alpns?: readonly string[];
}

/** All hosts of one test. */
export class MemoryFabric {
  readonly config: MemoryNetworkConfig;
  readonly clock: VirtualClock;
  readonly random: Random;
  readonly plain = new Map<string, Accept>();
  readonly mesh = new Map<string, MeshListener>();
  /** Dials to these never come to an end. */
  readonly silent = new Set<string>();
  nextPort = 32_768;
  /** Asked at each step of each stream that a network gave to its host by dial() or accept(). */
  faultAt: ((stream: MemoryStream, step: Step) => Fault | undefined) | undefined;

  constructor(config: Partial<MemoryNetworkConfig>, deps: { clock: VirtualClock; random: Random }) {
    this.config = { ...MEMORY_NETWORK_DEFAULTS, ...config };
    this.clock = deps.clock;
    this.random = deps.random;
  }

  /** What the processes of one host see. */
  host(address: string): MemoryNetwork {
    return new MemoryNetwork(this, address);
  }

  later(task: () => void): void {
    this.clock.after(this.random.unit() * this.config.latencyMs, task);
  }
}

export class MemoryNetwork implements Network {
  readonly address: string;
  readonly scratch: Scratch;
  /** A place of its own, EDIT_ROOM included, that becomes worthless as the arena does. */
  readonly stage: Scratch;
  readonly #fabric: MemoryFabric;
  readonly #arena = new Uint8Array(
    RECEIVE_BYTES + EDIT_ROOM + SCRATCH_BYTES + RECEIVE_BYTES + EDIT_ROOM,
  ).fill(POISON);

  constructor(fabric: MemoryFabric, address: string) {
    this.#fabric = fabric;
    this.address = address;
    const start = RECEIVE_BYTES + EDIT_ROOM;
    this.scratch = { bytes: this.#arena, start, end: start + SCRATCH_BYTES };
    this.stage = { bytes: this.#arena, start: this.scratch.end, end: this.#arena.length };
  }

  listen(port: number, accept: Accept, address = this.address): void {
    this.#fabric.plain.set(`${address}:${port}`, accept);
  }

  listenMesh(port: number, listener: MeshListener): void {
    this.#fabric.mesh.set(`${this.address}:${port}`, listener);
  }

  unlisten(port: number, address = this.address): void {
    this.#fabric.plain.delete(`${address}:${port}`);
    this.#fabric.mesh.delete(`${address}:${port}`);
  }

  dial(target: DialTarget, handler: StreamHandler): MemoryStream {
    const fabric = this.#fabric;
    const from = target.is === "plain" && target.from !== undefined ? target.from : this.address;
    const near = new MemoryStream(fabric, this, handler, true);
    near.peerAddress = target.address;
    near.peerPort = target.port;
    near.fromPort = fabric.nextPort++;
    if (!fabric.silent.has(`${target.address}:${target.port}`)) {
      fabric.later(() => this.#connect(near, target, from));
    }
    return near;
  }

  /** A pair of connected streams: the far end is the test's, as if it had dialled from `address`. */
  accept(
    handler: StreamHandler,
    from: { address: string; mesh?: MeshPeer },
  ): [MemoryStream, MemoryStream] {
    const fabric = this.#fabric;
    const far = new MemoryStream(fabric, new MemoryNetwork(fabric, from.address), handler);
    const near = new MemoryStream(fabric, this, IGNORE, true);
    near.peerAddress = from.address;
    near.peerPort = fabric.nextPort++;
    near.mesh = from.mesh;
    near.join(far);
    near.connected();
    return [near, far];
  }

  #connect(near: MemoryStream, target: DialTarget, from: string): void {
    if (!near.isOpen) return;
    const fabric = this.#fabric;
    const far = new MemoryStream(fabric, fabric.host(target.address), IGNORE);
    far.peerAddress = from;
    far.peerPort = near.fromPort;
    const accept = this.#listenerOf(target, near, far);
    if (typeof accept === "string") {
      near.die({ is: "connect_failed", code: accept });
      return;
    }
    near.join(far);
    near.opened();
    accept(far);
  }

  /** Who takes the connection, or why nobody does. */
  #listenerOf(target: DialTarget, near: MemoryStream, far: MemoryStream): Accept | string {
    const key = `${target.address}:${target.port}`;
    if (target.is === "plain") return this.#fabric.plain.get(key) ?? "ECONNREFUSED";
    const listener = this.#fabric.mesh.get(key);
    if (listener === undefined) return "ECONNREFUSED";
    const identity = listener.identityOf(target.serverName);
    if (identity === undefined) return "unknown_server_name";
    if (!target.peers.includes(identity)) return "wrong_identity";
    const offers = [target.alpn, target.olderAlpn];
    const alpn = (listener.alpns ?? [target.alpn]).find((one) => offers.includes(one));
    if (alpn === undefined) return "no_alpn";
    near.mesh = { identity, serverName: target.serverName, alpn };
    const as = target.serverName === "" ? { as: identity } : {};
    far.mesh = { identity: target.as, serverName: target.serverName, alpn, ...as };
    return listener.accept;
  }

  /** Shows bytes to a handler, then makes them worthless. */
  show(stream: MemoryStream, piece: Uint8Array): void {
    this.#arena.set(piece, 0);
    stream.handler.onData(stream, this.#arena, 0, piece.length);
    this.#arena.fill(POISON);
  }

  get pieceBytesMax(): number {
    return RECEIVE_BYTES;
  }
}

const IGNORE: StreamHandler = {
  onOpen() {},
  onData() {},
  onWritable() {},
  onEnd() {},
  onClose() {},
};

export class MemoryStream implements Stream {
  handler: StreamHandler;
  peerAddress = "";
  peerPort = 0;
  fromPort = 0;
  mesh: MeshPeer | undefined;
  isOpen = true;
  readonly #fabric: MemoryFabric;
  readonly #network: MemoryNetwork;
  #far: MemoryStream | undefined;
  /** Sent by the far end, not yet shown here. */
  #inbox: Uint8Array[] = [];
  #inboxBytes = 0;
  #isConnected = false;
  #isPaused = false;
  #isBlocked = false;
  #farEnded = false;
  #shownEnd = false;
  #ended = false;
  #isDue = false;

  readonly #mayFail: boolean;

  constructor(
    fabric: MemoryFabric,
    network: MemoryNetwork,
    handler: StreamHandler,
    mayFail = false,
  ) {
    this.#fabric = fabric;
    this.#network = network;
    this.#mayFail = mayFail;
    this.handler = handler;
  }

  join(far: MemoryStream): void {
    this.#far = far;
    far.#far = this;
    far.#isConnected = true;
  }

  connected(): void {
    this.#isConnected = true;
    this.#schedule();
  }

  /** For who dialled: nothing arrives before onOpen. */
  opened(): void {
    this.#fabric.later(() => {
      if (!this.isOpen) return;
      this.#step("open");
      this.connected();
      this.handler.onOpen(this);
      if (this.isOpen) this.handler.onWritable(this);
    });
  }

  write(bytes: Uint8Array, start: number, end: number): number {
    const far = this.#far;
    if (!this.isOpen || !this.#isConnected || this.#ended || far === undefined) return 0;
    const fault = this.#step("write");
    const room = this.#fabric.config.windowBytes - far.#inboxBytes;
    let taken = Math.min(room, end - start);
    if (fault?.is === "takes") taken = Math.min(taken, fault.bytes);
    if (this.#fabric.config.splits && taken > 1 && this.#fabric.random.unit() < 0.3) {
      taken = 1 + Math.floor(this.#fabric.random.unit() * taken);
    }
    if (taken < end - start) {
      this.#isBlocked = true;
      if (room > taken) this.#unblock();
    }
    if (taken <= 0) return 0;
    if (far.isOpen) far.#receive(bytes.slice(start, start + taken));
    else this.#fabric.later(() => this.die({ is: "failed", code: "EPIPE" }));
    return taken;
  }

  get hasUnread(): boolean {
    return this.#inboxBytes > 0 || (this.#farEnded && !this.#shownEnd);
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    this.#isPaused = false;
    this.#schedule();
  }

  endWrite(): void {
    if (!this.isOpen || this.#ended) return;
    this.#ended = true;
    const far = this.#far;
    if (far !== undefined) {
      far.#farEnded = true;
      far.#schedule();
    }
    if (this.#shownEnd) this.#fabric.later(() => this.die({ is: "ended" }));
  }

  close(): void {
    if (!this.isOpen) return;
    if (this.#inboxBytes > 0) {
      this.reset(); // as TCP does to who closes with unread bytes
      return;
    }
    this.isOpen = false;
    const far = this.#far;
    if (far === undefined) return;
    far.#farEnded = true;
    far.#schedule();
  }

  reset(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    const far = this.#far;
    if (far !== undefined) this.#fabric.later(() => far.die({ is: "failed", code: "ECONNRESET" }));
  }

  die(reason: CloseReason): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.handler.onClose(this, reason);
  }

  /** What the test wants to happen just now. */
  #step(step: Step): Fault | undefined {
    const fault = this.#mayFail ? this.#fabric.faultAt?.(this, step) : undefined;
    if (fault !== undefined) this.suffer(fault);
    return fault;
  }

  /** What the peer does has happened when this returns. */
  suffer(fault: Fault): void {
    const far = this.#far;
    if (far === undefined) return;
    if (fault.is === "peer_resets") far.reset();
    else if (fault.is === "peer_ends") far.endWrite();
    else if (fault.is === "peer_falls_silent") far.#fallSilent();
  }

  #fallSilent(): void {
    this.#isPaused = true;
    this.resume = () => {};
    this.write = () => 0;
    this.endWrite = () => {};
  }

  #receive(piece: Uint8Array): void {
    this.#inbox.push(piece);
    this.#inboxBytes += piece.length;
    this.#schedule();
  }

  #schedule(): void {
    if (this.#isDue || !this.isOpen) return;
    if (this.#inboxBytes === 0 && (!this.#farEnded || this.#shownEnd)) return;
    this.#isDue = true;
    this.#fabric.later(() => {
      this.#isDue = false;
      this.#deliver();
    });
  }

  #deliver(): void {
    if (!this.isOpen || this.#isPaused || !this.#isConnected) return;
    if (this.#inboxBytes > 0) {
      this.#step("data");
      this.#network.show(this, this.#takePiece());
      if (this.#far !== undefined) this.#far.#unblock();
      this.#schedule();
    } else if (this.#farEnded && !this.#shownEnd) {
      this.#step("end");
      this.#shownEnd = true;
      if (this.#ended) this.die({ is: "ended" });
      else this.handler.onEnd(this);
    }
  }

  #takePiece(): Uint8Array {
    let length = Math.min(this.#inboxBytes, this.#network.pieceBytesMax);
    if (this.#fabric.config.splits && this.#fabric.random.unit() < 0.5) {
      length = 1 + Math.floor(this.#fabric.random.unit() * length);
    }
    const piece = new Uint8Array(length);
    let filled = 0;
    while (filled < length) {
      const first = this.#inbox[0] as Uint8Array;
      const part = first.subarray(0, length - filled);
      piece.set(part, filled);
      filled += part.length;
      if (part.length === first.length) this.#inbox.shift();
      else this.#inbox[0] = first.subarray(part.length);
    }
    this.#inboxBytes -= length;
    return piece;
  }

  #unblock(): void {
    if (!this.#isBlocked || !this.isOpen) return;
    this.#isBlocked = false;
    this.#fabric.later(() => {
      if (!this.isOpen) return;
      this.#step("writable");
      this.handler.onWritable(this);
    });
  }
}
