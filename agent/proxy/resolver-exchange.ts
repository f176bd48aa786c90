// One question to one resolver of the host, asked by the agent itself: for a program, whose words it repeats, or for names that it looks
// up on its own. Such a question passes the redirect by: the rules exempt the agent's uid. RFC 1035; RFC 5452 (ids and ports nobody guesses).
import type { Timer, Timers } from "../base/clock.ts";

/** A resolver that is silent this long is passed over for the next one. */
export const RESOLVER_TIMEOUT_MS = 2_000;
const HEADER_BYTES = 12;

/** One question on its way to one resolver, from a source of its own. */
export interface Forward {
  send(message: Uint8Array): void;
  close(): void;
}
export interface ForwardEvents {
  /** From the resolver's address and port 53, or it would not be here. The bytes are valid during the call only. */
  onMessage(message: Uint8Array): void;
  /** It cannot be reached. */
  onFailed(): void;
}
export interface Forwarders {
  /** UDP from a fresh random port, or a TCP connection; undefined: not even a socket could be had. */
  open(resolver: string, transport: "udp" | "tcp", events: ForwardEvents): Forward | undefined;
}

/** One question to one resolver: ends once, with its answer or with `next`. */
export class ResolverExchange implements ForwardEvents {
  readonly #query: Uint8Array;
  readonly #questionEnd: number;
  readonly #id: number;
  readonly #to: { timers: Timers; next(): void; done(message: Uint8Array): void };
  #forward: Forward | undefined;
  #timer: Timer | undefined;
  #isOver = false;

  constructor(
    query: Uint8Array,
    questionEnd: number,
    id: number,
    to: { timers: Timers; next(): void; done(message: Uint8Array): void },
  ) {
    this.#query = query;
    this.#questionEnd = questionEnd;
    this.#id = id;
    this.#to = to;
  }

  begin(open: (events: ForwardEvents) => Forward | undefined): void {
    this.#timer = this.#to.timers.after(RESOLVER_TIMEOUT_MS, () => this.onFailed());
    this.#forward = open(this);
    if (this.#forward === undefined) {
      this.onFailed();
      return;
    }
    const message = new Uint8Array(this.#query);
    message[0] = this.#id >> 8;
    message[1] = this.#id & 255;
    this.#forward.send(message);
  }

  onMessage(message: Uint8Array): void {
    if (this.#isOver || !this.#answers(message)) return; // a forgery, or late: keep waiting
    const answer = new Uint8Array(message); // slice() of a Buffer would share its memory
    answer[0] = this.#query[0] as number;
    answer[1] = this.#query[1] as number;
    this.#end();
    this.#to.done(answer);
  }

  onFailed(): void {
    if (this.#isOver) return;
    this.#end();
    this.#to.next();
  }

  #end(): void {
    this.#isOver = true;
    this.#timer?.cancel();
    this.#forward?.close();
  }

  /** Same id, a response, and our question letter for letter (so 0x20 case counts as entropy too). A refusal may leave the
   *  question out (RFC 1035 4.1.1 on format errors). */
  #answers(message: Uint8Array): boolean {
    if (message.length < HEADER_BYTES) return false;
    const id = ((message[0] as number) << 8) | (message[1] as number);
    if (id !== this.#id || ((message[2] as number) & 0x80) === 0) return false;
    const questions = ((message[4] as number) << 8) | (message[5] as number);
    if (questions === 0) return ((message[3] as number) & 15) !== 0;
    if (questions !== 1 || message.length < this.#questionEnd) return false;
    for (let i = HEADER_BYTES; i < this.#questionEnd; i++)
      if (message[i] !== this.#query[i]) return false;
    return true;
  }
}
