// What a request became whose upstream agreed to another protocol (RFC 9110 7.8): bytes both ways, for as long as policy admits it.
import { EDIT_ROOM, type Stream } from "../base/net.ts";
import type { RequestView } from "../policy/request-view.ts";
import type { ResponseHead } from "../protocol/http1/head.ts";
import type { HttpUpstream } from "./http-upstream.ts";
import { Relay } from "./relay.ts";
import type { ThreadContext } from "./thread-context.ts";

export interface TunnelEnds {
  readonly down: Stream;
  readonly up: Stream;
  /** Whose connection `up` was: it counts it until the tunnel ends. */
  readonly upstream: HttpUpstream;
  mayStay(): boolean;
}

/** Does a 101 choose only what the request offered (RFC 9110 7.8: no other protocol may be switched to), and prove what its client
 *  cannot look at, if there is such? `accept`: Stream.awaitsAccept. */
export function isAgreed(
  head: ResponseHead,
  request: RequestView,
  accept: string | undefined,
): boolean {
  if (accept !== undefined && head.joined("sec-websocket-accept") !== accept) return false;
  const offers = protocolsOf(request.header("upgrade") ?? "");
  return protocolsOf(head.joined("upgrade") ?? "").every((one) => offers.includes(one));
}

/** RFC 8441: to who asked for a tunnel every 2xx is one, and in HTTP/1.1 only a 101 is. */
export const isSayable = (status: number, accept: string | undefined): boolean =>
  accept === undefined || status < 200 || status > 299;

const protocolsOf = (list: string): string[] =>
  list
    .toLowerCase()
    .split(",")
    .map((one) => one.trim())
    .filter((one) => one !== "");

/** What the client said before it knew. */
interface Said {
  /** With EDIT_ROOM behind it. */
  readonly early: Uint8Array | undefined;
  readonly hasEnded: boolean;
}

/** Sends the 101, whose head is the thread's response head and ends at headEnd, and what came behind it. False: it may not be, and
 *  both ends are reset. */
export function openTunnel(
  { down, up, upstream, mayStay }: TunnelEnds,
  { early, hasEnded }: Said,
  bytes: Uint8Array,
  headEnd: number,
  end: number,
  context: ThreadContext,
): boolean {
  const { sender, responseHead } = context;
  if (!mayStay() || sender.placeSwitch(responseHead, bytes, headEnd) < 0) {
    up.reset();
    down.reset();
    upstream.detachedClosed();
    return false;
  }
  const relay = new Relay(down, context, { ended: () => upstream.detachedClosed(), mayStay });
  relay.adopt(up);
  relay.sendDown(sender.bytes, sender.start, sender.end);
  relay.sendDown(bytes, headEnd, end);
  if (early !== undefined) relay.sendUp(early, 0, early.length - EDIT_ROOM);
  if (hasEnded) relay.downstreamEnded();
  return true;
}
