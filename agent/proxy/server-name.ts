// Whom the client of a TLS connection wants, heard from its ClientHello without touching it: what came is held, and follows as the next
// handler's first event, byte for byte. Bounded in bytes by client-hello.ts, in time by the deadlines below. With Encrypted Client Hello
// it is the outer name: what the connection can be routed by, and all that anybody on the way can see.
import { type CloseReason, EDIT_ROOM, type Stream } from "../base/net.ts";
import type { Deadline } from "../base/timer-wheel.ts";
import { type ClientHello, readClientHello } from "../protocol/tls/client-hello.ts";
import { Guarded } from "./guarded.ts";
import { HeldBytes } from "./held-bytes.ts";
import type { OpenConnection } from "./open-connections.ts";
import { type FirstWord, isServerFirst, noteServerFirst } from "./server-first.ts";
import type { ThreadContext } from "./thread-context.ts";

export type Heard =
  /** `serverName`: undefined when it names none. */
  | Extract<ClientHello, { is: "hello" }>
  /** Not TLS, or no ClientHello that a strict reader takes. */
  | { readonly is: "not_tls" }
  /** Not whole in time. */
  | { readonly is: "hello_timeout" };

export interface Listening {
  /** Where it goes, as all that goes there says. */
  readonly place: string;
  /** Something hangs on the name: worth helloTimeoutMs. Otherwise only detectTimeoutMs, and nothing where servers speak first. */
  readonly isNeeded: boolean;
}

/** Takes the stream over: sets its handler, or resets it. `spoke`, if given, wants to know who speaks first. */
export type Hear = (heard: Heard, spoke?: FirstWord) => void;

const NOT_TLS: Heard = { is: "not_tls" };
const TIMEOUT: Heard = { is: "hello_timeout" };

export function hearServerName(
  stream: Stream,
  context: ThreadContext,
  listening: Listening,
  hear: Hear,
): void {
  const { slots } = context.deps;
  const { place, isNeeded } = listening;
  if (!isNeeded && isServerFirst(slots, place))
    hear(TIMEOUT, (by) => noteServerFirst(slots, place, by === "server"));
  else new Listener(stream, context, listening, hear);
}

class Listener extends Guarded implements OpenConnection {
  openAt = -1;
  readonly #stream: Stream;
  readonly #place: string;
  readonly #hear: Hear;
  readonly #deadline: Deadline;
  readonly #held = new HeldBytes();
  #heldBytes = 0;
  /** Before so many are there, looking again is no use. */
  #wantedBytes = 0;
  #hasEnded = false;
  #isOver = false;

  constructor(stream: Stream, context: ThreadContext, { place, isNeeded }: Listening, hear: Hear) {
    super(context);
    this.#stream = stream;
    this.#place = place;
    this.#hear = hear;
    this.#deadline = context.deadline(() => this.#decide(TIMEOUT));
    const { helloTimeoutMs, detectTimeoutMs } = context.config;
    this.#deadline.set(context.nowMs() + (isNeeded ? helloTimeoutMs : detectTimeoutMs));
    context.admit(this);
    stream.handler = this;
  }

  protected override received(_s: Stream, bytes: Uint8Array, start: number, end: number): void {
    if (this.#isOver) return; // refused, and more of it comes
    this.#held.add(bytes, start, end);
    this.#heldBytes += end - start;
    if (this.#heldBytes < this.#wantedBytes) return;
    const all = this.#held.take();
    const found = readClientHello(all, 0, this.#heldBytes);
    this.#held.add(all, 0, this.#heldBytes);
    if (found.is === "need_more") this.#wantedBytes = found.bytes;
    else this.#decide(found.is === "hello" ? found : NOT_TLS);
  }

  #decide(heard: Heard): void {
    if (this.#isOver) return;
    this.#over();
    const stream = this.#stream;
    const wasSilent = heard.is === "hello_timeout" && this.#held.isEmpty;
    this.#hear(heard, wasSilent ? this.#learn : undefined);
    if (stream.handler === this) this.#held.clear();
    if (!this.#held.isEmpty) {
      const shown = this.#held.take();
      stream.handler.onData(stream, shown, 0, shown.length - EDIT_ROOM);
    }
    if (this.#hasEnded && stream.handler !== this) stream.handler.onEnd(stream);
  }

  readonly #learn: FirstWord = (by) => {
    if (by === "server") noteServerFirst(this.context.deps.slots, this.#place, true);
  };

  protected override writable(): void {}

  protected override ended(stream: Stream): void {
    this.#hasEnded = true;
    if (!this.#held.isEmpty) this.#decide(NOT_TLS);
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
