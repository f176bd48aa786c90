// The agent's talk with the config server: one connection at a time, for as long as the agent lives.
//
//   waiting --timer--> connecting --onOpen, hello--> open --onClose, silence, nonsense--> waiting (back-off, next server)
//
// Sockets, time and chance are arguments, so that test/simulation runs it as it is. What it learns goes to the ConfigPlane, one
// message after the other: a manifest is checked and compiled before the next message is read.

import { type DecisionAnswer, SPEAKS_DECISIONS } from "../api/decisions.ts";
import type { EdgeReport } from "../api/edges.ts";
import { type GossipView, SPEAKS_GOSSIP } from "../api/gossip.ts";
import type {
  AgentMessage,
  Manifest,
  ServerMessage,
  SignedManifest,
  Unit,
} from "../api/session.ts";
import { Backoff } from "../base/backoff.ts";
import type { Clock, Random, Timer, Timers } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import type { Result } from "../base/result.ts";
import { type ConfigPlane, reasonsOf } from "./config-plane.ts";
import { parseServerMessage } from "./server-messages.ts";

export interface Connection {
  send(text: string): void;
  ping(): void;
  /** onClose need not follow. */
  close(): void;
}
export interface ConnectionEvents {
  /** The server's certificate and SPIFFE ID have been checked. */
  onOpen(): void;
  onText(text: string): void;
  onPong(): void;
  /** Last event; also of a connection that never opened. */
  onClose(reason: string): void;
}
export interface Transport {
  /** Events never come inside this call. */
  connect(serverUrl: string, events: ConnectionEvents): Connection;
}

export interface SessionConfig {
  readonly host: string;
  readonly agentVersion: string;
  /** `apiVersion/kind` of what we compile. */
  readonly runs: readonly string[];
  /** https URLs; tried in turn. */
  readonly servers: readonly string[];
}

export interface SessionDeps {
  readonly transport: Transport;
  readonly plane: ConfigPlane;
  verify(signed: SignedManifest): Promise<Result<Manifest, string>>;
  /** Undefined: this host takes no part, and says so. */
  onGossip?: ((view: GossipView) => void) | undefined;
  /** Of what this host refused; undefined: it cannot be asked, and says so. */
  explain?: ((id: string) => Promise<Result<DecisionAnswer, string>>) | undefined;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly random: Random;
  readonly log: Log;
}

export const RECONNECT_BASE_MS = 100;
export const RECONNECT_MAX_MS = 10_000;
export const CONNECT_TIMEOUT_MS = 5_000;
export const PING_INTERVAL_MS = 1_000;
/** Silence, pongs included, after which the server is taken for dead: noticed within 3 s, the interval included. */
export const SILENCE_MAX_MS = 2_000;
/** Units that came before their manifest. */
export const ARRIVED_BYTES_MAX = 256 * 1_048_576;
const NACK_REASONS_MAX = 32;
const NACK_REASON_CHARS_MAX = 1_024;

export interface SessionStatus {
  readonly state: "stopped" | "waiting" | "connecting" | "open";
  readonly server: string | undefined;
  /** Monotonic; since when the state holds. */
  readonly sinceMs: number;
  readonly lastError: string | undefined;
  readonly lastNack: readonly string[] | undefined;
}

/** One connection's own things: what belongs to an earlier one can never be taken for this one's. */
interface Attempt {
  connection: Connection | undefined;
  readonly arrived: Map<string, Unit>;
  arrivedBytes: number;
  heardAtMs: number;
  work: Promise<void>;
}

