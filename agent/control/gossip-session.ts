// A member of the gossip pool, in agents and config servers alike: keys and members as the server tells them (kept on disk, so that
// a restart without a server finds the pool), sockets from os/, and who is down, told onwards. All of SWIM is in membership/.
import { join } from "node:path";
import {
  type GossipPeer,
  type GossipView,
  type MemberReport,
  SERVER_MEMBER,
} from "../api/gossip.ts";
import type { Clock, Random, Timer, Timers } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import { STREAM_BYTES_MAX } from "../membership/codec.ts";
import { Keyring } from "../membership/keyring.ts";
import { type MemberView, Swim } from "../membership/swim.ts";
import { GossipSocket } from "../os/gossip-socket.ts";
import { readIfThere, writeDurably } from "./durable-file.ts";
import { parseGossipView } from "./gossip-view.ts";

export interface GossipConfig {
  /** As the server calls this member. */
  readonly name: string;
  readonly port: number;
  readonly hasIpv6: boolean;
  /** Where keys and members are kept, 0600; undefined: nowhere. */
  readonly stateDir: string | undefined;
}

export interface GossipDeps {
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly log: Log;
  /** Traffic should, or should not, go to that host. */
  onHealth(host: string, isDown: boolean): void;
}

/** The port is taken: how soon it is tried again. */
const RETRY_MS = 500;
const FILE = "gossip.json";
const FILE_BYTES_MAX = 4 * 1_048_576;

export class GossipSession {
  readonly #config: GossipConfig;
  readonly #deps: GossipDeps;
  readonly #keyring = new Keyring([], randomBytes);
  readonly #swim: Swim;
  #socket: GossipSocket | undefined;
  readonly #peers = new Map<string, GossipPeer>();
  #isStarted = false;
  #isStopped = false;
  #retry: Timer | undefined;
  #view: GossipView | undefined;
  #saved: Promise<void> = Promise.resolve();

  /** Resolves when what the disk knows is in use. Without its port the member is there and hears nobody: it says so once, and tries
   *  again, for whoever has the port may be the process that this one replaces. */
  static async open(config: GossipConfig, deps: GossipDeps): Promise<GossipSession> {
    const session = new GossipSession(config, deps);
    await session.#listen();
    await session.#readDisk();
    return session;
  }

  private constructor(config: GossipConfig, deps: GossipDeps) {
    this.#config = config;
    this.#deps = deps;
    this.#swim = new Swim(
      { name: config.name },
      {
        ...deps,
        randomBytes,
        keyring: this.#keyring,
        net: {
          send: ({ address, port }, bytes) => this.#socket?.send(address, port, bytes),
          ask: ({ address, port }, bytes, answer) =>
            this.#socket?.ask(address, port, bytes, answer),
        },
        onChange: (member) => this.#changed(member),
      },
    );
  }

  async #listen(tries = 0): Promise<void> {
    const { port, hasIpv6 } = this.#config;
    const socket = new GossipSocket(
      { port, hasIpv6, streamBytesMax: STREAM_BYTES_MAX },
      {
        onDatagram: (bytes) => this.#swim.receive(bytes),
        onQuestion: (bytes) => this.#swim.answer(bytes),
      },
    );
    try {
      await socket.listen();
      if (this.#isStopped) socket.close();
      else this.#socket = socket;
      this.#startIfReady();
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      if (tries === 0) this.#deps.log.error("no part in the gossip pool for now", { reason });
      this.#retry = this.#deps.timers.after(RETRY_MS, () => void this.#listen(tries + 1));
    }
  }

  /** Not before it can hear answers: it would take everybody for unreachable. */
  #startIfReady(): void {
    if (this.#isStarted || this.#isStopped) return;
    if (this.#socket === undefined || this.#view === undefined) return;
    this.#isStarted = true;
    this.#swim.start();
  }

  /** What the server says now. */
  follow(view: GossipView): void {
    this.#use(view);
    const { stateDir } = this.#config;
    if (stateDir === undefined) return;
    this.#saved = this.#saved.then(async () => {
      if (this.#view !== view) return; // a newer one is about to be written
      await writeDurably(join(stateDir, FILE), `${JSON.stringify(view)}\n`).catch(
        (cause: unknown) =>
          this.#deps.log.warn("the gossip pool is not on disk: a restart waits for the server", {
            cause: String(cause),
          }),
      );
    });
  }

  get members(): readonly MemberReport[] {
    const offsetMs = this.#deps.clock.wallMs() - this.#deps.clock.nowMs();
    return this.#swim.members
      .map(({ name, address, status, sinceMs, incarnation, isDown, rttMs }) => ({
        name,
        address,
        status,
        sinceMs: status === "unheard" ? undefined : Math.round(sinceMs + offsetMs),
        incarnation,
        isDown,
        rttMs: rttMs === undefined ? undefined : Math.round(rttMs * 100) / 100,
      }))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** No more traffic should come here; questions are answered until stop(). */
  leave(): void {
    this.#swim.leave();
  }

  /** Resolves when what it was writing is on disk. */
  async stop(): Promise<void> {
    this.#isStopped = true;
    this.#retry?.cancel();
    this.#swim.stop();
    this.#socket?.close();
    await this.#saved;
  }

  async #readDisk(): Promise<void> {
    const { stateDir } = this.#config;
    if (stateDir === undefined) return;
    const path = join(stateDir, FILE);
    const text = await readIfThere(path, FILE_BYTES_MAX);
    if (text === undefined) return;
    const view = parseGossipView(parsed(text));
    if (view.ok) this.#use(view.value);
    else this.#deps.log.warn("the stored gossip pool is damaged and asked for anew", { path });
  }

  #use(view: GossipView): void {
    const { keys, members } = view;
    this.#view = view;
    this.#keyring.replace(keys.map((key) => Buffer.from(key, "base64")));
    const named = new Set(members.map(({ name }) => name));
    for (const name of [...this.#peers.keys()].filter((one) => !named.has(one))) {
      this.#peers.delete(name);
      this.#deps.onHealth(name, false); // no member any more: the snapshot decides what is left of it
    }
    for (const member of members) this.#peers.set(member.name, member);
    this.#swim.setMembers(members);
    this.#startIfReady();
  }

  #changed({ name, status, isDown }: MemberView): void {
    this.#deps.log.debug("gossip", { name, status, isDown });
    if (name !== SERVER_MEMBER) this.#deps.onHealth(name, isDown);
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // told by who parses it
  }
}

const randomBytes = (count: number): Uint8Array => crypto.getRandomValues(new Uint8Array(count));
