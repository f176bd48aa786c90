// Header names, values and edits, and retry conditions: the small HTTP grammars inside routing rules.
import * as z from "zod";
import { bytesOf } from "../base/bytes.ts";
import { across, fields, list } from "./schema-parts.ts";

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const VALUE = /^[\t\x20-\x7e\x80-\uffff]*$/;

/** RFC 9110 5.1. Istio's `@request.auth.claims` routes by JWT and comes with RequestAuthentication. */
export const headerName = z.string().refine((name) => TOKEN.test(name), {
  error: (issue) =>
    String(issue.input).startsWith("@request.auth.claims")
      ? "is not supported yet: routing by JWT claims"
      : "must be a header name",
});

/** Headers that frame the message or the connection: editing them would desynchronise both ends. */
const FRAMING = new Set([
  "host",
  "content-length",
  "transfer-encoding",
  "connection",
  "keep-alive",
  "upgrade",
  "te",
  "trailer",
  "proxy-connection",
]);
const editableHeader = headerName.refine((name) => !FRAMING.has(name.toLowerCase()), {
  error: (issue) =>
    String(issue.input).toLowerCase() === "host"
      ? "cannot be edited here: use rewrite.authority"
      : "cannot be edited: it frames the message",
});

/** A field value (RFC 9110 5.5) without line ends. */
export const headerText = z.string().refine((value) => VALUE.test(value) && value.length <= 8192, {
  error: "must be a header value: no line ends or control characters, at most 8192 characters",
});

const headerValue = headerText.refine((value) => !value.includes("%"), {
  error: "is not supported yet: `%` begins a command operator of Envoy",
});

/** uri-host [ ":" port ] (RFC 9110 7.2), without userinfo. */
const AUTHORITY = /^(?:[A-Za-z0-9._~!$&'()*+,;=-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?$/;
export const authorityText = z
  .string()
  .refine((value) => AUTHORITY.test(value) && value.length <= 261, {
    error: "must be a host, perhaps with a port, such as `reviews` or `reviews.default.mesh:9080`",
  });

/** What the data path has room for beside its own fields, for a route and its destination together; as bytes. */
const EDITS_BYTES_MAX = 3_500;
type Edits = { readonly [name: string]: string } | undefined;
const bytesOfEdits = (edits: Edits): number =>
  Object.entries(edits ?? {}).reduce((sum, [n, v]) => sum + bytesOf(n + v).length + 4, 0);

const edits = fields(
  {
    set: z
      .record(editableHeader, headerValue)
      .optional()
      .describe("Header to value; replaces what is there."),
    add: z
      .record(editableHeader, headerValue)
      .optional()
      .describe("Header to value; appended to what is there."),
    remove: list(editableHeader).optional().describe("Headers that are taken out."),
  },
  { named: "HeaderEdits" },
).check(
  across(({ set, add }, report) => {
    const bytes = bytesOfEdits(set) + bytesOfEdits(add);
    if (bytes > EDITS_BYTES_MAX)
      report(`set and add ${bytes} bytes of headers together; at most ${EDITS_BYTES_MAX}`);
  }),
);

export const headerOperations = fields(
  {
    request: edits.optional().describe("Edits on the way to the upstream."),
    response: edits.optional().describe("Edits on the way back to the client."),
  },
  { named: "HeaderOperations" },
);
export type HeaderOperationsSpec = z.infer<typeof headerOperations>;

/** What the proxy can tell apart; the gRPC words read the `grpc-status` of a response head. */
export const RETRY_CONDITIONS = [
  "5xx",
  "gateway-error",
  "reset",
  "connect-failure",
  "refused-stream",
  "retriable-4xx",
  "retriable-status-codes",
  "unavailable",
  "cancelled",
  "deadline-exceeded",
  "internal",
  "resource-exhausted",
] as const;
const RETRY_NOT_YET = [
  "envoy-ratelimited",
  "retriable-headers",
  "reset-before-request",
  "http3-post-connect-failure",
];

export const retryOn = z.string().check((context) => {
  for (const word of context.value.split(",").map((part) => part.trim())) {
    const reason = retryReason(word);
    if (reason !== undefined)
      context.issues.push({ code: "custom", message: reason, input: word, continue: true });
  }
});

function retryReason(word: string): string | undefined {
  if (RETRY_CONDITIONS.some((known) => known === word)) return undefined;
  if (/^[0-9]+$/.test(word))
    return Number(word) >= 100 && Number(word) <= 599
      ? undefined
      : `has ${word}, which is not a status from 100 to 599`;
  if (RETRY_NOT_YET.includes(word)) return `has \`${word}\`, which is not supported yet`;
  return `has ${JSON.stringify(word)}, which is not a retry condition; known are ${RETRY_CONDITIONS.join(", ")} and status codes`;
}
