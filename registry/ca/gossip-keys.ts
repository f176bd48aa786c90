// The gossip keyring: one key a day, each derived from what all servers of a mesh share, the authority. So several servers tell the
// same keys without a word between them, and there is no further secret to store or to back up.
import { createHmac } from "node:crypto";

/** As a host's certificate: who was away from its server for longer has to come back anyway. */
export const KEY_LIFETIME_MS = 86_400_000;

/** base64, as agents are told: the one of today, which seals, then tomorrow's and yesterday's, which open. So a server or an agent that
 *  turns a little early or late is understood. `secret`: Issuer.gossipSecret. */
export function gossipKeys(secret: Uint8Array, wallMs: number): readonly string[] {
  const day = Math.floor(wallMs / KEY_LIFETIME_MS);
  return [day, day + 1, day - 1].map((one) =>
    createHmac("sha256", secret).update(`gossip key ${one}`).digest("base64"),
  );
}
