// One connected agent, from its hello to its end.
//
//   greeting --hello--> current <--ack, nack-- awaiting
//                          |                      ^
//                          +--offer--> sending ---+          any --silence, nonsense, replaced--> closed
//
// Only one version is under way at a time: what is published meanwhile is sent when the agent has answered, the newest only.
// Messages are sent one after the other, each when the socket has taken the last, so a slow agent holds at most one.

import { SPEAKS_DECISIONS } from "../../agent/api/decisions.ts";
import type { EdgeReport } from "../../agent/api/edges.ts";
import { SPEAKS_GOSSIP } from "../../agent/api/gossip.ts";
import type { AgentMessage, ServerMessage, SignedManifest, Unit } from "../../agent/api/session.ts";
import { UNIT_BYTES_MAX, UNITS_PER_MESSAGE_MAX } from "../../agent/api/session.ts";
import type { Clock, Timer, Timers } from "../../agent/base/clock.ts";
import type { Log } from "../../agent/base/log.ts";
import type { Position } from "../store/store.ts";
import { parseAgentMessage } from "./agent-messages.ts";
import { type DecisionFound, DecisionQuestions } from "./decision-questions.ts";
import type { GossipPool } from "./gossip-pool.ts";
import type { Publication } from "./units.ts";

/** How long an agent may take to say hello. */
export const HELLO_TIMEOUT_MS = 10_000;
/** How long an agent may take to receive a version and answer it; slower ones are dropped and start again. */
export const ANSWER_TIMEOUT_MS = 30_000;

/** WebSocket close codes of ours (RFC 6455 7.4.2 leaves 4000-4999 to applications). */
export const CLOSE = { nonsense: 4400, notEntitled: 4403, tooSlow: 4408, replaced: 4409 } as const;

export interface SessionSocket {
  /** Resolves when the bytes are out of our hands; rejects when the connection is gone. */
  send(text: string): Promise<void>;
  close(code: number, reason: string): void;
}

export interface ManifestSigner {
  sign(payload: string): Promise<SignedManifest>;
}

export type SessionState = "greeting" | "current" | "sending" | "awaiting" | "closed";

export interface SessionDeps {
  readonly socket: SessionSocket;
  readonly signer: ManifestSigner;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Log;
  latest(): Publication | undefined;
  readonly heard?: (host: string, report: EdgeReport) => void;
  readonly gossip: GossipPool;
  /** After hello, ack, nack and at the end. */
  changed(session: AgentSession): void;
}

export interface Nack extends Position {
  readonly reasons: readonly string[];
  readonly atMs: number;
}

/** Whose session it is, as its connection proved. */
export interface AgentPeer {
  readonly host: string;
  readonly remoteAddress: string | undefined;
  /** Where it reached this server. */
  readonly localAddress?: string | undefined;
}

export class AgentSession {
  /** The host that the connection's certificate proved. */
  readonly host: string;
  readonly remoteAddress: string | undefined;
  readonly #localAddress: string | undefined;
  readonly #deps: SessionDeps;
  #state: SessionState = "greeting";
  #deadline: Timer;
  #known = new Set<string>();
  #offered: { readonly publication: Publication; readonly units: readonly Unit[] } | undefined;
  #acked: Position | undefined;
  #nack: Nack | undefined;
  #runs: readonly string[] = [];
  #agentVersion = "";
  #speaksGossip = false;
  #gossipTurn = -1;
  #speaksDecisions = false;
  readonly #questions: DecisionQuestions;

