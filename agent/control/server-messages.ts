// What the server says over the session, read at the door: bounded, of a known form, every unit's body matching its hash.
import {
  MESSAGE_BYTES_MAX,
  type ServerMessage,
  type SignedManifest,
  UNIT_BYTES_MAX,
  UNITS_PER_MESSAGE_MAX,
  type Unit,
} from "../api/session.ts";
import { err, ok, type Result } from "../base/result.ts";
import { CHAIN_LENGTH_MAX } from "../pki/chain-length.ts";
import { sha256Hex } from "../pki/sha256.ts";
import { parseGossipView } from "./gossip-view.ts";

export function parseServerMessage(text: string): Result<ServerMessage, string> {
  if (text.length > MESSAGE_BYTES_MAX) return err("message too large");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return err("message is not JSON");
  }
  if (typeof value !== "object" || value === null) return err("message is not an object");
  const message = value as { readonly [name: string]: unknown };
  switch (message["type"]) {
    case "units":
      return parseUnits(message["units"]);
    case "manifest":
      return parseSigned(message["manifest"]);
    case "gossip": {
      const gossip = parseGossipView(message["gossip"]);
      return gossip.ok ? ok({ type: "gossip", gossip: gossip.value }) : gossip;
    }
    case "decision":
      return parseQuestion(message);
    default:
      return err("message of an unknown type");
  }
}

const DECISION_ID_CHARS_MAX = 64;

function parseQuestion({
  turn,
  id,
}: {
  readonly [name: string]: unknown;
}): Result<ServerMessage, string> {
  if (typeof turn !== "number" || !Number.isSafeInteger(turn) || turn < 0)
    return err("a decision without its turn");
  if (typeof id !== "string" || id.length > DECISION_ID_CHARS_MAX)
    return err("a decision without its id");
  return ok({ type: "decision", turn, id });
}

function parseUnits(value: unknown): Result<ServerMessage, string> {
  if (!Array.isArray(value) || value.length > UNITS_PER_MESSAGE_MAX)
    return err("too many units at once");
  const units: Unit[] = [];
  for (const entry of value) {
    const { hash, body } = (entry ?? {}) as { readonly [name: string]: unknown };
    if (typeof hash !== "string" || typeof body !== "string")
      return err("a unit without hash or body");
    const bytes = Buffer.from(body, "utf8");
    if (bytes.length > UNIT_BYTES_MAX) return err("a unit is too large");
    if (sha256Hex(bytes) !== hash) return err("a unit's body does not match its hash");
    units.push({ hash, body });
  }
  return ok({ type: "units", units });
}

function parseSigned(value: unknown): Result<ServerMessage, string> {
  const { payload, signature, certificates } = (value ?? {}) as {
    readonly [name: string]: unknown;
  };
  if (typeof payload !== "string" || typeof signature !== "string" || !isTexts(certificates))
    return err("a manifest without payload, signature or certificates");
  const manifest: SignedManifest = { payload, signature, certificates };
  return ok({ type: "manifest", manifest });
}

const isTexts = (value: unknown): value is readonly string[] =>
  Array.isArray(value) &&
  value.length <= CHAIN_LENGTH_MAX &&
  value.every((text) => typeof text === "string");
