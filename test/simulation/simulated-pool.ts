// A gossip pool on virtual time: every member runs the machine that agents run, sealed letters and all; the wire between them
// loses, delays, and can be cut in one direction.
import { type Random, SeededRandom } from "../../agent/base/clock.ts";
import { KEY_BYTES, Keyring } from "../../agent/membership/keyring.ts";
import type { MemberAddress } from "../../agent/membership/member.ts";
import { type GossipNet, type MemberView, Swim } from "../../agent/membership/swim.ts";
import { VirtualClock } from "../support/virtual-clock.ts";

/** How long agents wait for an answer by stream. */
const STREAM_MS = 3_000;

export interface PoolConfig {
  readonly members: number;
  readonly seed: number;
  /** Share of datagrams that are lost. */
  readonly loss: number;
  readonly delayMaxMs: number;
  /** Letters travel as they are. Sealing is the same for everybody; without it a large pool runs several times faster. */
  readonly isUnsealed?: boolean;
}

export class SimulatedPool {
  readonly clock = new VirtualClock();
  readonly random: Random;
  readonly nodes: readonly SimulatedNode[];
  readonly config: PoolConfig;
  readonly key: Uint8Array;
  /** `FROM>TO`: nothing gets through in that direction. */
  readonly cuts = new Set<string>();
  #wrongAt = 0;
  datagrams = 0;
  bytes = 0;

  constructor(config: PoolConfig) {
    this.config = config;
    this.random = new SeededRandom(config.seed);
    this.key = this.randomBytes(KEY_BYTES);
    this.nodes = Array.from({ length: config.members }, (_, i) => new SimulatedNode(this, i));
    for (const node of this.nodes) node.start();
  }

  get addresses(): MemberAddress[] {
    return this.nodes.map(({ address }) => address);
  }

  nodeAt({ port }: MemberAddress): SimulatedNode {
    return this.nodes[port - 1] as SimulatedNode;
  }

  randomBytes(count: number): Uint8Array {
    return Uint8Array.from({ length: count }, () => this.random.int32() & 255);
  }

  keyring(): Keyring {
    const keyring = new Keyring([this.key], (count) => this.randomBytes(count));
    if (this.config.isUnsealed !== true) return keyring;
    return Object.assign(keyring, {
      seal: (message: Uint8Array) => message,
      open: (message: Uint8Array) => message,
    });
  }

  /** Whether a message from one to another arrives, the loss of the wire apart. */
  passes(from: SimulatedNode, to: SimulatedNode): boolean {
    return from.isUp && to.isUp && !this.cuts.has(`${from.name}>${to.name}`);
  }

  delayMs(): number {
    return 0.1 + this.random.unit() * this.config.delayMaxMs;
  }

  pick(): SimulatedNode {
    return this.nodes[Math.floor(this.random.unit() * this.nodes.length)] as SimulatedNode;
  }

  /** What a member that is up says wrongly: that another is not alive or should get no traffic though it is up, or not that it is dead. */
  disagreement(): string | undefined {
    // Who was wrong last is asked first.
    for (let i = 0; i < this.nodes.length; i++) {
      const at = (this.#wrongAt + i) % this.nodes.length;
      const node = this.nodes[at] as SimulatedNode;
      if (!node.isUp) continue;
      if (node.views.length === 0) return `${node.name} has not started`;
      const wrong = node.views.find((view) => isWrong(view, this.nodeAt(view).isUp));
      if (wrong === undefined) continue;
      this.#wrongAt = at;
      return `${node.name} says ${wrong.name} is ${wrong.status}${wrong.isDown ? ", down" : ""}`;
    }
    return undefined;
  }

  /** Virtual milliseconds until the claim holds. */
  msUntil(claim: () => boolean, limitMs: number): number {
    const startedMs = this.clock.nowMs();
    while (!claim()) {
      if (this.clock.nowMs() - startedMs > limitMs) return Number.POSITIVE_INFINITY;
      this.clock.pass(50);
    }
    return this.clock.nowMs() - startedMs;
  }
}

const isWrong = ({ status, isDown }: MemberView, isUp: boolean): boolean =>
  isUp ? isDown || (status !== "alive" && status !== "unheard") : !isDown || status !== "dead";

export class SimulatedNode implements GossipNet {
  readonly name: string;
  readonly address: MemberAddress;
  readonly #pool: SimulatedPool;
  swim: Swim | undefined;
  isUp = false;
  #frozen: (() => void)[] | undefined;
  /** Member -> when this one last lowered it. */
  readonly lowered = new Map<string, number>();

  constructor(pool: SimulatedPool, at: number) {
    this.#pool = pool;
    this.name = `vm-${at}`;
    this.address = { name: this.name, address: "10.0.0.1", port: at + 1 };
  }

  get views(): readonly MemberView[] {
    return this.swim?.members ?? [];
  }

  /** Boots with nothing but what the server tells it. */
  start(): void {
    const { clock, random } = this.#pool;
    this.lowered.clear();
    this.isUp = true;
    this.swim = new Swim(
      { name: this.name },
      {
        clock,
        timers: { after: (ms, task) => clock.after(ms, () => this.#whenAwake(task)) },
        random,
        randomBytes: (count) => this.#pool.randomBytes(count),
        keyring: this.#pool.keyring(),
        net: this,
        onChange: ({ name, isDown }) => {
          if (!isDown) this.lowered.delete(name);
          else if (!this.lowered.has(name)) this.lowered.set(name, clock.nowMs());
        },
      },
    );
    const swim = this.swim;
    clock.after(random.unit() * 200, () => {
      swim.setMembers(this.#pool.addresses);
      swim.start();
    });
  }

  /** SIGSTOP: no timer runs, nothing is read; datagrams wait in the socket's buffer. */
  freeze(): void {
    this.#frozen = [];
  }

  thaw(): void {
    const waiting = this.#frozen ?? [];
    this.#frozen = undefined;
    for (const task of waiting) task();
  }

  #whenAwake(task: () => void): void {
    if (this.#frozen === undefined) task();
    else this.#frozen.push(task);
  }

  /** Power off. */
  crash(): void {
    this.isUp = false;
    this.swim?.stop();
    this.swim = undefined;
  }

  send(to: MemberAddress, datagram: Uint8Array): void {
    const pool = this.#pool;
    pool.datagrams++;
    pool.bytes += datagram.length;
    const node = pool.nodeAt(to);
    if (!pool.passes(this, node) || pool.random.unit() < pool.config.loss) return;
    pool.clock.after(pool.delayMs(), () => node.#whenAwake(() => node.swim?.receive(datagram)));
  }

  ask(
    to: MemberAddress,
    question: Uint8Array,
    answer: (bytes: Uint8Array | undefined) => void,
  ): void {
    const pool = this.#pool;
    const node = pool.nodeAt(to);
    pool.clock.after(pool.delayMs(), () => {
      if (!pool.passes(this, node) || !pool.passes(node, this)) {
        pool.clock.after(STREAM_MS, () => this.#whenAwake(() => answer(undefined)));
        return;
      }
      node.#whenAwake(() => {
        const bytes = node.swim?.answer(question);
        pool.clock.after(pool.delayMs(), () => this.#whenAwake(() => answer(bytes)));
      });
    });
  }
}