export class ServerSession {
  readonly #config: SessionConfig;
  readonly #deps: SessionDeps;
  readonly #backoff: Backoff;
  #attempt: Attempt | undefined;
  #timer: Timer | undefined;
  #serverAt = 0;
  #status: SessionStatus = {
    state: "stopped",
    server: undefined,
    sinceMs: 0,
    lastError: undefined,
    lastNack: undefined,
  };

  constructor(config: SessionConfig, deps: SessionDeps) {
    this.#config = config;
    this.#deps = deps;
    this.#backoff = new Backoff(
      { baseMs: RECONNECT_BASE_MS, maxMs: RECONNECT_MAX_MS },
      deps.random,
    );
  }

  get status(): SessionStatus {
    return this.#status;
  }

  start(): void {
    if (this.#status.state === "stopped") this.#connect();
  }

  stop(): void {
    this.#attempt?.connection?.close();
    this.#attempt = undefined;
    this.#timer?.cancel();
    this.#become({ state: "stopped", server: undefined });
  }

  /** Ends the connection and makes a new one at once, e.g. with a renewed certificate. */
  reconnect(): void {
    if (this.#status.state === "stopped") return;
    this.#attempt?.connection?.close();
    this.#attempt = undefined;
    this.#timer?.cancel();
    this.#connect();
  }

  /** False: nobody is there to hear it; it is not kept for later. */
  report(report: EdgeReport): boolean {
    const attempt = this.#attempt;
    if (attempt === undefined || this.#status.state !== "open") return false;
    this.#say(attempt, report);
    return true;
  }

  #connect(): void {
    const { servers } = this.#config;
    const server = servers[this.#serverAt % servers.length];
    if (server === undefined) return; // A token without servers is refused when it is read.
    const nowMs = this.#deps.clock.nowMs();
    const attempt: Attempt = {
      connection: undefined,
      arrived: new Map(),
      arrivedBytes: 0,
      heardAtMs: nowMs,
      work: Promise.resolve(),
    };
    this.#attempt = attempt;
    this.#become({ state: "connecting", server });
    this.#timer = this.#deps.timers.after(CONNECT_TIMEOUT_MS, () =>
      this.#fail(attempt, `no answer within ${CONNECT_TIMEOUT_MS} ms`),
    );
    attempt.connection = this.#deps.transport.connect(server, {
      onOpen: () => this.#greet(attempt),
      onText: (text) => this.#hear(attempt, text),
      onPong: () => {
        attempt.heardAtMs = this.#deps.clock.nowMs();
      },
      onClose: (reason) => this.#fail(attempt, reason),
    });
  }

  #greet(attempt: Attempt): void {
    if (this.#attempt !== attempt) return;
    const { host, agentVersion, runs } = this.#config;
    const { plane, clock, log } = this.#deps;
    this.#become({ state: "open", server: this.#status.server, lastError: undefined });
    log.info("connected to the config server", { server: this.#status.server });
    attempt.heardAtMs = clock.nowMs();
    const units = plane.unitHashes;
    const { onGossip, explain } = this.#deps;
    const speaks = [
      ...(onGossip === undefined ? [] : [SPEAKS_GOSSIP]),
      ...(explain === undefined ? [] : [SPEAKS_DECISIONS]),
    ];
    const hello = { type: "hello", agentVersion, host, runs, ...plane.position, units } as const;
    this.#say(attempt, speaks.length === 0 ? hello : { ...hello, speaks });
    this.#keepAlive(attempt);
  }

  #keepAlive(attempt: Attempt): void {
    this.#timer?.cancel();
    const dueMs = this.#deps.clock.nowMs() + PING_INTERVAL_MS;
    this.#timer = this.#deps.timers.after(PING_INTERVAL_MS, () => {
      if (this.#attempt !== attempt) return;
      // Time in which this thread could not listen (it compiled) is not the server's silence.
      attempt.heardAtMs += this.#deps.clock.nowMs() - dueMs;
      const silentMs = this.#deps.clock.nowMs() - attempt.heardAtMs;
      if (silentMs >= SILENCE_MAX_MS) {
        this.#fail(attempt, `silent for ${Math.round(silentMs)} ms`);
        return;
      }
      // A connection that lasted is worth a fresh back-off, even if nothing changed meanwhile.
      if (this.#deps.clock.nowMs() - this.#status.sinceMs > RECONNECT_MAX_MS) this.#backoff.reset();
      attempt.connection?.ping();
      this.#keepAlive(attempt);
    });
  }

  #hear(attempt: Attempt, text: string): void {
    if (this.#attempt !== attempt) return;
    attempt.heardAtMs = this.#deps.clock.nowMs();
    const message = parseServerMessage(text);
    if (!message.ok) {
      this.#fail(attempt, `the server sent nonsense: ${message.error}`);
      return;
    }
    // One after the other, each a task of its own with its one catch.
    attempt.work = attempt.work.then(async () => {
      if (this.#attempt !== attempt) return;
      try {
        await this.#take(attempt, message.value);
      } catch (cause) {
        this.#fail(
          attempt,
          `a message failed: ${cause instanceof Error ? cause.message : "unknown"}`,
        );
      }
    });
  }

  async #take(attempt: Attempt, message: ServerMessage): Promise<void> {
    if (message.type === "units") this.#gather(attempt, message.units);
    else if (message.type === "manifest") await this.#judge(attempt, message.manifest);
    else if (message.type === "gossip") this.#deps.onGossip?.(message.gossip);
    else void this.#explain(attempt, message.turn, message.id); // versions do not wait for it
  }

  async #explain(attempt: Attempt, turn: number, id: string): Promise<void> {
    const { explain, log } = this.#deps;
    if (explain === undefined) return;
    try {
      const found = await explain(id);
      const reply = found.ok ? { answer: found.value } : { error: found.error };
      this.#say(attempt, { type: "decision", turn, ...reply });
    } catch (cause) {
      log.error("a decision cannot be explained: this is a bug", { cause: String(cause) });
      this.#say(attempt, { type: "decision", turn, error: "the agent failed at it: see its log" });
    }
  }

  #gather(attempt: Attempt, units: readonly Unit[]): void {
    for (const unit of units) {
      if (attempt.arrived.has(unit.hash)) continue;
      attempt.arrived.set(unit.hash, unit);
      attempt.arrivedBytes += unit.body.length;
    }
    if (attempt.arrivedBytes > ARRIVED_BYTES_MAX) this.#fail(attempt, "units without end");
  }

  async #judge(attempt: Attempt, signed: SignedManifest): Promise<void> {
    const verified = await this.#deps.verify(signed);
    if (this.#attempt !== attempt) return;
    if (!verified.ok) {
      // Without a believed manifest there is no version to answer for: whoever sent it is not our server.
      this.#deps.log.error("a manifest is refused", { reason: verified.error });
      this.#fail(attempt, verified.error);
      return;
    }
    const manifest = verified.value;
    const { epoch, version } = manifest;
    const accepted = await this.#deps.plane.accept(manifest, signed, attempt.arrived);
    if (!accepted.ok && accepted.error.is === "unit_missing") {
      this.#fail(attempt, `${accepted.error.count} units of version ${version} are missing`);
      return;
    }
    attempt.arrived.clear();
    attempt.arrivedBytes = 0;
    if (accepted.ok) {
      this.#backoff.reset();
      this.#status = { ...this.#status, lastNack: undefined };
      this.#say(attempt, { type: "ack", epoch, version });
      return;
    }
    const reasons = reasonsOf(accepted.error)
      .slice(0, NACK_REASONS_MAX)
      .map((reason) => reason.slice(0, NACK_REASON_CHARS_MAX));
    this.#status = { ...this.#status, lastNack: reasons };
    this.#deps.log.error("a version is refused, the last good one goes on", {
      epoch,
      version,
      reasons,
    });
    this.#say(attempt, { type: "nack", epoch, version, reasons });
  }

  #say(attempt: Attempt, message: AgentMessage): void {
    if (this.#attempt === attempt) attempt.connection?.send(JSON.stringify(message));
  }

  #fail(attempt: Attempt, reason: string): void {
    if (this.#attempt !== attempt) return;
    this.#attempt = undefined;
    attempt.connection?.close();
    this.#timer?.cancel();
    const { server } = this.#status;
    const afterMs = Math.round(this.#backoff.nextMs());
    // Told once; that it is still so is no news.
    const level = this.#status.lastError === undefined ? "warn" : "debug";
    const message = "no config server; the last good version goes on";
    this.#deps.log[level](message, { server, reason, afterMs });
    this.#serverAt = (this.#serverAt + 1) % this.#config.servers.length;
    this.#become({ state: "waiting", server: undefined, lastError: reason });
    this.#timer = this.#deps.timers.after(afterMs, () => this.#connect());
  }

  #become(change: Pick<SessionStatus, "state" | "server"> & Partial<SessionStatus>): void {
    this.#status = { ...this.#status, ...change, sinceMs: this.#deps.clock.nowMs() };
  }
}