  constructor(who: AgentPeer, deps: SessionDeps) {
    this.host = who.host;
    this.#localAddress = who.localAddress;
    this.remoteAddress = who.remoteAddress;
    this.#deps = deps;
    this.#questions = new DecisionQuestions(deps.timers);
    this.#deadline = deps.timers.after(HELLO_TIMEOUT_MS, () =>
      this.close(CLOSE.tooSlow, "no hello in time"),
    );
  }

  get state(): SessionState {
    return this.#state;
  }
  get acked(): Position | undefined {
    return this.#acked;
  }
  get nack(): Nack | undefined {
    return this.#nack;
  }
  get runs(): readonly string[] {
    return this.#runs;
  }
  get agentVersion(): string {
    return this.#agentVersion;
  }

  receive(text: string): void {
    if (this.#state === "closed") return;
    const message = parseAgentMessage(text);
    if (!message.ok) this.close(CLOSE.nonsense, message.error);
    else if (message.value.type === "hello") this.#greet(message.value);
    else if (message.value.type === "edges") this.#hear(message.value);
    else if (message.value.type === "decision") this.#questions.heard(message.value);
    else this.#answer(message.value);
  }

  #hear(report: EdgeReport): void {
    if (this.#state === "greeting") this.close(CLOSE.nonsense, "traffic before hello");
    else this.#deps.heard?.(this.host, report);
  }

  /** A new version may be there; sent now, or when the one under way is answered. */
  offer(): void {
    if (this.#state !== "current") return;
    const publication = this.#deps.latest();
    if (publication === undefined || publication === this.#offered?.publication) return;
    this.#state = "sending";
    this.#deadline = this.#deps.timers.after(ANSWER_TIMEOUT_MS, () =>
      this.close(CLOSE.tooSlow, "no answer to a version in time"),
    );
    void this.#send(publication);
  }

  /** The pool or its keys may have changed; the newest only. */
  offerGossip(): void {
    const { gossip } = this.#deps;
    const isListening = this.#state !== "greeting" && this.#state !== "closed";
    if (!isListening || !this.#speaksGossip || gossip.turn === this.#gossipTurn) return;
    this.#gossipTurn = gossip.turn;
    const view = gossip.viewFor(this.host, this.#localAddress);
    if (view === undefined) return;
    this.#tell({ type: "gossip", gossip: view }).catch((cause: unknown) =>
      this.close(1011, `sending failed: ${cause instanceof Error ? cause.message : "unknown"}`),
    );
  }

  close(code: number, reason: string): void {
    if (this.#state === "closed") return;
    this.#deps.log.warn("agent session closed", { host: this.host, code, reason });
    this.#deps.socket.close(code, reason.slice(0, 120));
    this.ended();
  }

  /** The connection is gone. */
  ended(): void {
    if (this.#state === "closed") return;
    this.#state = "closed";
    this.#deadline.cancel();
    this.#questions.end();
    this.#deps.changed(this);
  }

  /** Undefined: its agent is too old to be asked. */
  explain(id: string): Promise<DecisionFound> | undefined {
    if (!this.#speaksDecisions || this.#state === "closed") return undefined;
    return this.#questions.ask(id, (question) => {
      this.#tell(question).catch((cause: unknown) =>
        this.close(1011, `sending failed: ${cause instanceof Error ? cause.message : "unknown"}`),
      );
    });
  }

  #greet(hello: Extract<AgentMessage, { type: "hello" }>): void {
    if (this.#state !== "greeting") {
      this.close(CLOSE.nonsense, "a second hello");
      return;
    }
    if (hello.host !== this.host) {
      this.close(CLOSE.notEntitled, "hello names another host than the certificate");
      return;
    }
    this.#runs = hello.runs;
    this.#agentVersion = hello.agentVersion;
    this.#speaksGossip = hello.speaks?.includes(SPEAKS_GOSSIP) ?? false;
    this.#speaksDecisions = hello.speaks?.includes(SPEAKS_DECISIONS) ?? false;
    this.#known = new Set(hello.units);
    this.#deadline.cancel();
    this.#state = "current";
    this.#resume(hello);
    this.#deps.changed(this);
    this.offerGossip();
    this.offer();
  }

  /** An agent that has all of the newest version needs no push: a server that restarts meets its agents without a storm. */
  #resume({ epoch, version }: Position): void {
    const publication = this.#deps.latest();
    if (publication === undefined) return;
    const { position } = publication;
    if (epoch === position.epoch && version > position.version) {
      this.#deps.log.error(
        "agent runs a newer version than this server has, so it will refuse ours: was the state directory restored from an older copy? Then start `meshctl server --new-epoch` once",
        { host: this.host, agentVersion: version, serverVersion: position.version },
      );
    }
    if (epoch !== position.epoch || version !== position.version) return;
    const units = publication.unitsFor(this.host);
    if (units.length !== this.#known.size || !units.every((u) => this.#known.has(u.hash))) return;
    this.#offered = { publication, units };
    this.#acked = position;
  }

  async #send(publication: Publication): Promise<void> {
    const units = publication.unitsFor(this.host);
    this.#offered = { publication, units };
    try {
      for (const batch of batches(units.filter((unit) => !this.#known.has(unit.hash)))) {
        await this.#tell({ type: "units", units: batch });
      }
      const { epoch, version } = publication.position;
      const payload = JSON.stringify({
        epoch,
        version,
        host: this.host,
        units: units.map((unit) => unit.hash),
        issuedAtMs: this.#deps.clock.wallMs(),
      });
      const manifest = await this.#deps.signer.sign(payload);
      // The answer can be here before send() resolves.
      if (this.#state === "sending") this.#state = "awaiting";
      await this.#tell({ type: "manifest", manifest });
    } catch (cause) {
      this.close(1011, `sending failed: ${cause instanceof Error ? cause.message : "unknown"}`);
    }
  }

  #tell(message: ServerMessage): Promise<void> {
    return this.#state === "closed"
      ? Promise.resolve()
      : this.#deps.socket.send(JSON.stringify(message));
  }

  #answer(answer: Extract<AgentMessage, { type: "ack" | "nack" }>): void {
    const offered = this.#offered;
    const { epoch, version } = offered?.publication.position ?? { epoch: -1, version: -1 };
    if (
      this.#state !== "awaiting" ||
      offered === undefined ||
      answer.epoch !== epoch ||
      answer.version !== version
    ) {
      this.close(CLOSE.nonsense, "an answer to what was not sent");
      return;
    }
    this.#deadline.cancel();
    if (answer.type === "ack") {
      this.#acked = { epoch, version };
      this.#nack = undefined;
      this.#known = new Set(offered.units.map((unit) => unit.hash));
    } else {
      // What it kept of a refused version is its affair: what this session sent since the last ack is sent again.
      const { reasons } = answer;
      this.#nack = { epoch, version, reasons, atMs: this.#deps.clock.wallMs() };
      this.#deps.log.warn("agent refused a version", { host: this.host, version, reasons });
    }
    this.#state = "current";
    this.#deps.changed(this);
    this.offer();
  }
}

/** Bounded in count and bytes, so that no message comes near MESSAGE_BYTES_MAX. */
function* batches(units: readonly Unit[]): Generator<readonly Unit[]> {
  let batch: Unit[] = [];
  let chars = 0;
  for (const unit of units) {
    if (
      batch.length > 0 &&
      (batch.length === UNITS_PER_MESSAGE_MAX || chars + unit.body.length > UNIT_BYTES_MAX)
    ) {
      yield batch;
      batch = [];
      chars = 0;
    }
    batch.push(unit);
    chars += unit.body.length;
  }
  if (batch.length > 0) yield batch;
}
