// Looks at a connection's first bytes where the port's protocol is not declared, with a deadline: a client that stays silent is
// waiting for the server to speak, and is carried as opaque TCP.
import { EDIT_ROOM, type Stream } from "../base/net.ts";
import { type Detected, detect } from "../protocol/detect.ts";
import { FirstBytes } from "./first-bytes.ts";
import { type FirstWord, isServerFirst, noteServerFirst } from "./server-first.ts";
import type { ThreadContext } from "./thread-context.ts";

/** Takes the stream over: sets its handler, or resets it. Bytes that came so far follow as the handler's first event. `spoke`, if given, wants to
 *  know who of an opaque connection speaks first. */
export type TakeOver = (protocol: "http" | "opaque", spoke?: FirstWord) => void;

/** `place`: where it goes, as all that goes there says. */
export function detectProtocol(
  stream: Stream,
  context: ThreadContext,
  place: string,
  takeOver: TakeOver,
): void {
  const { slots } = context.deps;
  if (isServerFirst(slots, place))
    takeOver("opaque", (by) => noteServerFirst(slots, place, by === "server"));
  else new Detection(stream, context, place, takeOver);
}

class Detection extends FirstBytes {
  readonly #takeOver: TakeOver;

  constructor(stream: Stream, context: ThreadContext, place: string, takeOver: TakeOver) {
    super(stream, context, place, context.config.detectTimeoutMs);
    this.#takeOver = takeOver;
  }

  protected override look(bytes: Uint8Array, start: number, end: number): void {
    const { stream, held } = this;
    if (held.isEmpty) {
      const found = detect(bytes, start, end);
      if (found === "need_more") held.add(bytes, start, end);
      else if (this.#decide(protocolOf(found))) stream.handler.onData(stream, bytes, start, end);
      return;
    }
    held.add(bytes, start, end);
    const joined = held.take();
    const length = joined.length - EDIT_ROOM;
    const found = detect(joined, 0, length);
    held.add(joined, 0, length);
    if (found !== "need_more") this.#decide(protocolOf(found));
  }

  #decide(protocol: "http" | "opaque", wasSilent = false): boolean {
    return this.decide((spoke) => this.#takeOver(protocol, spoke), wasSilent);
  }

  protected override late(): void {
    this.#decide("opaque", this.held.isEmpty);
  }
  protected override cutShort(): void {
    this.#decide("opaque");
  }
}

const protocolOf = (found: Exclude<Detected, "need_more">): "http" | "opaque" =>
  found === "http1" ? "http" : "opaque";
