// A connection whose first bytes are looked at before anybody takes it: what came is held, and follows as the next handler's first event,
// byte for byte. The look has a deadline: a client that stays silent is waiting for the server to speak.
import { type CloseReason, EDIT_ROOM, type Stream } from "../base/net.ts";
import type { Deadline } from "../base/timer-wheel.ts";
import { Guarded } from "./guarded.ts";
import { HeldBytes } from "./held-bytes.ts";
import type { OpenConnection } from "./open-connections.ts";
import { type FirstWord, noteServerFirst } from "./server-first.ts";
import type { ThreadContext } from "./thread-context.ts";

/** Sets the stream's next handler, or resets it. `spoke`, if given, wants to know who speaks first. */
type TakeOver = (spoke?: FirstWord) => void;

export abstract class FirstBytes extends Guarded implements OpenConnection {
  openAt = -1;
  protected readonly stream: Stream;
  protected readonly held = new HeldBytes();
  /** Where it goes, as all that goes there says. */
  readonly #place: string;
  readonly #deadline: Deadline;
  #hasEnded = false;
  #isOver = false;

  constructor(stream: Stream, context: ThreadContext, place: string, waitMs: number) {
    super(context);
    this.stream = stream;
    this.#place = place;
    this.#deadline = context.deadline(() => this.late());
    this.#deadline.set(context.nowMs() + waitMs);
    context.admit(this);
    stream.handler = this;
  }

  /** More came, and nothing is decided yet. */
  protected abstract look(bytes: Uint8Array, start: number, end: number): void;
  /** Nothing was decided in time. */
  protected abstract late(): void;
  /** The client ended behind what is held. */
  protected abstract cutShort(): void;

  /** Once. False: nobody took it. */
  protected decide(takeOver: TakeOver, wasSilent = false): boolean {
    if (this.#isOver) return false;
    this.#over();
    const { stream, held } = this;
    takeOver(wasSilent ? this.#learn : undefined);
    if (stream.handler === this) {
      held.clear();
      return false;
    }
    if (!held.isEmpty) {
      const shown = held.take();
      stream.handler.onData(stream, shown, 0, shown.length - EDIT_ROOM);
    }
    if (this.#hasEnded) stream.handler.onEnd(stream);
    return true;
  }

  readonly #learn: FirstWord = (by) => {
    if (by === "server") noteServerFirst(this.context.deps.slots, this.#place, true);
  };

  protected override received(_s: Stream, bytes: Uint8Array, start: number, end: number): void {
    if (!this.#isOver) this.look(bytes, start, end); // refused, and more of it comes
  }

  protected override writable(): void {}

  protected override ended(stream: Stream): void {
    this.#hasEnded = true;
    if (!this.held.isEmpty) this.cutShort();
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
    this.stream.reset();
    this.#over();
  }

  #over(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#deadline.cancel();
    this.context.dismiss(this);
  }
}
