// All connected agents and the newest version: publish() tells every session within COALESCE_MS, and at once when nothing was
// published just before, so a single change is never delayed and a burst costs one push.
import type { EdgeReport } from "../../agent/api/edges.ts";
import type { Clock, Timer, Timers } from "../../agent/base/clock.ts";
import type { Log } from "../../agent/base/log.ts";
import type { Position } from "../store/store.ts";
import {
  type AgentPeer,
  AgentSession,
  CLOSE,
  type ManifestSigner,
  type SessionSocket,
} from "./agent-session.ts";
import type { DecisionFound } from "./decision-questions.ts";
import { GossipPool } from "./gossip-pool.ts";
import type { Publication } from "./units.ts";

export const COALESCE_MS = 10;
/** Connected agents; one more is refused. */
export const SESSIONS_MAX = 10_000;

export interface AgentStatus {
  readonly host: string;
  readonly isConnected: boolean;
  readonly agentVersion: string;
  /** The version it last said it runs, in this session or the one before. */
  readonly acked?: Position;
  /** Why it runs an older version than it was sent. */
  readonly nack?: Position & { readonly reasons: readonly string[]; readonly atMs: number };
  readonly since: number;
}

export interface HubDeps {
  /** An agent told of traffic, by the certificate's host; undefined: nobody listens. */
  readonly heard?: (host: string, report: EdgeReport) => void;
  readonly signer: ManifestSigner;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly log: Log;
}

export class Hub {
  readonly gossip = new GossipPool();
  readonly #deps: HubDeps;
  readonly #sessions = new Map<string, AgentSession>();
  readonly #statuses = new Map<string, AgentStatus>();
  readonly #certificateExpiries = new Map<string, number>();
  #latest: Publication | undefined;
  #flushedAtMs = Number.NEGATIVE_INFINITY;
  #pending: Timer | undefined;

  constructor(deps: HubDeps) {
    this.#deps = deps;
    this.gossip.onChange = () => this.#flushSoon();
  }

  get latest(): Publication | undefined {
    return this.#latest;
  }

  /** One session per host: a newer connection replaces the older one. Undefined: the hub is full. */
  connect(who: AgentPeer, socket: SessionSocket): AgentSession | undefined {
    const before = this.#sessions.get(who.host);
    if (before === undefined && this.#sessions.size >= SESSIONS_MAX) return undefined;
    before?.close(CLOSE.replaced, "replaced by a newer session of this host");
    const session = new AgentSession(who, {
      ...this.#deps,
      socket,
      gossip: this.gossip,
      latest: () => this.#latest,
      changed: (changed) => this.#note(changed),
    });
    this.#sessions.set(who.host, session);
    this.#note(session);
    return session;
  }

  publish(publication: Publication): void {
    const members = new Set(publication.hosts.map(({ name }) => name));
    const gone = (this.#latest?.hosts ?? []).filter(({ name }) => !members.has(name));
    this.#latest = publication;
    for (const { name } of gone) this.#forget(name);
    this.gossip.setHosts(publication.hosts);
    this.#flushSoon();
  }

  /** A member no more, whichever server was told so. */
  #forget(host: string): void {
    const session = this.#sessions.get(host);
    this.#sessions.delete(host);
    this.#statuses.delete(host);
    this.#certificateExpiries.delete(host);
    session?.close(CLOSE.notEntitled, "this host is not a member any more");
  }

  #flushSoon(): void {
    if (this.#pending !== undefined) return;
    const waitMs = this.#flushedAtMs + COALESCE_MS - this.#deps.clock.nowMs();
    if (waitMs <= 0) this.#flush();
    else this.#pending = this.#deps.timers.after(waitMs, () => this.#flush());
  }

  /** `apiVersion/kind` -> connected hosts whose agent cannot run it. */
  hostsThatCannotRun(kind: string): string[] {
    return [...this.#sessions.values()]
      .filter(({ state, runs }) => state !== "greeting" && !runs.includes(kind))
      .map(({ host }) => host)
      .sort();
  }

  /** Undefined: no agent of that host is connected. `too_old`: it cannot be asked. */
  explain(host: string, id: string): Promise<DecisionFound> | "too_old" | undefined {
    const session = this.#sessions.get(host);
    if (session === undefined || session.state === "greeting") return undefined;
    return session.explain(id) ?? "too_old";
  }

  get connectedHosts(): string[] {
    return [...this.#sessions.keys()].sort();
  }

  statuses(): AgentStatus[] {
    return [...this.#statuses.values()].sort((a, b) => (a.host < b.host ? -1 : 1));
  }

  /** The host's own certificate, as it was last issued or presented; hosts are bounded by the store. */
  noteCertificate(host: string, expiresAtMs: number): void {
    const before = this.#certificateExpiries.get(host) ?? 0;
    this.#certificateExpiries.set(host, Math.max(before, expiresAtMs));
  }

  certificateExpiryOf(host: string): number | undefined {
    return this.#certificateExpiries.get(host);
  }

  close(): void {
    this.#pending?.cancel();
    for (const session of [...this.#sessions.values()]) session.close(1001, "server is stopping");
  }

  #flush(): void {
    this.#pending = undefined;
    this.#flushedAtMs = this.#deps.clock.nowMs();
    for (const session of [...this.#sessions.values()]) {
      session.offerGossip();
      session.offer();
    }
  }

  #note(session: AgentSession): void {
    if (this.#sessions.get(session.host) !== session) return; // Replaced: its successor speaks for the host.
    const isConnected = session.state !== "closed";
    if (!isConnected) this.#sessions.delete(session.host);
    const before = this.#statuses.get(session.host);
    const acked = session.acked ?? before?.acked;
    const nack = session.acked === undefined ? (session.nack ?? before?.nack) : session.nack;
    this.#statuses.set(session.host, {
      host: session.host,
      isConnected,
      agentVersion: session.agentVersion || (before?.agentVersion ?? ""),
      ...(acked === undefined ? {} : { acked }),
      ...(nack === undefined ? {} : { nack }),
      since:
        before !== undefined && before.isConnected === isConnected
          ? before.since
          : this.#deps.clock.wallMs(),
    });
  }
}
