// The link between agents and the config server in memory, on virtual time: ordered like TCP, but late, cut, dead on the wire,
// and now and then saying a thing twice.
import type { Random } from "../../agent/base/clock.ts";
import type {
  Connection,
  ConnectionEvents,
  Transport,
} from "../../agent/control/server-session.ts";
import type { AgentSession, SessionSocket } from "../../registry/push/agent-session.ts";
import type { VirtualClock } from "../support/virtual-clock.ts";

export interface LinkConfig {
  readonly delayMaxMs: number;
  /** Chance that a message arrives twice. */
  readonly duplicates: number;
}

/** The server's side of the door; undefined while it is down. */
export type Accept = (host: string, socket: SessionSocket) => AgentSession | undefined;

export class SimulatedNetwork {
  accept: Accept | undefined;
  /** Switched off once a run has to come to rest. */
  isNasty = true;
  readonly links = new Set<Link>();
  readonly #config: LinkConfig;
  readonly clock: VirtualClock;
  readonly random: Random;

  constructor(config: LinkConfig, deps: { clock: VirtualClock; random: Random }) {
    this.#config = config;
    this.clock = deps.clock;
    this.random = deps.random;
  }

  transport(host: string): Transport {
    return { connect: (_url, events) => new Link(host, this, events) };
  }

  delayMs(): number {
    return 1 + this.random.unit() * this.#config.delayMaxMs;
  }

  copies(): number {
    return this.isNasty && this.random.unit() < this.#config.duplicates ? 2 : 1;
  }
}

/** One connection, both ends of it. */
export class Link implements Connection {
  readonly #host: string;
  readonly #network: SimulatedNetwork;
  readonly #events: ConnectionEvents;
  #session: AgentSession | undefined;
  #agentHears = true;
  #serverHears = true;
  #isDead = false;
  /** Nothing overtakes on a connection. */
  #upAtMs = 0;
  #downAtMs = 0;

  constructor(host: string, network: SimulatedNetwork, events: ConnectionEvents) {
    this.#host = host;
    this.#network = network;
    this.#events = events;
    network.links.add(this);
    this.#up(() => this.#open());
  }

  send(text: string): void {
    for (let copy = this.#network.copies(); copy > 0; copy--)
      this.#up(() => this.#session?.receive(text));
  }

  ping(): void {
    this.#up(() => this.#down(() => this.#events.onPong()));
  }

  /** By the agent. */
  close(): void {
    this.#agentHears = false;
    this.#network.links.delete(this);
    this.#up(() => {
      this.#serverHears = false;
      this.#session?.ended();
    });
  }

  /** Both ends are told, each in its own time. */
  cut(): void {
    this.#down(() => this.#lose("cut"));
    this.close();
    this.#agentHears = true;
  }

  /** Nobody is told: what is sent is lost. */
  die(): void {
    this.#isDead = true;
  }

  #open(): void {
    const session = this.#network.accept?.(this.#host, {
      send: async (text) => {
        for (let copy = this.#network.copies(); copy > 0; copy--)
          this.#down(() => this.#events.onText(text));
      },
      close: (code, reason) => {
        this.#serverHears = false;
        this.#down(() => this.#lose(`${code} ${reason}`));
      },
    });
    if (session === undefined) {
      this.#down(() => this.#lose("connection refused"));
      return;
    }
    this.#session = session;
    this.#down(() => this.#events.onOpen());
  }

  #lose(reason: string): void {
    this.#agentHears = false;
    this.#network.links.delete(this);
    this.#events.onClose(reason);
  }

  #up(task: () => void): void {
    this.#upAtMs = this.#later(this.#upAtMs, () => {
      if (this.#serverHears) task();
    });
  }

  #down(task: () => void): void {
    this.#downAtMs = this.#later(this.#downAtMs, () => {
      if (this.#agentHears) task();
    });
  }

  #later(notBeforeMs: number, task: () => void): number {
    const { clock } = this.#network;
    const atMs = Math.max(notBeforeMs, clock.nowMs() + this.#network.delayMs());
    clock.after(atMs - clock.nowMs(), () => {
      if (!this.#isDead) task();
    });
    return atMs;
  }
}
