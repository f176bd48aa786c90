// DNS over TCP on the agent's side (RFC 7766): questions in, each with its length before it; answers out as they come.
import type { Timer, Timers } from "../base/clock.ts";
import type { CloseReason, Network, Stream, StreamHandler } from "../base/net.ts";
import { DNS_QUERY_BYTES_MAX, frameForTcp, readTcpFrame } from "../protocol/dns.ts";
import type { NameServer } from "./names.ts";
import type { Forward, ForwardEvents } from "./resolver-exchange.ts";

/** A client that asks nothing, or takes no answer, for this long is cut. */
export const DNS_IDLE_MS = 10_000;
/** Questions one connection may have open; then it is not read until some are answered. */
const OPEN_QUESTIONS_MAX = 16;
/** Connections at once, over all programs of the host; more are reset. */
export const DNS_STREAMS_MAX = 128;
const RESOLVER_PORT = 53;

export class NameStreams {
  readonly #names: NameServer;
  readonly #timers: Timers;
  #open = 0;

  constructor(names: NameServer, timers: Timers) {
    this.#names = names;
    this.#timers = timers;
  }

  get open(): number {
    return this.#open;
  }

  /** `asked` is the resolver that the connection was going to; undefined: nothing redirected it here, so it is cut. */
  accept(stream: Stream, asked: string | undefined): void {
    if (asked === undefined || this.#open >= DNS_STREAMS_MAX) {
      stream.reset();
      return;
    }
    this.#open++;
    stream.handler = new NameStream(stream, asked, this.#names, this.#timers, () => {
      this.#open--;
    });
  }
}

class NameStream implements StreamHandler {
  readonly #stream: Stream;
  readonly #asked: string;
  readonly #names: NameServer;
  readonly #timers: Timers;
  readonly #onOver: () => void;
  #received = new Uint8Array(0);
  readonly #unsent: Uint8Array[] = [];
  #questions = 0;
  #isOver = false;
  #hasEnded = false;
  #idle: Timer | undefined;

  constructor(
    stream: Stream,
    asked: string,
    names: NameServer,
    timers: Timers,
    onOver: () => void,
  ) {
    this.#stream = stream;
    this.#asked = asked;
    this.#names = names;
    this.#timers = timers;
    this.#onOver = onOver;
    this.#touch();
  }

  onOpen(): void {}

  onData(_stream: Stream, bytes: Uint8Array, start: number, end: number): void {
    this.#touch();
    const all = new Uint8Array(this.#received.length + end - start);
    all.set(this.#received);
    all.set(bytes.subarray(start, end), this.#received.length);
    this.#received = all;
    this.#readFrames();
  }

  #readFrames(): void {
    while (!this.#isOver && this.#questions < OPEN_QUESTIONS_MAX) {
      const frame = readTcpFrame(this.#received, 0, this.#received.length);
      if (!frame.ok) {
        this.#cut();
        return;
      }
      if (frame.value === "need_more") break;
      const query = this.#received.slice(2, 2 + frame.value);
      this.#received = this.#received.slice(2 + frame.value);
      this.#questions++;
      this.#names.answer(query, "tcp", this.#asked, (message) => this.#answered(message));
    }
    // A full frame and a half may wait; more than that is not read from the socket.
    if (this.#received.length > 2 * DNS_QUERY_BYTES_MAX) this.#stream.pause();
    else this.#stream.resume();
  }

  #answered(message: Uint8Array): void {
    if (this.#isOver) return;
    this.#questions--;
    this.#touch();
    this.#unsent.push(frameForTcp(message));
    this.#flush();
    // Not from inside our own loop over frames: that one goes on by itself.
    if (this.#questions === OPEN_QUESTIONS_MAX - 1) this.#readFrames();
  }

  #flush(): void {
    for (;;) {
      const first = this.#unsent[0];
      if (first === undefined) break;
      const taken = this.#stream.write(first, 0, first.length);
      if (taken < first.length) {
        this.#unsent[0] = first.subarray(taken);
        return;
      }
      this.#unsent.shift();
    }
    if (this.#hasEnded && this.#questions === 0) this.#close();
  }

  onWritable(): void {
    this.#flush();
  }

  onEnd(): void {
    this.#hasEnded = true;
    if (this.#questions === 0 && this.#unsent.length === 0) this.#close();
  }

  onClose(): void {
    this.#end();
  }

  #touch(): void {
    this.#idle?.cancel();
    this.#idle = this.#timers.after(DNS_IDLE_MS, () => this.#cut());
  }

  #close(): void {
    this.#end();
    this.#stream.close();
  }

  #cut(): void {
    this.#end();
    this.#stream.reset();
  }

  #end(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#idle?.cancel();
    this.#onOver();
  }
}

/** One question over a TCP connection of its own to a resolver. */
export function forwardOverTcp(network: Network, resolver: string, events: ForwardEvents): Forward {
  const handler = new ForwardStream(events);
  const stream = network.dial({ is: "plain", address: resolver, port: RESOLVER_PORT }, handler);
  return {
    send: (message) => handler.send(stream, frameForTcp(message)),
    close: () => stream.close(),
  };
}

/** An answer's length field says at most this. */
const ANSWER_BYTES_MAX = 65_535 + 2;

class ForwardStream implements StreamHandler {
  readonly #events: ForwardEvents;
  #unsent = new Uint8Array(0);
  readonly #answer = new Uint8Array(ANSWER_BYTES_MAX);
  #length = 0;

  constructor(events: ForwardEvents) {
    this.#events = events;
  }

  send(stream: Stream, frame: Uint8Array): void {
    this.#unsent = Uint8Array.from(frame);
    if (stream.isOpen) this.#flush(stream);
  }

  #flush(stream: Stream): void {
    const taken = stream.write(this.#unsent, 0, this.#unsent.length);
    this.#unsent = this.#unsent.slice(taken);
  }

  onOpen(stream: Stream): void {
    this.#flush(stream);
  }

  onWritable(stream: Stream): void {
    if (this.#unsent.length > 0) this.#flush(stream);
  }

  onData(_stream: Stream, bytes: Uint8Array, start: number, end: number): void {
    const taken = Math.min(end - start, ANSWER_BYTES_MAX - this.#length);
    this.#answer.set(bytes.subarray(start, start + taken), this.#length);
    this.#length += taken;
    if (this.#length < 2) return;
    const wanted = ((this.#answer[0] as number) << 8) | (this.#answer[1] as number);
    if (this.#length >= 2 + wanted) this.#events.onMessage(this.#answer.subarray(2, 2 + wanted));
  }

  onEnd(stream: Stream): void {
    stream.close();
    this.#events.onFailed();
  }

  onClose(_stream: Stream, _reason: CloseReason): void {
    this.#events.onFailed();
  }
}
