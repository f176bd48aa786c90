// The form of an agent's answer about a decision: every text and list bounded, nothing unknown. What it says of its own policies is its word.
import * as z from "zod";
import {
  CHANGES_MAX,
  SHOWN_ALTERNATIVES_MAX,
  SHOWN_PATTERNS_MAX,
  SHOWN_POLICIES_MAX,
  SHOWN_RULES_MAX,
} from "../../agent/api/explain.ts";

const NOTES_MAX = 64;

/** Policies may hold long patterns; the whole message has its own bound. */
const text = z.string().max(8_192);
const name = z.string().max(1_024);
/** SPIFFE-ID.md 2.3 */
const identity = z.string().max(2_048);
const count = z.int().nonnegative();

const clause = z.strictObject({
  path: name,
  has: z.array(text).max(SHOWN_PATTERNS_MAX),
  omitted: count,
  asked: text,
});

/** Alternatives of operations, and conditions behind them. */
const CLAUSES_MAX = SHOWN_ALTERNATIVES_MAX;
const rule = z.strictObject({
  path: name,
  outcome: z.enum(["match", "no_match", "unknown"]),
  clauses: z.array(clause).max(CLAUSES_MAX),
});

const step = z.strictObject({
  kind: z.enum(["PeerAuthentication", "AuthorizationPolicy", "RateLimit"]),
  name: name.optional(),
  says: name,
  outcome: z.enum(["passes", "allows", "refuses", "no_match", "counts", "unknown"]),
  rules: z.array(rule).max(SHOWN_RULES_MAX),
  rulesOmitted: count,
});

const change = z.strictObject({
  kind: z.enum(["AuthorizationPolicy", "PeerAuthentication", "RateLimit"]),
  name,
  edit: z.enum(["add", "set", "create"]),
  path: name,
  value: z.json(),
  widens: text.optional(),
});

const request = { method: name, path: text, host: name };

const explanation = z.strictObject({
  verdict: z.enum(["allowed", "denied"]),
  reason: text,
  asked: z.strictObject({
    from: z.strictObject({ identity: identity.optional(), address: name.optional() }),
    to: z.strictObject({
      workload: name,
      identity: identity.optional(),
      port: count,
      service: name.optional(),
      serverName: name.optional(),
    }),
    request: z.strictObject(request).optional(),
  }),
  // PeerAuthentication, policies, limits.
  steps: z.array(step).max(1 + 2 * SHOWN_POLICIES_MAX),
  admit: z.array(change).max(CHANGES_MAX),
  notes: z.array(text).max(NOTES_MAX),
});

const record = z.strictObject({
  id: name,
  cause: z.enum(["authorization", "peer_authentication", "rate_limit", "connection"]),
  by: text,
  firstAtMs: z.number(),
  lastAtMs: z.number(),
  times: count,
  epoch: count,
  version: count,
  from: z.strictObject({ identity: identity.optional(), address: name }),
  to: z.strictObject({
    workload: name.optional(),
    service: name.optional(),
    address: name,
    port: count,
    serverName: name.optional(),
  }),
  request: z
    .strictObject({
      ...request,
      headers: z.array(z.tuple([name, name])).max(NOTES_MAX),
      notKept: z.array(name).max(NOTES_MAX * 2),
    })
    .optional(),
});

const answer = z.strictObject({
  host: name,
  record,
  reason: text,
  next: text.optional(),
  explanation: explanation.optional(),
  now: explanation.optional(),
});

export const decisionReply = z.strictObject({
  type: z.literal("decision"),
  turn: count,
  answer: answer.optional(),
  /** Why there is none, with what to do. */
  error: text.optional(),
});
