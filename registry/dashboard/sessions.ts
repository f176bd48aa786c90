// Who is logged in to the page: in memory, bounded. The browser holds a random secret in a cookie that scripts cannot read; here is
// its hash. A session ends with its time, with the operator's token, and with the server.
import { createHash } from "node:crypto";
import type { Clock } from "../../agent/base/clock.ts";
import { hashOfSecret, makeSecret } from "../ca/secrets.ts";
import type { OperatorRecord, Store } from "../store/store.ts";

export const SESSION_LIFETIME_MS = 12 * 3_600_000;
/** Without a request or an open page. */
export const SESSION_IDLE_MS = 3_600_000;
/** One more ends the one that was silent for longest. */
export const SESSIONS_MAX = 256;

export interface OperatorSession {
  readonly operator: string;
  /** What a page of ours knows and a page of others does not: asked for where something is opened or changed. */
  readonly csrf: string;
  readonly expiresAtMs: number;
}

interface Kept extends OperatorSession {
  readonly secretSha256: string;
  usedAtMs: number;
}

export class OperatorSessions {
  readonly #deps: { readonly store: Store; readonly clock: Clock };
  /** By the hash of the cookie's secret; the one that was silent for longest comes first. */
  readonly #sessions = new Map<string, Kept>();

  constructor(deps: { readonly store: Store; readonly clock: Clock }) {
    this.#deps = deps;
  }

  /** Returns the cookie's secret. */
  open(operator: OperatorRecord): { readonly secret: string; readonly session: OperatorSession } {
    const nowMs = this.#deps.clock.nowMs();
    for (const [hash, kept] of this.#sessions) {
      if (this.#sessions.size < SESSIONS_MAX && this.#lives(kept, nowMs)) break;
      this.#sessions.delete(hash);
    }
    const secret = makeSecret();
    const session: Kept = {
      operator: operator.name,
      csrf: createHash("sha256").update(`csrf ${secret}`).digest("base64url"),
      expiresAtMs: this.#deps.clock.wallMs() + SESSION_LIFETIME_MS,
      secretSha256: operator.secretSha256,
      usedAtMs: nowMs,
    };
    this.#sessions.set(hashOfSecret(secret), session);
    return { secret, session };
  }

  /** Undefined: there is none, it is over, or its operator's token is not valid any more. Finding it keeps it from idling. */
  async find(secret: string | undefined): Promise<OperatorSession | undefined> {
    if (secret === undefined) return undefined;
    const hash = hashOfSecret(secret);
    const kept = this.#sessions.get(hash);
    if (kept === undefined) return undefined;
    const nowMs = this.#deps.clock.nowMs();
    const operators = await this.#deps.store.operators();
    const isOperator = operators.some(({ secretSha256 }) => secretSha256 === kept.secretSha256);
    if (!this.#sessions.delete(hash)) return undefined; // logged out meanwhile
    if (!isOperator || !this.#lives(kept, nowMs)) return undefined;
    kept.usedAtMs = nowMs;
    this.#sessions.set(hash, kept);
    return kept;
  }

  close(secret: string | undefined): void {
    if (secret !== undefined) this.#sessions.delete(hashOfSecret(secret));
  }

  #lives({ usedAtMs, expiresAtMs }: Kept, nowMs: number): boolean {
    return nowMs - usedAtMs < SESSION_IDLE_MS && this.#deps.clock.wallMs() < expiresAtMs;
  }
}
