// What the server, or our own disk, says of the gossip pool, read at the door.

import {
  GOSSIP_KEYS_MAX,
  GOSSIP_MEMBERS_MAX,
  type GossipPeer,
  type GossipView,
} from "../api/gossip.ts";
import { ipFamily } from "../base/ip-text.ts";
import { err, ok, type Result } from "../base/result.ts";

const KEY = /^[A-Za-z0-9+/]{43}=$/;
const NAME_CHARS_MAX = 128;

export function parseGossipView(value: unknown): Result<GossipView, string> {
  const { keys, members } = (value ?? {}) as { readonly [name: string]: unknown };
  if (!Array.isArray(keys) || keys.length > GOSSIP_KEYS_MAX || !keys.every(isKey))
    return err("gossip keys are not what they must be");
  if (!Array.isArray(members) || members.length > GOSSIP_MEMBERS_MAX)
    return err("gossip members are not a list, or too many");
  const peers: GossipPeer[] = [];
  for (const entry of members) {
    const { name, address, port } = (entry ?? {}) as { readonly [name: string]: unknown };
    const isPeer =
      typeof name === "string" &&
      name.length <= NAME_CHARS_MAX &&
      typeof address === "string" &&
      ipFamily(address) !== 0 &&
      typeof port === "number" &&
      Number.isInteger(port) &&
      port > 0 &&
      port < 65_536;
    if (!isPeer) return err("a gossip member without name, address or port");
    peers.push({ name, address, port });
  }
  return ok({ keys, members: peers });
}

const isKey = (value: unknown): value is string => typeof value === "string" && KEY.test(value);
