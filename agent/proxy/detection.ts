// Looks at a connection's first bytes where the port's protocol is not declared, with a deadline: a client that stays silent is
// waiting for the server to speak, and is carried as opaque TCP.
import { type CloseReason, EDIT_ROOM, type Stream } from "../base/net.ts";
import type { Deadline } from "../base/timer-wheel.ts";
import { detect } from "../protocol/detect.ts";
import { Guarded } from "./guarded.ts";
import { HeldBytes } from "./held-bytes.ts";
import type { OpenConnection } from "./open-connections.ts";
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

class Detection extends Guarded implements OpenConnection {
  openAt = -1;
  readonly #stream: Stream;
  readonly #place: string;
  readonly #takeOver: TakeOver;
  readonly #deadline: Deadline;
  readonly #held = new HeldBytes();
  #hasEnded = false;
  #isOver = false;

  constructor(stream: Stream, context: ThreadContext, place: string, takeOver: TakeOver) {
    super(context);
    this.#stream = stream;
    this.#place = place;
    this.#takeOver = takeOver;
    this.#deadline = context.deadline(() => this.#decide("opaque", this.#held.isEmpty));
    this.#deadline.set(context.nowMs() + context.config.detectTimeoutMs);
    context.admit(this);
    stream.handler = this;
  }

  protected override received(stream: Stream, bytes: Uint8Array, start: number, end: number): void {
    if (this.#isOver) return; // nobody took it
    if (this.#held.isEmpty) {
      const found = detect(bytes, start, end);
      if (found === "need_more") this.#held.add(bytes, start, end);
      else {
        this.#over();
        this.#takeOver(found === "http1" ? "http" : "opaque");
        stream.handler.onData(stream, bytes, start, end);
      }
      return;
    }
    this.#held.add(bytes, start, end);
    const joined = this.#held.take();
    const found = detect(joined, 0, joined.length - EDIT_ROOM);
    this.#held.add(joined, 0, joined.length - EDIT_ROOM);
    if (found !== "need_more") this.#decide(found === "http1" ? "http" : "opaque");
  }

  #decide(protocol: "http" | "opaque", wasSilent = false): void {
    if (this.#isOver) return;
    this.#over();
    const stream = this.#stream;
    const { slots } = this.context.deps;
    const learn: FirstWord = (by) => {
      if (by === "server") noteServerFirst(slots, this.#place, true);
    };
    this.#takeOver(protocol, wasSilent ? learn : undefined);
    if (!this.#held.isEmpty) {
      const shown = this.#held.take();
      stream.handler.onData(stream, shown, 0, shown.length - EDIT_ROOM);
    }
    if (this.#hasEnded && stream.handler !== this) stream.handler.onEnd(stream);
  }

  protected override writable(): void {}

  protected override ended(stream: Stream): void {
    this.#hasEnded = true;
    if (!this.#held.isEmpty) this.#decide("opaque");
    else {
      stream.close(); // neither asked nor answered anything
      this.#over();
    }
  }

  protected override closed(_stream: Stream, _reason: CloseReason): void {
    this.#over();
  }

  protected override abandon(): void {
    this.cut();
  }

  drain(): void {}
  reconsider(): void {}
  endIdle(): number {
    return Number.POSITIVE_INFINITY;
  }

  cut(): void {
    this.#stream.reset();
    this.#over();
  }

  #over(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#deadline.cancel();
    this.context.dismiss(this);
  }
}
