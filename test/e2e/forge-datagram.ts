// Sends one datagram as if another host had: `forge-datagram.ts '{"from": .., "to": .., "hex": ".."}'`, as root.
import type { OriginalDestination } from "../../agent/base/net.ts";
import { Loop } from "../../agent/os/loop.ts";
import { RawAnswers } from "../../agent/os/raw-answers.ts";

export interface Forged {
  readonly from: OriginalDestination;
  readonly to: OriginalDestination;
  readonly hex: string;
}

const { from, to, hex } = JSON.parse(process.argv[2] ?? "") as Forged;
const bytes = Uint8Array.from(Buffer.from(hex, "hex"));
const isSent = new RawAnswers(new Loop()).answerer(from, to).send(bytes, 0, bytes.length);
process.exit(isSent ? 0 : 1);
