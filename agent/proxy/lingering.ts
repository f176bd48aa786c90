// A downstream connection to which all is said: our direction has ended, and we listen a while, since closing with bytes still coming
// in would reset the connection and could take our last answer from a client that has not read it (RFC 9112 9.6).
import type { CloseReason, Stream } from "../base/net.ts";
import { Deadline, type Due } from "../base/timer-wheel.ts";
import { Guarded } from "./guarded.ts";
import type { OpenConnection } from "./open-connections.ts";
import type { ThreadContext } from "./thread-context.ts";

const NO_BYTES = new Uint8Array(0);

export class Lingering extends Guarded implements OpenConnection, Due {
  openAt = -1;
  readonly #stream: Stream;
  readonly #deadline: Deadline;

  #rest: Uint8Array;

  /** Takes the stream, and the place among open connections, of `predecessor`. The stream must not be paused. `rest`: said before our
   *  direction ends. */
  constructor(
    stream: Stream,
    predecessor: OpenConnection,
    context: ThreadContext,
    rest: Uint8Array = NO_BYTES,
  ) {
    super(context);
    this.#stream = stream;
    this.#rest = rest;
    this.#deadline = new Deadline(context.deps.wheel, this);
    this.#deadline.set(context.nowMs() + context.config.lingerMs);
    context.open.replace(predecessor, this);
    stream.handler = this;
    this.#sayRest();
  }

  #sayRest(): void {
    const { length } = this.#rest;
    if (length > 0) this.#rest = this.#rest.subarray(this.#stream.write(this.#rest, 0, length));
    if (this.#rest.length === 0) this.#stream.endWrite();
  }

  /** Nobody reads it any more. */
  protected override received(): void {}
  protected override writable(): void {
    this.#sayRest();
  }

  protected override ended(): void {
    this.#close();
  }

  protected override closed(_stream: Stream, _reason: CloseReason): void {
    this.#over();
  }

  protected override abandon(): void {
    this.cut();
  }

  onDue(): void {
    try {
      this.#close();
    } catch (error) {
      this.fell(error);
    }
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

  #close(): void {
    this.#stream.close();
    this.#over();
  }

  #over(): void {
    this.#deadline.cancel();
    this.context.dismiss(this);
  }
}
