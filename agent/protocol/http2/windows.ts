// RFC 9113 5.2: how much a peer may send that nobody has read yet.
import { WINDOW_AT_FIRST } from "./frame.ts";

/** Bytes of one stream, and of all streams of a connection together: all that one connection can make us hold. */
export interface Windows {
  readonly stream: number;
  readonly connection: number;
}

export const WINDOWS: Windows = { stream: WINDOW_AT_FIRST, connection: 1 << 20 };

/** Of tunnels, which carry bulk: the stream's is what one carries a round trip, as much as a stream between agents, and a dozen whose apps do
 *  not read keep no other waiting. */
export const TUNNEL_WINDOWS: Windows = { stream: 256 * 1024, connection: 4 * 1024 * 1024 };
