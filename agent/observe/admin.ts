// The agent's windows: the admin socket for people on the host, and the metrics port for Prometheus and health checks. Both are
// answered by the main thread, which carries no traffic.
import type { AgentCertificate, AgentStatus, LookedUpName } from "../api/admin.ts";
import { ADMIN_PATHS } from "../api/admin.ts";
import type { DecisionAnswer } from "../api/decisions.ts";
import type { MembersAnswer } from "../api/gossip.ts";
import type { Snapshot } from "../policy/snapshot.ts";
import type { AccessLogMode } from "./access-log.ts";

export interface AdminSource {
  status(): AgentStatus;
  snapshot(): Snapshot | undefined;
  certificates(): readonly AgentCertificate[];
  names(): readonly LookedUpName[];
  members(): MembersAnswer;
  metrics(): string;
  /** Serving its snapshot on every thread. */
  isReady(): boolean;
  setAccessLog(mode: AccessLogMode): void;
  /** Returns how many certificates are asked for. */
  renew(): number;
  /** Makes a data thread throw or stall, for tests. */
  fault(thread: number, kind: "throw" | "stall"): "done" | "not_allowed" | "no_such_thread";
}

export interface AdminAnswer {
  readonly status: number;
  readonly contentType: string;
  readonly body: string;
}

const PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8";
const json = (value: unknown): AdminAnswer => ({
  status: 200,
  contentType: "application/json",
  body: `${JSON.stringify(value)}\n`,
});
const text = (status: number, body: string, contentType = "text/plain"): AdminAnswer => ({
  status,
  contentType,
  body,
});

/** For the metrics port: nothing here tells configuration or changes anything. */
export function answerMetrics(source: AdminSource, method: string, path: string): AdminAnswer {
  if (method !== "GET" && method !== "HEAD") return text(405, "GET only\n");
  if (path === ADMIN_PATHS.metrics || path === "/stats/prometheus") {
    return text(200, source.metrics(), PROMETHEUS);
  }
  if (path === ADMIN_PATHS.ready) {
    return source.isReady() ? text(200, "ready\n") : text(503, "no snapshot is served yet\n");
  }
  return text(404, `try ${ADMIN_PATHS.metrics} or ${ADMIN_PATHS.ready}\n`);
}

/** The agent's own executable is started anew, and takes over: see control/upgrade.ts. Answered when it serves. */
export const isUpgrade = (method: string, target: string): boolean =>
  method === "PUT" && target === ADMIN_PATHS.upgrade;

export const upgradeAnswer = (
  outcome:
    | { readonly ok: true; readonly value: number }
    | { readonly ok: false; readonly error: string },
): AdminAnswer => (outcome.ok ? json({ pid: outcome.value }) : text(500, `${outcome.error}\n`));

/** The id that is asked about; undefined: another question. */
export const decisionIn = (method: string, target: string): string | undefined =>
  method === "GET" && target.startsWith(ADMIN_PATHS.decisions)
    ? target.slice(ADMIN_PATHS.decisions.length)
    : undefined;

export const decisionAnswer = (
  found:
    | { readonly ok: true; readonly value: DecisionAnswer }
    | { readonly ok: false; readonly error: string },
): AdminAnswer => (found.ok ? json(found.value) : text(404, `${found.error}\n`));

/** For the admin socket. */
export function answerAdmin(source: AdminSource, method: string, target: string): AdminAnswer {
  // A target such as `//` is no URL, and what is thrown here would end the agent.
  const url = URL.parse(target, "http://admin");
  if (url === null) return text(400, "not a path\n");
  if (method === "PUT") return answerChange(source, url);
  if (method !== "GET") return text(405, "GET only\n");
  if (url.pathname === ADMIN_PATHS.status) return json(source.status());
  if (url.pathname === ADMIN_PATHS.certificates) return json(source.certificates());
  if (url.pathname === ADMIN_PATHS.names) return json(source.names());
  if (url.pathname === ADMIN_PATHS.members) return json(source.members());
  if (url.pathname === ADMIN_PATHS.snapshot) {
    const snapshot = source.snapshot();
    return snapshot === undefined ? text(503, "no snapshot yet\n") : json(snapshot);
  }
  return answerMetrics(source, method, url.pathname);
}

function answerFault(source: AdminSource, words: URLSearchParams): AdminAnswer {
  const kind = words.get("kind");
  const thread = words.get("thread") ?? "";
  if ((kind !== "throw" && kind !== "stall") || !/^[0-9]{1,3}$/.test(thread)) {
    return text(400, "it takes thread=N and kind=throw or kind=stall\n");
  }
  const done = source.fault(Number(thread), kind);
  if (done === "done") return json({ thread: Number(thread), kind });
  return done === "not_allowed"
    ? text(403, "this agent was not started with --test-faults\n")
    : text(404, "there is no such thread\n");
}

function answerChange(source: AdminSource, { pathname, searchParams }: URL): AdminAnswer {
  if (pathname === ADMIN_PATHS.renew) return json({ asked: source.renew() });
  if (pathname === ADMIN_PATHS.fault) return answerFault(source, searchParams);
  if (pathname !== ADMIN_PATHS.accessLog) return text(405, "GET only\n");
  const mode = searchParams.get("mode");
  if (mode !== "off" && mode !== "on" && mode !== "errors") {
    return text(400, "mode must be off, on or errors\n");
  }
  source.setAccessLog(mode);
  return json({ mode });
}
