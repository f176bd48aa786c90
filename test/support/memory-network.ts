// The Network of base/net.ts in memory, on virtual time: for tests of the data path and for seeded simulation. It is nastier
// than a kernel: writes are taken in random pieces, events come at random moments, and after each event the arena is filled
// with 0xDB, so whoever keeps a reference to bytes it was only shown sends or compares rubbish.
import type { Random } from "../../agent/base/clock.ts";
import {
  type DialTarget,
  EDIT_ROOM,
  IGNORE,
  type MeshPeer,
  type Network,
  type Scratch,
  type Stream,
  type StreamHandler,
} from "../../agent/base/net.ts";
import { type Fault, MemoryStream, type Step } from "./memory-stream.ts";
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
    const isOfAgent = target.is === "mesh";
    const far = new MemoryStream(fabric, fabric.host(target.address), IGNORE, isOfAgent);
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
