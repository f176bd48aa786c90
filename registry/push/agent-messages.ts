// What an agent says over its session, parsed once at the door: JSON of bounded size, nothing unknown, nothing coerced.
import * as z from "zod";
import type { AgentMessage } from "../../agent/api/session.ts";
import { err, ok, type Result } from "../../agent/base/result.ts";
import { decisionReply } from "./decision-message.ts";
import { edgeReport } from "./edge-message.ts";

/** Holds a hello with UNITS_KNOWN_MAX hashes. */
export const AGENT_MESSAGE_BYTES_MAX = 2_097_152;
export const UNITS_KNOWN_MAX = 25_000;
const KINDS_MAX = 256;
const SPEAKS_MAX = 32;
/** More reasons than these are counted, not kept: one nack must not fill the server. */
export const NACK_REASONS_MAX = 32;
export const NACK_REASON_CHARS_MAX = 1024;

const position = { epoch: z.int().nonnegative(), version: z.int().nonnegative() };
const message = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("hello"),
    agentVersion: z.string().max(64),
    host: z.string().max(128),
    runs: z.array(z.string().max(128)).max(KINDS_MAX),
    ...position,
    units: z.array(z.string().length(64)).max(UNITS_KNOWN_MAX),
    speaks: z.array(z.string().max(64)).max(SPEAKS_MAX).default([]),
  }),
  z.strictObject({ type: z.literal("ack"), ...position }),
  edgeReport,
  decisionReply,
  z.strictObject({ type: z.literal("nack"), ...position, reasons: z.array(z.string()) }),
]);

export function parseAgentMessage(text: string): Result<AgentMessage, string> {
  if (text.length > AGENT_MESSAGE_BYTES_MAX) return err("message too large");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return err("message is not JSON");
  }
  const parsed = message.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    return err(`message field ${issue?.path.join(".") || "type"}: ${issue?.message ?? "invalid"}`);
  }
  return ok(parsed.data.type === "nack" ? clipped(parsed.data) : parsed.data);
}

type Nack = Extract<AgentMessage, { type: "nack" }>;

function clipped(nack: Nack): Nack {
  const reasons = nack.reasons
    .slice(0, NACK_REASONS_MAX)
    .map((reason) => reason.slice(0, NACK_REASON_CHARS_MAX));
  const more = nack.reasons.length - reasons.length;
  return { ...nack, reasons: more > 0 ? [...reasons, `and ${more} more`] : reasons };
}
