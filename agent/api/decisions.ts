// Decisions: what was refused, by whom, and the id under which it can be asked about. An id is in the answer (x-ironmesh-decision), in the
// agent's log and in its access log; the record behind it stays on the host that refused (agent/observe/decision-book.ts).
import type { Explanation } from "./explain.ts";

/** What an agent says in its hello when it can be asked about decisions. */
export const SPEAKS_DECISIONS = "decisions/1";
/** An answer as JSON; a longer one comes with fewer rules. */
export const DECISION_ANSWER_CHARS_MAX = 262_144;

/** `connection`: no policy, but what the agent serves and how much of it; `by` is then the word in
 *  `ironmesh_connections_refused_total`. */
export type DecisionCause = "authorization" | "peer_authentication" | "rate_limit" | "connection";

/** The same call refused again by the same policies in the same version is the same decision, and has the same id. */
export interface DecisionRecord {
  readonly id: string;
  readonly cause: DecisionCause;
  /** The policies, as `NAMESPACE/NAME, ...`; the limit; or the reason's word. */
  readonly by: string;
  /** Unix milliseconds. */
  readonly firstAtMs: number;
  readonly lastAtMs: number;
  readonly times: number;
  /** Of the configuration by which it was decided. */
  readonly epoch: number;
  readonly version: number;
  readonly from: {
    /** SPIFFE ID by mTLS; absent: plaintext, or a process of this host. */
    readonly identity?: string | undefined;
    readonly address: string;
  };
  readonly to: {
    /** `NAMESPACE/NAME` */
    readonly workload?: string | undefined;
    readonly service?: string | undefined;
    readonly address: string;
    readonly port: number;
    /** Of the ClientHello of a connection; absent: it named none, or was not looked for. */
    readonly serverName?: string | undefined;
  };
  /** Absent: a connection. */
  readonly request?:
    | {
        readonly method: string;
        /** Without its query. */
        readonly path: string;
        readonly host: string;
        /** Those that a clause of a policy asks for. */
        readonly headers: readonly (readonly [name: string, value: string])[];
        /** Of those, and of `:path` and `:authority`: what was too long to keep, or by its name a secret. */
        readonly notKept: readonly string[];
      }
    | undefined;
}

/** GET /decisions/ID on an agent's admin socket, GET /v1/decisions/ID on the server. */
export interface DecisionAnswer {
  /** The host whose agent refused. */
  readonly host: string;
  readonly record: DecisionRecord;
  /** One sentence. */
  readonly reason: string;
  /** What to do; absent where the explanation says it. */
  readonly next?: string | undefined;
  /** Clause by clause, by the policies of that moment; absent: they are not kept any more, or none decided. */
  readonly explanation?: Explanation | undefined;
  /** The same call by the policies that hold now; absent: they are the same, or none decided. */
  readonly now?: Explanation | undefined;
}

// ---- ids: TAG-NONCE-COUNT in Crockford's base 32. The tag leads to the host without telling its name, the nonce is of a data thread's life.

const DIGITS = "0123456789abcdefghjkmnpqrstvwxyz";
const ID = /^([0-9a-hjkmnp-tv-z]{6})-[0-9a-hjkmnp-tv-z]{5}-[0-9a-hjkmnp-tv-z]{1,10}$/;

/** `value` as that many digits at least. */
export function base32(value: number, digits: number): string {
  let text = "";
  for (let left = value; left > 0 || text.length < digits; left = Math.floor(left / 32))
    text = DIGITS.charAt(left % 32) + text;
  return text;
}

/** 30 bits of FNV-1a. Two hosts may share one: both are asked then. */
export function hostTag(host: string): string {
  let hash = 0x811c9dc5;
  for (let i = 0; i < host.length; i++)
    hash = Math.imul(hash ^ host.charCodeAt(i), 0x01000193) >>> 0;
  return base32(hash % 2 ** 30, 6);
}

/** The tag of the host whose decision it is; undefined: no id. */
export const tagOf = (id: string): string | undefined => ID.exec(id)?.[1];
