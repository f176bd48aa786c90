// ironmesh.dev/v1 RateLimit: how many requests a workload takes, in all or of each caller. Ours, since Istio has none: its users write
// Envoy's local rate limit filter into an EnvoyFilter. Words and shapes are AuthorizationPolicy's where they mean the same.
import * as z from "zod";
import { parseDuration } from "./duration.ts";
import { across, atLeast, dnsLabel, duration, fields, filledList } from "./schema-parts.ts";
import { operation, selector } from "./security.ts";

/** Most tokens a bucket holds: its arithmetic is done in 32 bits. */
const BURST_MAX = 1_000_000;
/** From empty to full, and so how long a caller is remembered. */
const REFILL_MS_MAX = 86_400_000;
const HEADER_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,128}$/;

const by = fields({
  identity: z
    .literal(true, { error: "must be true, or left out" })
    .optional()
    .describe(
      "Each source identity (SPIFFE ID) has a bucket of its own; callers in plaintext share one.",
    ),
  header: z
    .string()
    .regex(HEADER_NAME, { error: "must be the name of a header" })
    .optional()
    .describe(
      "Each value of this request header has a bucket of its own; requests without it share one, and so do datagrams. Callers choose what they send: combine it with `identity` where they are not trusted.",
    ),
}).check(
  across((given, report) => {
    if (given.identity === undefined && given.header === undefined)
      report("must name identity or header or both; without `by` there is one bucket for all");
  }),
);

const limit = fields({
  name: dnsLabel.describe("What the answer, the log and `ironmesh_rate_limited_total` call it."),
  to: filledList(fields({ operation: operation.describe("All that is given must hold.") }))
    .optional()
    .describe(
      "The requests it counts, a route: any of these. Default: every request, and on UDP ports every datagram; an operation of nothing but ports counts datagrams too.",
    ),
  by: by
    .optional()
    .describe("Counts each caller by itself; both given: each pair. Default: all together."),
  requests: atLeast(1).describe("So many requests, or datagrams that come to a UDP port, ..."),
  per: duration
    .optional()
    .describe("... in each such time, evenly: 60 in `1m` is one a second. Default 1s."),
  burst: atLeast(1)
    .optional()
    .describe(
      "Most requests at once after a pause. Default: as `requests`. Lower smooths, higher forgives.",
    ),
}).check(
  across((given, report) => {
    const per = parseDuration(given.per ?? "1s");
    const burst = given.burst ?? given.requests;
    if (burst > BURST_MAX)
      report(`must be at most ${BURST_MAX}`, given.burst === undefined ? "requests" : "burst");
    if (per.ok && (burst / given.requests) * per.value > REFILL_MS_MAX)
      report("must refill within 24h: raise requests, or lower per or burst");
  }),
);

export const rateLimitSpec = fields({
  selector,
  limits: filledList(limit)
    .max(64)
    .check(
      across((limits, report) => {
        const names = limits.map(({ name }) => name);
        names.forEach((name, i) => {
          if (names.indexOf(name) !== i) report(`is named twice: \`${name}\``, i, "name");
        });
      }),
    )
    .describe("Each that counts a request must have room for it."),
});
export type RateLimitSpec = z.infer<typeof rateLimitSpec>;
